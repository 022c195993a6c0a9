//! The known programs in memory.

use serde_json::{Map, Value};

use super::{
    bounds::ReachedBounds,
    rank::Rank,
    table::{MAX_VALUES, Seen, Table, add_value, entry},
};
use model::{Bytes, Sha256};

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
    /// Names by path, for each [`Rank`].
    pub(super) executables: [Table<Bytes>; 3],
    /// Paths by name, for each [`Rank`].
    pub(super) names: [Table<Bytes>; 3],
    /// Digests by path, each with VirusTotal's verdict.
    pub(super) digests: Table<Sha256>,
    /// Keys of the file that picosnitch does not use; they are written back.
    pub(super) other_keys: Map<String, Value>,
    /// The time of [`Seen`]: the number of observations so far.
    now: u64,
    has_changed: bool,
    bounds: ReachedBounds,
}

impl KnownPrograms {
    /// Stores a program under a name; returns what is new about it.
    pub fn observe(&mut self, rank: Rank, path: &[u8], name: &[u8]) -> Novelty {
        self.now += 1;
        let (index, now) = (rank as usize, self.now);
        let is_path_known = self.executables[index].contains_key(path);
        let is_name_known = self.names[index].contains_key(name);
        let names = entry(&mut self.executables[index], path, now, &mut self.bounds, "programs");
        if let Some(seen) = names.get_mut(name) {
            seen.last = now;
            if is_name_known {
                return Novelty::Nothing;
            }
        } else if names.len() >= MAX_VALUES {
            // A program that changes its name all the time causes a bounded number of alerts.
            self.bounds.add("names of one program");
            return Novelty::Nothing;
        } else {
            names.insert(name.to_owned(), Seen { last: now, value: String::new() });
        }
        let paths = entry(&mut self.names[index], name, now, &mut self.bounds, "names");
        add_value(paths, path.to_owned(), now, &mut self.bounds, "programs of one name");
        self.has_changed = true;
        match (is_path_known, is_name_known) {
            (true, _) => Novelty::Name,
            (false, true) => Novelty::Executable,
            (false, false) => Novelty::Both,
        }
    }

    /// Stores a digest of a path; returns whether the path was known with other digests only.
    pub fn observe_digest(&mut self, path: &[u8], digest: Sha256) -> bool {
        self.now += 1;
        let now = self.now;
        let digests = entry(&mut self.digests, path, now, &mut self.bounds, "programs with digests");
        if let Some(seen) = digests.get_mut(&digest) {
            seen.last = now;
            return false;
        }
        let is_new = !digests.is_empty();
        add_value(digests, digest, now, &mut self.bounds, "digests of one program");
        self.has_changed = true;
        is_new
    }

    /// Stores VirusTotal's verdict about a digest under every path that has it; returns the paths whose verdict has changed.
    pub fn set_verdict(&mut self, digest: Sha256, verdict: &str) -> Vec<Bytes> {
        let mut paths = Vec::new();
        for (path, digests) in &mut self.digests {
            if let Some(seen) = digests.value.get_mut(&digest)
                && seen.value != verdict
            {
                verdict.clone_into(&mut seen.value);
                paths.push(path.clone());
                self.has_changed = true;
            }
        }
        paths
    }

    /// Every digest with VirusTotal's verdict (empty: none yet), the most recently seen ones first.
    pub fn verdicts(&self) -> Vec<(Sha256, &str)> {
        let mut all: Vec<_> = self
            .digests
            .values()
            .flat_map(|digests| &digests.value)
            .map(|(digest, seen)| (seen.last, *digest, seen.value.as_str()))
            .collect();
        all.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(&other.1)));
        all.into_iter().map(|(_, digest, verdict)| (digest, verdict)).collect()
    }

    /// Whether a known program has this digest.
    pub fn has_digest(&self, digest: Sha256) -> bool {
        self.digests.values().any(|digests| digests.value.contains_key(&digest))
    }

    /// The number of paths of programs that moved traffic themselves.
    pub fn count(&self) -> usize {
        self.executables[Rank::Program as usize].len()
    }

    /// Whether anything has changed since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// A sentence for the user about each bound that was reached for the first time since the last call.
    pub fn take_reached_bounds(&mut self) -> Vec<String> {
        self.bounds.take_sentences()
    }
}
