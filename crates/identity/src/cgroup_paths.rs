//! The paths of version 2 cgroups by their ids, which are the inode numbers of their directories.

use std::{
    collections::HashMap,
    fs,
    os::unix::{ffi::OsStrExt, fs::DirEntryExt},
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

use model::Bytes;

/// Paths that are kept; with more, all are read again.
const MAX_PATHS: usize = 65_536;
/// Time between two readings of the whole hierarchy at least: the monitor does nothing else meanwhile.
const READ_PAUSE: Duration = Duration::from_secs(60);

/// The path of each cgroup of a hierarchy.
#[derive(Debug, Default)]
pub struct CgroupPaths {
    root: PathBuf,
    paths: HashMap<u64, Rc<[u8]>>,
    /// When the hierarchy was read last; `None` without one.
    read_at: Option<Instant>,
}

impl CgroupPaths {
    /// Reads the hierarchy below `root`, its mount point. Directories that vanish meanwhile are left out.
    pub fn read(root: &Path) -> Self {
        use std::os::unix::fs::MetadataExt;

        let mut paths = Self { root: root.to_owned(), read_at: Some(Instant::now()), ..Self::default() };
        if let Ok(metadata) = fs::metadata(root) {
            paths.paths.insert(metadata.ino(), Rc::from(b"/".as_slice()));
        }
        paths.read_below(root, &Bytes::new());
        paths
    }

    fn read_below(&mut self, directory: &Path, path: &Bytes) {
        let Ok(entries) = fs::read_dir(directory) else { return };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) && self.paths.len() < MAX_PATHS {
                let mut below = path.clone();
                below.push(b'/');
                below.extend_from_slice(entry.file_name().as_bytes());
                self.read_below(&entry.path(), &below);
                self.paths.insert(entry.ino(), below.into());
            }
        }
    }

    /// Adds a cgroup that was made or renamed. Its path stays unknown while too many others exist.
    pub fn insert(&mut self, id: u64, path: Bytes, now: Instant) {
        let is_full = |paths: &HashMap<u64, Rc<[u8]>>| paths.len() >= MAX_PATHS && !paths.contains_key(&id);
        if is_full(&self.paths) && self.read_at.is_none_or(|read_at| now >= read_at + READ_PAUSE) {
            // No event reports the removal of a cgroup: keep only those that exist now.
            let root = std::mem::take(&mut self.root);
            *self = Self::read(&root);
        }
        if !is_full(&self.paths) {
            self.paths.insert(id, path.into());
        }
    }

    /// The path of a cgroup; empty when unknown.
    pub fn path(&self, id: u64) -> Rc<[u8]> {
        self.paths.get(&id).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn ids_are_inode_numbers() {
        let root = tempfile::tempdir().unwrap();
        let below = root.path().join("system.slice/nginx.service");
        fs::create_dir_all(&below).unwrap();
        let paths = CgroupPaths::read(root.path());
        assert_eq!(&*paths.path(fs::metadata(&below).unwrap().ino()), b"/system.slice/nginx.service");
        assert_eq!(&*paths.path(fs::metadata(root.path()).unwrap().ino()), b"/");
        assert_eq!(&*paths.path(1 << 60), b"");
    }

    #[test]
    fn a_full_table_is_read_again_once_in_a_while() {
        let root = tempfile::tempdir().unwrap();
        let mut paths = CgroupPaths::read(root.path());
        let read_at = paths.read_at.unwrap();
        paths.paths.extend((1 << 60..).take(MAX_PATHS).map(|id| (id, Rc::from(b"/gone".as_slice()))));
        paths.insert(1 << 59, b"/new".to_vec(), read_at + READ_PAUSE / 2);
        assert_eq!(&*paths.path(1 << 59), b"", "there is no room");
        paths.insert(1 << 60, b"/renamed".to_vec(), read_at + READ_PAUSE / 2);
        assert_eq!(&*paths.path(1 << 60), b"/renamed");
        paths.insert(1 << 59, b"/new".to_vec(), read_at + READ_PAUSE);
        assert_eq!(&*paths.path(1 << 59), b"/new");
        assert_eq!(&*paths.path(1 << 60), b"", "it is in no directory");
    }
}
