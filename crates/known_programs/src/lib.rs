//! record.json: every program that ever talked, with its names, its digests and what VirusTotal said about them.
//!
//! The format is in docs/record.md. The file is replaced atomically; one that is damaged is refused and left alone.

mod file;

use std::{collections::BTreeMap, io, path::PathBuf};

use serde_json::{Map, Value};

pub use file::replace;

use model::{Bytes, Sha256};

/// Programs, and names, of each rank. Beyond that the one that was not seen for longest is forgotten.
const MAX_OUTER: usize = 20_000;
/// Names of one program, paths of one name, digests of one path.
pub const MAX_INNER: usize = 64;

/// Whose program: the context's own, or that of an ancestor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rank {
    /// The program that talked.
    Program,
    /// The one that started it.
    Parent,
    /// The one that started that.
    Grandparent,
}

impl Rank {
    /// In the order of `ProcessContext`'s programs.
    pub const ALL: [Self; 3] = [Self::Program, Self::Parent, Self::Grandparent];

    const fn keys(self) -> [&'static str; 2] {
        match self {
            Self::Program => ["Executables", "Names"],
            Self::Parent => ["Parent Executables", "Parent Names"],
            Self::Grandparent => ["Grandparent Executables", "Grandparent Names"],
        }
    }
}

const DIGESTS: &str = "SHA256";

/// What is new about a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum New {
    /// Nothing.
    Nothing,
    /// The executable was known, but not under this name.
    Name,
    /// The name was known, but not the executable.
    Executable,
    /// Neither was known.
    Both,
}

/// record.json cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KnownProgramsError {
    /// It cannot be read.
    #[error("the record of known programs {} cannot be read; nothing is started, so that it is not replaced by an \
             empty one", path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its content is no record.
    #[error("the record of known programs {} is damaged ({what}); it is left as it is: repair it, or move it away to \
             begin anew (then every program is announced as new)", path.display())]
    Damaged {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

/// A thing and when it was last seen: a number that grows in one run, 0 for what is only from the file.
#[derive(Clone, Debug, Default)]
struct Seen<T> {
    last: u64,
    value: T,
}

type Table<T> = BTreeMap<Bytes, Seen<BTreeMap<T, Seen<String>>>>;

/// All known programs.
#[derive(Debug, Default)]
pub struct KnownPrograms {
    executables: [Table<Bytes>; 3],
    names: [Table<Bytes>; 3],
    digests: Table<Sha256>,
    /// Keys that are not ours: kept.
    others: Map<String, Value>,
    now: u64,
    changed: bool,
    /// Bounds that were met and not told yet.
    full: Vec<&'static str>,
    told: Vec<&'static str>,
}

impl KnownPrograms {
    /// Takes note of a program under a name; what was new about it.
    pub fn meet(&mut self, rank: Rank, path: &[u8], name: &[u8]) -> New {
        self.now += 1;
        let (index, now) = (rank as usize, self.now);
        let known_path = self.executables[index].contains_key(path);
        let known_name = self.names[index].contains_key(name);
        let names = outer(&mut self.executables[index], path, now, &mut self.full, "programs");
        if let Some(seen) = names.get_mut(name) {
            seen.last = now;
            if known_name {
                return New::Nothing;
            }
        } else if names.len() >= MAX_INNER {
            // Whoever changes its name all the time is announced so many times and no more.
            note(&mut self.full, "names of one program");
            return New::Nothing;
        } else {
            names.insert(name.to_owned(), Seen { last: now, value: String::new() });
        }
        let paths = outer(&mut self.names[index], name, now, &mut self.full, "names");
        inner(paths, path.to_owned(), now, &mut self.full, "programs of one name");
        self.changed = true;
        match (known_path, known_name) {
            (true, _) => New::Name,
            (false, true) => New::Executable,
            (false, false) => New::Both,
        }
    }

    /// Takes note of a digest of a path; true when the path was known with other digests only.
    pub fn learn_digest(&mut self, path: &[u8], digest: Sha256) -> bool {
        self.now += 1;
        let now = self.now;
        let digests = outer(&mut self.digests, path, now, &mut self.full, "programs with digests");
        if let Some(seen) = digests.get_mut(&digest) {
            seen.last = now;
            return false;
        }
        let is_new = !digests.is_empty();
        inner(digests, digest, now, &mut self.full, "digests of one program");
        self.changed = true;
        is_new
    }

    /// What VirusTotal said about a digest, under every path that has it; those paths.
    pub fn set_verdict(&mut self, digest: Sha256, verdict: &str) -> Vec<Bytes> {
        let mut paths = Vec::new();
        for (path, digests) in &mut self.digests {
            if let Some(seen) = digests.value.get_mut(&digest)
                && seen.value != verdict
            {
                verdict.clone_into(&mut seen.value);
                paths.push(path.clone());
                self.changed = true;
            }
        }
        paths
    }

    /// Every digest with what VirusTotal said about it (empty: nothing yet), those seen last first.
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

    /// Whether a program with this digest has talked.
    pub fn has_digest(&self, digest: Sha256) -> bool {
        self.digests.values().any(|digests| digests.value.contains_key(&digest))
    }

    /// Programs that talked, by path.
    pub fn count(&self) -> usize {
        self.executables[Rank::Program as usize].len()
    }

    /// Whether anything changed since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Bounds that were met for the first time since the last call: sentences for the user.
    pub fn take_full(&mut self) -> Vec<String> {
        let new: Vec<_> =
            std::mem::take(&mut self.full).into_iter().filter(|what| !self.told.contains(what)).collect();
        self.told.extend(&new);
        new.into_iter()
            .map(|what| {
                format!(
                    "record.json has no room for more {what}: those not seen for longest are forgotten and would be \
                     announced again; further names of one program are not announced."
                )
            })
            .collect()
    }
}

fn note(full: &mut Vec<&'static str>, what: &'static str) {
    if !full.contains(&what) {
        full.push(what);
    }
}

/// The entry of a table, made if need be.
fn outer<'a, T>(
    table: &'a mut Table<T>,
    key: &[u8],
    now: u64,
    full: &mut Vec<&'static str>,
    what: &'static str,
) -> &'a mut BTreeMap<T, Seen<String>> {
    if table.len() >= MAX_OUTER && !table.contains_key(key) {
        drop_oldest(table);
        note(full, what);
    }
    let entry = table.entry(key.to_owned()).or_insert_with(|| Seen { last: now, value: BTreeMap::new() });
    entry.last = now;
    &mut entry.value
}

