//! Reads record.journal: carries out its changes.

use std::io::{self, BufRead, Read};

use super::{
    journal::{DIGEST, HEADER, REMOVED, VERDICT, rank_name},
    programs::KnownPrograms,
    rank::Rank,
    table_id::TableId,
};

/// Upper bound for one line; a longer one is not from here. A line has at most a path (4096 bytes) and a name.
const MAX_LINE_BYTES: u64 = 1024 * 1024;

/// Carries out the changes of a journal, up to the first line that is torn or not understood. `content`: the record.json that
/// `known` was read from; `None` if any will do. Returns whether there was a change.
///
/// # Errors
/// The errors of reading. The changes before that are carried out.
pub(super) fn replay(
    journal: &mut impl BufRead,
    content: Option<u64>,
    known: &mut KnownPrograms,
) -> io::Result<bool> {
    let mut text = Vec::new();
    let mut next = |text: &mut Vec<u8>| -> io::Result<Option<Vec<String>>> {
        text.clear();
        journal.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', text)?;
        let is_whole = text.last() == Some(&b'\n');
        Ok(if is_whole { serde_json::from_slice(text).ok() } else { None })
    };
    let is_header = |words: &[String]| {
        words.len() == 2
            && words[0] == HEADER
            && content.is_none_or(|content| words[1] == format!("{content:016x}"))
    };
    if !next(&mut text)?.is_some_and(|words| is_header(&words)) {
        return Ok(false);
    }
    let mut has_changes = false;
    while let Some(words) = next(&mut text)? {
        let [kind, first, second] = words.as_slice() else { break };
        if !known.carry_out(kind, first, second) {
            break;
        }
        has_changes = true;
    }
    Ok(has_changes)
}

impl KnownPrograms {
    /// Carries out one line of a journal; false if it is not understood. The tables may be above their bounds then.
    fn carry_out(&mut self, kind: &str, first: &str, second: &str) -> bool {
        if let Some(rank) = Rank::ALL.into_iter().find(|rank| rank_name(*rank) == kind) {
            let (path, name) = (self.tables.share(first.to_owned()), self.tables.share(second.to_owned()));
            self.tables.add(rank.executables(), &path, &name);
            self.tables.add(rank.names(), &name, &path);
            return true;
        }
        match (kind, TableId::of_key(first)) {
            (DIGEST, _) => {
                let path = self.tables.share(first.to_owned());
                self.tables.add(TableId::Digests, &path, &second.into());
            }
            (VERDICT, _) => {
                self.tables.set_verdicts(first, second);
            }
            (REMOVED, Some(table)) => self.tables.remove(table, second),
            _ => return false,
        }
        true
    }
}
