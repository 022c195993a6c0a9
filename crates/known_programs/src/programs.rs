//! The known programs in memory.

use std::sync::Arc;

use serde_json::Map;

use super::{
    journal::Changes,
    rank::Rank,
    table::{MAX_VALUES, Tables},
    table_id::TableId,
};
use model::{
    Bytes, Sha256,
    text::lossless::{from_text, to_text},
};

/// The novelty of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Novelty {
    /// Nothing, or no alert is due because the program has too many names.
    Nothing,
    /// The executable was known, but not under this name.
    Name,
    /// The name was known, but not the executable.
    Executable,
    /// Neither the executable nor the name was known.
    Both,
}

/// All known programs. Tables are bounded: entries not seen for the longest time are removed.
#[derive(Debug, Default)]
pub struct KnownPrograms {
    pub(super) tables: Tables,
    /// Keys of the file that picosnitch does not use; they are written back.
    pub(super) other_keys: Map<String, serde_json::Value>,
    /// What has changed since the last call of [`KnownPrograms::take_changes`].
    changes: Changes,
    has_changed: bool,
}

impl KnownPrograms {
    /// Stores a program under a name; returns what is new about it.
    pub fn observe(&mut self, rank: Rank, path: &[u8], name: &[u8]) -> Novelty {
        let (path, name) = (self.tables.share(to_text(path)), Arc::<str>::from(to_text(name)));
        let (executables, names) = (rank.executables(), rank.names());
        let is_name_known = self.tables.get(names, &name).is_some();
        let known = self.tables.get(executables, &path);
        let is_path_known = known.is_some();
        if known.is_some_and(|known| known.contains(&name)) {
            self.add(rank, &path, &name);
            return Novelty::Nothing;
        }
        if known.is_some_and(|known| known.values.len() >= MAX_VALUES) {
            // A program that changes its name all the time causes a bounded number of alerts.
            self.tables.touch(executables, &path);
            self.tables.add_full_entry_bound(executables);
            return Novelty::Nothing;
        }
        self.add(rank, &path, &name);
        self.has_changed = true;
        self.changes.add_program(rank, &path, &name);
        self.trim();
        match (is_path_known, is_name_known) {
            (true, _) => Novelty::Name,
            (false, true) => Novelty::Executable,
            (false, false) => Novelty::Both,
        }
    }

    fn add(&mut self, rank: Rank, path: &Arc<str>, name: &Arc<str>) {
        self.tables.add(rank.executables(), path, name);
        self.tables.add(rank.names(), name, path);
    }

    /// Stores a digest of a path; returns whether the path was known with other digests only.
    pub fn observe_digest(&mut self, path: &[u8], digest: Sha256) -> bool {
        let (path, digest) = (self.tables.share(to_text(path)), Arc::<str>::from(digest.to_hex()));
        let known = self.tables.get(TableId::Digests, &path);
        let is_known = known.is_some_and(|known| known.contains(&digest));
        let is_new = known.is_some() && !is_known;
        self.tables.add(TableId::Digests, &path, &digest);
        if !is_known {
            self.has_changed = true;
            self.changes.add_digest(&path, &digest);
            self.trim();
        }
        is_new
    }

    /// Stores VirusTotal's verdict about a digest under every path that has it; returns the paths whose verdict has changed.
    pub fn set_verdict(&mut self, digest: Sha256, verdict: &str) -> Vec<Bytes> {
        let digest = digest.to_hex();
        let paths = self.tables.set_verdicts(&digest, verdict);
        if !paths.is_empty() {
            self.has_changed = true;
            self.changes.add_verdict(&digest, verdict);
            self.trim();
        }
        paths.iter().map(|path| from_text(&**path)).collect()
    }

    /// Every digest with VirusTotal's verdict (empty: none yet), the most recently seen ones first.
    pub fn verdicts(&self) -> Vec<(Sha256, &str)> {
        let mut all: Vec<_> = self
            .tables
            .after(TableId::Digests, None)
            .flat_map(|(_, entry)| &entry.values)
            .filter_map(|value| Some((value.last, Sha256::from_hex(&value.text)?, &*value.verdict)))
            .collect();
        all.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(&other.1)));
        all.into_iter().map(|(_, digest, verdict)| (digest, verdict)).collect()
    }

    /// Whether a known program has this digest.
    pub fn has_digest(&self, digest: Sha256) -> bool {
        let digest = digest.to_hex();
        self.tables.after(TableId::Digests, None).any(|(_, entry)| entry.contains(&digest))
    }

    /// The number of paths of programs that moved traffic themselves.
    pub fn count(&self) -> usize {
        self.tables.len(TableId::Executables)
    }

    /// Whether anything has changed since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// The changes since the last call.
    pub(super) fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// A sentence for the user about each bound that was reached for the first time since the last call.
    pub fn take_reached_bounds(&mut self) -> Vec<String> {
        self.tables.bounds.take_sentences()
    }

    /// Removes what is above the bounds.
    pub(super) fn trim(&mut self) {
        for (table, key) in self.tables.trim() {
            self.changes.add_removal(table, &key);
        }
    }
}
