//! How executables with another content than before came about: who wrote it, or that the file was replaced.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use model::{Writer, text::sanitize};

/// Paths whose last file is remembered.
const MAX_PATHS: usize = 65_536;
/// Characters of the writer's path; a longer one is shortened in its middle.
const MAX_PATH: usize = 1024;

/// Device, number and generation of an inode.
pub(super) type Inode = (u32, u64, u32);

/// How an executable came to another content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FileChange {
    /// This process wrote to the file.
    Written(Writer),
    /// The same file was written to, by a process that is not known.
    InPlace,
    /// Another file is at the path.
    Replaced,
    /// It was changed when picosnitch did not run, or before the program was seen in this run.
    Unseen,
}

impl FileChange {
    /// The words for the user, with paths of at most `max_path` characters.
    pub(super) fn words(&self, max_path: usize) -> String {
        match self {
            Self::Written(writer) => {
                let is_in_path = writer.path.rsplit(|byte| *byte == b'/').next() == Some(&writer.name[..]);
                let name = sanitize::terminal(&writer.name);
                let path = sanitize::shorten(&sanitize::terminal(&writer.path), max_path.min(MAX_PATH));
                let user = match writer.uid {
                    Some(0) => "user root".to_owned(),
                    Some(uid) => format!("uid {uid}"),
                    None => "unknown user".to_owned(),
                };
                let process = format!("process {}, {user}", writer.pid);
                match (path.is_empty(), is_in_path) {
                    (true, _) => format!("changed by {name} ({process})"),
                    (false, true) => format!("changed by {path} ({process})"),
                    (false, false) => format!("changed by {path} ({name}, {process})"),
                }
            }
            Self::InPlace => "changed in place, not known who wrote it".to_owned(),
            Self::Replaced => "replaced by another file, not known who wrote it".to_owned(),
            Self::Unseen => "changed while it was not watched, not known who wrote it".to_owned(),
        }
    }

    /// The process that wrote, if it is known.
    pub(super) fn writer(&self) -> Option<&Writer> {
        match self {
            Self::Written(writer) => Some(writer),
            _ => None,
        }
    }
}

/// The files of executables, by their ids, and who wrote to them.
#[derive(Debug, Default)]
pub(super) struct FileChanges {
    inodes: HashMap<u32, Inode>,
    /// Executables whose file was written to after it had been executed; `None` for an unknown writer.
    writers: HashMap<u32, Option<Writer>>,
    /// The file that was last executed at each path, by hashes of the path.
    last: HashMap<u64, Inode>,
    hasher: RandomState,
}

impl FileChanges {
    pub(super) fn add_inode(&mut self, executable: u32, inode: Inode) {
        self.inodes.insert(executable, inode);
    }

    pub(super) fn add_writer(&mut self, executable: u32, writer: Option<Writer>) {
        self.writers.insert(executable, writer);
    }

    /// Takes note of the executable that now runs under a path. Returns how its content came about, if it is another one than
    /// before.
    pub(super) fn observe(&mut self, path: &[u8], executable: u32) -> FileChange {
        if self.last.len() >= MAX_PATHS {
            self.last.clear();
        }
        let inode = self.inodes.get(&executable).copied();
        let path = self.hasher.hash_one(path);
        let last = match inode {
            Some(inode) => self.last.insert(path, inode),
            None => None,
        };
        match (self.writers.get(&executable), last) {
            (Some(Some(writer)), _) => FileChange::Written(writer.clone()),
            (Some(None), _) => FileChange::InPlace,
            (None, Some(_)) if last == inode => FileChange::InPlace,
            (None, Some(_)) => FileChange::Replaced,
            (None, None) => FileChange::Unseen,
        }
    }

    /// Forgets the executables before this one, but for those that `is_needed`.
    pub(super) fn forget_before(&mut self, executable: u32, is_needed: impl Fn(u32) -> bool) {
        self.inodes.retain(|id, _| *id >= executable || is_needed(*id));
        self.writers.retain(|id, _| *id >= executable || is_needed(*id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_has_its_writer_or_the_reason_why_there_is_none() {
        let mut changes = FileChanges::default();
        let writer = Writer { pid: 7, path: b"/usr/bin/dpkg".into(), name: b"dpkg".into(), uid: Some(0) };
        for (id, inode) in [(1, 1), (2, 1), (3, 1), (4, 1), (5, 2)] {
            changes.add_inode(id, (0, inode, 0));
        }
        changes.add_writer(2, Some(writer.clone()));
        changes.add_writer(3, None);
        let expected = [
            FileChange::Unseen,
            FileChange::Written(writer),
            FileChange::InPlace,
            FileChange::InPlace,
            FileChange::Replaced,
            FileChange::Unseen,
        ];
        let found: Vec<_> = (1..=6).map(|id| changes.observe(b"/bin/x", id)).collect();
        assert_eq!(found, expected);
        changes.forget_before(4, |id| id == 2);
        assert_eq!((changes.inodes.len(), changes.writers.len()), (3, 1));
    }

    #[test]
    fn the_words_are_safe_and_name_the_program_by_its_path() {
        let words = |path: &[u8], name: &[u8], uid| {
            let (path, name) = (path.into(), name.into());
            FileChange::Written(Writer { pid: 1234, path, name, uid }).words(200)
        };
        assert_eq!(
            words(b"/usr/bin/dpkg", b"dpkg", Some(0)),
            "changed by /usr/bin/dpkg (process 1234, user root)"
        );
        assert_eq!(
            words(b"/tmp/\xff\n", b"dpkg", Some(1000)),
            "changed by /tmp/\\xff\\x0a (dpkg, process 1234, uid 1000)"
        );
        assert_eq!(words(b"", b"nfsd", None), "changed by nfsd (process 1234, unknown user)");
    }
}
