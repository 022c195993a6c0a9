//! A program together with its parent and grandparent. `top` groups connections by lineage.

use super::rates::{ByteCounts, ProgramRates};
use crate::term::text;
use live::protocol::ContextLine;

/// Paths of grandparent, parent and program.
pub type Chain = [Vec<u8>; 3];

/// All process contexts that have the same three programs.
#[derive(Clone, Debug, Default)]
pub struct Lineage {
    pub chain: Chain,
    /// The text that is searched, in lower case: paths, names, arguments, unit, container, application.
    pub words: String,
    /// Connections that are open now.
    pub open: u64,
    /// Listening sockets that are open now.
    pub listening: u64,
    /// Connections and listening sockets that have ended and are still shown.
    pub ended: u64,
    pub rates: ProgramRates,
    /// The bytes of all connections that were open at some time since `top` connected to the daemon.
    pub total: ByteCounts,
}

impl Lineage {
    /// Counts a connection, or with `is_more` false counts it no more.
    pub fn count(&mut self, is_listening: bool, has_ended: bool, is_more: bool) {
        let number = match (has_ended, is_listening) {
            (true, _) => &mut self.ended,
            (false, true) => &mut self.listening,
            (false, false) => &mut self.open,
        };
        *number = if is_more { number.saturating_add(1) } else { number.saturating_sub(1) };
    }

    /// Whether there is nothing to show.
    pub fn is_empty(&self) -> bool {
        self.open + self.listening + self.ended == 0 && self.total == ByteCounts::default()
    }
}

/// The paths of a context.
pub fn chain(line: &ContextLine) -> Chain {
    [&line.grandparent, &line.parent, &line.program].map(|program| program.path.0.clone())
}

/// The text of a context that is searched. With `ascii` it is ASCII only.
pub fn words(line: &ContextLine, ascii: bool) -> String {
    let mut words = String::new();
    for bytes in [
        &line.program.path,
        &line.program.name,
        &line.program.command_line,
        &line.parent.path,
        &line.grandparent.path,
        &line.unit,
        &line.container,
        &line.app,
    ] {
        words.push_str(&text::safe(&bytes.0, ascii).to_lowercase());
        words.push('\n');
    }
    words
}
