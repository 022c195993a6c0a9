//! The file of the log: how it is made, and whether it is still the one that is open.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rusqlite::Connection;

use crate::{error::StoreError, identity::Identity, immutable};

/// Mode of the database file; SQLite gives the same mode to its `-wal` and `-shm` files.
const FILE_MODE: u32 = 0o640;

/// Makes sure that there is a regular file. SQLite would create one with the mode of the umask, and follow links.
pub(super) fn create(path: &Path) -> Result<(), StoreError> {
    let fail = |source| StoreError::File { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => Err(StoreError::NotAFile(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            let file = file.map_err(fail)?;
            file.set_permissions(fs::Permissions::from_mode(FILE_MODE)).map_err(fail)
        }
        Err(source) => Err(fail(source)),
    }
}

/// Keeps the `-wal` and `-shm` files when the last connection closes. Without them, a user who may read the database but
/// not write to its directory could not open it while the daemon is stopped.
pub(super) fn keep_write_ahead_log(connection: &Connection) {
    let mut on: libc::c_int = 1;
    // SAFETY: the handle is that of an open connection, which outlives the call; "main" is a C string; the
    // operation reads and writes one int through the pointer.
    // A failure only means that the files are deleted.
    let _ = unsafe {
        rusqlite::ffi::sqlite3_file_control(
            connection.handle(),
            c"main".as_ptr(),
            rusqlite::ffi::SQLITE_FCNTL_PERSIST_WAL,
            (&raw mut on).cast(),
        )
    };
}

/// Makes the end of the connection leave the database as it is: the write-ahead log belongs to a content that is gone.
pub(super) fn forget_write_ahead_log(connection: &Connection) {
    // A failure means that the content is mixed; the check of the schema or a later one finds it damaged.
    let _ = connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
}

/// Device and inode of a file.
type FileId = (u64, u64);
/// Size, and the time of the last change of the content, in nanoseconds. The owner and the mode may change.
type Stamp = (u64, i128);

/// How often a file that another program changes is looked at again before it is given up.
const MAX_LOOKS: u32 = 50;

/// What is known of the file that is open.
pub(super) struct LogFile {
    id: FileId,
    /// The file of the write-ahead log.
    wal: Option<FileId>,
    stamp: Stamp,
    /// What the file says without the write-ahead log.
    content: Option<Identity>,
    /// The stamp that a program other than this one gave the file: it may still be at it.
    foreign: Option<Stamp>,
    /// How often the file was found changing.
    looks: u32,
}

/// What became of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileState {
    Same,
    /// The path leads to no file or to another one.
    Gone,
    /// Another program is writing to the file.
    Changing,
    /// Another program has replaced the content.
    Overwritten,
}

impl LogFile {
    pub fn new(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        let (id, stamp) = (id(&metadata), stamp(&metadata));
        Ok(Self { id, wal: None, stamp, content: content(path), foreign: None, looks: 0 })
    }

    /// Compares the file at `path` with the one that is open.
    pub fn state(&mut self, path: &Path) -> FileState {
        match fs::symlink_metadata(path) {
            Ok(metadata) if id(&metadata) != self.id => FileState::Gone,
            Ok(metadata) if stamp(&metadata) != self.stamp => self.foreign_state(path, stamp(&metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => FileState::Gone,
            // Without an answer nothing is known to have changed.
            Ok(_) | Err(_) => FileState::Same,
        }
    }

    /// The state of a file to which another program has written: SQLite's own tools may do that.
    fn foreign_state(&mut self, path: &Path, stamp: Stamp) -> FileState {
        let may_look_again = self.may_look_again();
        if self.foreign.replace(stamp) != Some(stamp) && may_look_again {
            return FileState::Changing;
        }
        let key = |identity: Identity| (identity.uuid, identity.epoch);
        let is_same = match (self.content, content(path)) {
            (Some(before), Some(now)) => key(before) == key(now) && before.last_window <= now.last_window,
            (None, _) => true,
            // Not readable now: it may be half written.
            (Some(_), None) if may_look_again => return FileState::Changing,
            (Some(_), None) => false,
        };
        if !is_same {
            return FileState::Overwritten;
        }
        self.note(path);
        FileState::Same
    }

    /// Counts the looks at a file that is changing; false once there were too many.
    pub fn may_look_again(&mut self) -> bool {
        self.looks += 1;
        self.looks <= MAX_LOOKS
    }

    /// Takes note of the state of the file after a change of our own.
    pub fn note(&mut self, path: &Path) {
        let Ok(metadata) = fs::symlink_metadata(path) else { return };
        if id(&metadata) != self.id {
            return;
        }
        self.looks = 0;
        self.wal = fs::symlink_metadata(with_suffix(path, "-wal")).ok().map(|wal| id(&wal)).or(self.wal);
        if self.stamp != stamp(&metadata) {
            self.stamp = stamp(&metadata);
            self.content = content(path);
        }
    }

    /// Removes the `-wal` and `-shm` files of the log that was there, so that they are not taken for those of the new one.
    pub fn remove_leftovers(&self, path: &Path) {
        let wal = with_suffix(path, "-wal");
        if fs::symlink_metadata(&wal).is_ok_and(|metadata| Some(id(&metadata)) == self.wal) {
            let _ = fs::remove_file(&wal);
            let _ = fs::remove_file(with_suffix(path, "-shm"));
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// The identity that the file has without the write-ahead log, which may belong to another content; `None` if it has none.
fn content(path: &Path) -> Option<Identity> {
    let connection = immutable::open(path).ok()?;
    Identity::read(&connection).ok()
}

fn id(metadata: &fs::Metadata) -> FileId {
    (metadata.dev(), metadata.ino())
}

fn stamp(metadata: &fs::Metadata) -> Stamp {
    let time = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
    (metadata.len(), time)
}