/// Adds to an entry.
fn inner<T: Ord + Clone>(
    entry: &mut BTreeMap<T, Seen<String>>,
    key: T,
    now: u64,
    full: &mut Vec<&'static str>,
    what: &'static str,
) {
    if entry.len() >= MAX_INNER && !entry.contains_key(&key) {
        drop_oldest(entry);
        note(full, what);
    }
    entry.entry(key).or_default().last = now;
}

fn drop_oldest<K: Ord + Clone, T>(entries: &mut BTreeMap<K, Seen<T>>) {
    let oldest = entries.iter().min_by_key(|(_, seen)| seen.last).map(|(key, _)| key.clone());
    if let Some(oldest) = oldest {
        entries.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use std::os::unix::fs::PermissionsExt;

    use super::{file::MODE, *};

    const DIGEST: Sha256 = Sha256([1; 32]);
    const OTHER: Sha256 = Sha256([2; 32]);

    #[test]
    fn what_is_new_is_said_once() {
        let mut known = KnownPrograms::default();
        assert_eq!(known.meet(Rank::Program, b"/bin/a", b"a"), New::Both);
        assert_eq!(known.meet(Rank::Program, b"/bin/a", b"a"), New::Nothing);
        assert_eq!(known.meet(Rank::Program, b"/bin/a", b"b"), New::Name);
        assert_eq!(known.meet(Rank::Program, b"/bin/c", b"a"), New::Executable);
        assert_eq!(known.meet(Rank::Parent, b"/bin/a", b"a"), New::Both);
        // Both are known, but not together.
        assert_eq!(known.meet(Rank::Program, b"/bin/c", b"b"), New::Name);
        assert_eq!(known.count(), 2);
    }

    #[test]
    fn the_first_digest_of_a_path_belongs_to_its_being_new() {
        let mut known = KnownPrograms::default();
        assert!(!known.learn_digest(b"/bin/a", DIGEST));
        assert!(!known.learn_digest(b"/bin/a", DIGEST));
        assert!(known.learn_digest(b"/bin/a", OTHER));
        assert!(!known.learn_digest(b"/bin/b", OTHER));
        assert_eq!(known.set_verdict(OTHER, "clean").len(), 2);
        assert!(known.set_verdict(OTHER, "clean").is_empty());
    }

    #[test]
    fn the_file_is_read_as_it_was_written() {
        let mut known = KnownPrograms::default();
        for name in [&b"plain"[..], b"\xff\xfe", b"a\\x41", b"new\nline\0", "\u{202e}ä".as_bytes(), b""] {
            known.meet(Rank::Program, name, name);
            known.meet(Rank::Grandparent, name, b"x");
            known.learn_digest(name, DIGEST);
        }
        known.set_verdict(DIGEST, "clean");
        known.others.insert("Another".into(), 1.into());
        let text = known.to_json();
        assert!(text.contains("\n  \"Executables\": {\n    \"\": [\n      \"\"\n"), "{text}");
        let mut again = KnownPrograms::parse(&text).unwrap();
        assert_eq!(again.to_json(), text);
        assert_eq!(again.meet(Rank::Program, b"\xff\xfe", b"\xff\xfe"), New::Nothing);
        assert!(!again.learn_digest(b"a\\x41", DIGEST));
        assert!(!again.take_changed());
        let keys: Vec<_> =
            serde_json::from_str::<Map<String, Value>>(&text).unwrap().keys().cloned().collect();
        assert!(keys.is_sorted() && keys.len() == 8, "{keys:?}");
    }

    #[test]
    fn an_originals_file_is_read() {
        let text = format!(
            r#"{{"Executables": {{"/bin/a": ["a", "b"]}}, "Names": {{"a": ["/bin/a"], "b": ["/bin/a"]}},
            "Parent Executables": {{}}, "Parent Names": {{}},
            "SHA256": {{"/bin/a": {{"{}": "VT Pending", "!!! FILE READ ERROR": ""}}, "/bin/b": {{}}}}}}"#,
            DIGEST.to_hex()
        );
        let mut known = KnownPrograms::parse(&text).unwrap();
        assert_eq!(known.meet(Rank::Program, b"/bin/a", b"b"), New::Nothing);
        assert_eq!(known.verdicts(), [(DIGEST, "VT Pending")]);
    }

    #[test]
    fn damage_is_refused_and_named() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("record.json");
        assert_eq!(KnownPrograms::load(&path).unwrap().count(), 0);
        for damaged in
            ["", "{", "[]", "{\"Names\": []}", "{\"Names\": {\"a\": [1]}}", "{\"SHA256\": {\"a\": []}}"]
        {
            fs::write(&path, damaged).unwrap();
            let error = KnownPrograms::load(&path).unwrap_err().to_string();
            assert!(error.contains("record.json is damaged ("), "{damaged}: {error}");
        }
        fs::write(&path, b"{\"\xff\": 1}").unwrap();
        assert!(KnownPrograms::load(&path).unwrap_err().to_string().contains("UTF-8"));
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(matches!(KnownPrograms::load(&path).unwrap_err(), KnownProgramsError::Read { .. }));
    }

    #[test]
    fn every_table_is_bounded() {
        let mut known = KnownPrograms::default();
        for number in 0..=MAX_INNER {
            let new = known.meet(Rank::Program, b"/bin/a", number.to_string().as_bytes());
            assert_eq!(new == New::Nothing, number == MAX_INNER, "{number}");
            known.learn_digest(b"/bin/a", Sha256([number as u8; 32]));
        }
        assert_eq!(known.verdicts().len(), MAX_INNER);
        assert_eq!(known.take_full().len(), 2);
        for number in 0..MAX_OUTER + 5 {
            known.meet(Rank::Parent, number.to_string().as_bytes(), b"x");
        }
        assert_eq!(known.executables[1].len(), MAX_OUTER);
        assert_eq!(known.take_full().len(), 2);
        assert!(known.take_full().is_empty());
        assert_eq!(known.meet(Rank::Parent, b"0", b"x"), New::Executable, "the oldest was forgotten");
    }

    #[test]
    fn the_file_is_replaced_and_never_a_target() {
        let place = tempfile::tempdir().unwrap();
        let (path, target) = (place.path().join("record.json"), place.path().join("target"));
        fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, place.path().join("record.json.new")).unwrap();
        replace(&path, "one").unwrap();
        replace(&path, "two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
    }
}
