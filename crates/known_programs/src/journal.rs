//! The changes since record.json was written last, as lines of record.journal: one JSON list a line.

use super::{rank::Rank, table_id::TableId};

/// Changes that wait in memory; more are left to the next writing of record.json.
const MAX_BYTES: usize = 2 * 1024 * 1024;
/// First word of the first line.
pub(super) const HEADER: &str = "record";
pub(super) const DIGEST: &str = "digest";
pub(super) const VERDICT: &str = "verdict";
pub(super) const REMOVED: &str = "removed";

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

pub(super) const fn rank_name(rank: Rank) -> &'static str {
    match rank {
        Rank::Program => "program",
        Rank::Parent => "parent",
        Rank::Grandparent => "grandparent",
    }
}
