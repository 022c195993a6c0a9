//! The changes since record.json was written last, as lines of record.journal: one JSON list a line.

use std::io::{self, BufRead, Read};

use super::{programs::KnownPrograms, rank::Rank, table::TableId};

/// Changes that wait in memory; more are left to the next writing of record.json.
const MAX_BYTES: usize = 2 * 1024 * 1024;
/// Upper bound for one line; a longer one is not from here. A line has at most a path (4096 bytes) and a name.
const MAX_LINE_BYTES: u64 = 1024 * 1024;
/// First word of the first line.
const HEADER: &str = "record";
const DIGEST: &str = "digest";
const VERDICT: &str = "verdict";
const REMOVED: &str = "removed";

/// Lines of the journal.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) lines: String,
    /// Changes that are not in `lines` because there were too many: only record.json can have them.
    pub(super) has_more: bool,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty() && !self.has_more
    }

    /// Adds later changes.
    pub(super) fn append(&mut self, later: Self) {
        self.has_more |= later.has_more;
        self.push(&later.lines);
    }

    pub(super) fn add_program(&mut self, rank: Rank, path: &str, name: &str) {
        self.add([rank_name(rank), path, name]);
    }

    pub(super) fn add_digest(&mut self, path: &str, digest: &str) {
        self.add([DIGEST, path, digest]);
    }

    pub(super) fn add_verdict(&mut self, digest: &str, verdict: &str) {
        self.add([VERDICT, digest, verdict]);
    }

    pub(super) fn add_removal(&mut self, table: TableId, key: &str) {
        self.add([REMOVED, table.key(), key]);
    }

    fn add(&mut self, words: [&str; 3]) {
        if !self.has_more {
            self.push(&line(&words));
        }
    }

    fn push(&mut self, lines: &str) {
        if self.lines.len() + lines.len() > MAX_BYTES {
            // What comes after a gap is useless without what is in it.
            (self.has_more, self.lines) = (true, String::new());
        }
        if !self.has_more {
            self.lines.push_str(lines);
        }
    }
}

/// The first line of a journal: which record.json it continues.
pub(super) fn header(content: u64) -> String {
    line(&[HEADER, &format!("{content:016x}")])
}

fn line(words: &[&str]) -> String {
    // The serialisation of texts cannot fail.
    let mut text = serde_json::to_string(words).unwrap_or_default();
    text.push('\n');
    text
}

const fn rank_name(rank: Rank) -> &'static str {
    match rank {
        Rank::Program => "program",
        Rank::Parent => "parent",
        Rank::Grandparent => "grandparent",
    }
}

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
