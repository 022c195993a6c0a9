//! Opens databases of the original without changing anything beside them, not even by the files that SQLite makes.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, OpenOptionsExt, chown},
    },
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};
use serde::Serialize;
use tempfile::TempDir;

use crate::error::ImportError;

/// How often it is tried to copy a file that another program writes, and the pause between.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);
/// How long to wait for another program's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The bytes of the header in which the version of the file format stands; 2 is a write-ahead log
/// (<https://www.sqlite.org/fileformat.html>).
const VERSION_BYTES: std::ops::Range<usize> = 18..20;

/// How a database was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Opened {
    /// As it is.
    AsItIs,
    /// A copy, since what was written last is in a journal or a write-ahead log beside it.
    Copied,
}

/// A database that was opened, of which nothing was read yet.
pub(crate) enum Snapshot {
    AsItIs(Connection),
    /// The copies of the database and its journal, in a directory that is removed with it.
    Copy(TempDir, PathBuf),
}

impl Snapshot {
    /// Opens a database, or copies it with its journal; the copy belongs to `owner` (user and group).
    pub fn new(path: &Path, owner: Option<(u32, u32)>) -> Result<Self, ImportError> {
        let fail = |source| ImportError::Open { path: path.to_owned(), source };
        let mut file = open_regular(path).map_err(fail)?;
        if has_content(&beside(path, "-wal")) || has_lasting_journal(path) {
            return copy(path, owner);
        }
        let mut header = [0; 100];
        let length = read_up_to(&mut file, &mut header).map_err(fail)?;
        let is_wal = length == header.len() && header[VERSION_BYTES].contains(&2);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        // With a write-ahead log SQLite would make files. Without one it takes locks only, against a program that writes.
        let opened = if is_wal { open_immutable(path) } else { Connection::open_with_flags(path, flags) };
        let opened = opened.and_then(|connection| connection.busy_timeout(BUSY_TIMEOUT).map(|()| connection));
        opened.map(Self::AsItIs).map_err(|source| ImportError::Read { path: path.to_owned(), row: 0, source })
    }

    pub fn opened(&self) -> Opened {
        match self {
            Self::AsItIs(_) => Opened::AsItIs,
            Self::Copy(..) => Opened::Copied,
        }
    }

    /// The connection. A copy is brought up to date with its journal; its files are gone when this returns.
    pub fn connect(self) -> rusqlite::Result<Connection> {
        match self {
            Self::AsItIs(connection) => Ok(connection),
            Self::Copy(_directory, path) => {
                let connection = Connection::open(&path)?;
                connection.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
                connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
                drop(connection);
                let connection = open_immutable(&path)?;
                // The file is open from now on, and needs no name.
                connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
                Ok(connection)
            }
        }
    }
}

/// Opens a file that no program writes.
fn open_immutable(path: &Path) -> rusqlite::Result<Connection> {
    // SQLite's URI escapes: https://www.sqlite.org/uri.html
    let escaped: String = path.as_os_str().as_bytes().iter().map(|byte| format!("%{byte:02x}")).collect();
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(format!("file:{escaped}?immutable=1"), flags)
}

/// Opens a file for reading, if it is a regular one.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    // Opening a FIFO must not wait for its writer.
    let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

fn read_up_to(file: &mut File, bytes: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < bytes.len() {
        match file.read(&mut bytes[length..])? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn has_content(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.len() > 0)
}

/// Whether there is a rollback journal that stays: of a program that was killed. One of a program that is writing goes.
fn has_lasting_journal(path: &Path) -> bool {
    let journal = beside(path, "-journal");
    (0..TRIES).all(|_| {
        let is_there = has_content(&journal);
        if is_there {
            thread::sleep(PAUSE);
        }
        is_there
    })
}

/// What shows that a file has not changed.
fn stamp(path: &Path) -> Option<(u64, u64, i64, i64)> {
    let found: Metadata = fs::metadata(path).ok()?;
    Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}

/// Copies a database with what is beside it, at a moment at which no program writes.
fn copy(path: &Path, owner: Option<(u32, u32)>) -> Result<Snapshot, ImportError> {
    let fail = |source| ImportError::Open { path: path.to_owned(), source };
    let suffixes = ["", "-wal", "-journal"];
    let place = store::temporary_directory().unwrap_or_else(std::env::temp_dir);
    let directory = tempfile::Builder::new().prefix("picosnitch-import-").tempdir_in(place).map_err(fail)?;
    let target = directory.path().join("copy.db");
    for _ in 0..TRIES {
        let stamps = || suffixes.map(|suffix| stamp(&beside(path, suffix)));
        let before = stamps();
        for suffix in suffixes {
            copy_file(&beside(path, suffix), &beside(&target, suffix)).map_err(fail)?;
        }
        if before == stamps() {
            if let Some((user, group)) = owner {
                let copies = suffixes.map(|suffix| beside(&target, suffix));
                for copy in copies.iter().filter(|copy| copy.exists()) {
                    chown(copy, Some(user), Some(group)).map_err(fail)?;
                }
                chown(directory.path(), Some(user), Some(group)).map_err(fail)?;
            }
            return Ok(Snapshot::Copy(directory, target));
        }
        thread::sleep(PAUSE);
    }
    Err(ImportError::Changing(path.to_owned()))
}

/// Copies a file; without one there is no copy.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let mut from = match open_regular(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match fs::remove_file(to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        opened => opened?,
    };
    let mut to = File::options().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    io::copy(&mut from, &mut to).map(drop)
}
