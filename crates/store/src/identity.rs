//! The identity of a log: (uuid, epoch, window, sequence) names a record for ever. A small file beside the log remembers the
//! identity and the last window, so that a log that was removed, or replaced by an older copy, begins a new epoch: its
//! windows get numbers again that records elsewhere may have.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rusqlite::Connection;

/// Mode of the file.
const MODE: u32 = 0o640;
/// A longer file is not ours.
const MAX_BYTES: u64 = 256;

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub uuid: [u8; 16],
    pub epoch: i64,
    /// The number of the last window.
    pub last_window: i64,
}

impl Identity {
    /// Reads the identity that is in the log.
    pub fn read(connection: &Connection) -> rusqlite::Result<Self> {
        connection.query_row("SELECT uuid, epoch, last_window FROM log", [], |row| {
            Ok(Self { uuid: row.get(0)?, epoch: row.get(1)?, last_window: row.get(2)? })
        })
    }

    /// The log as a text; its windows may have been written since.
    pub fn text(&self) -> String {
        format!("{}-{}", hex::encode(self.uuid), self.epoch)
    }
}

/// The file beside the log.
pub(crate) struct IdentityFile {
    file: File,
}

impl IdentityFile {
    /// The path of the file for the log at `database`: `snitch.identity`.
    fn path(database: &Path) -> PathBuf {
        database.with_extension("identity")
    }

    /// Opens the file, or makes it. Returns what it says; `None` if it is new, or not readable as an identity.
    ///
    /// # Errors
    /// The errors of the file system.
    pub fn open(database: &Path) -> io::Result<(Self, Option<Identity>)> {
        let path = Self::path(database);
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            .custom_flags(flags)
            .open(&path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other(format!("{} is not a regular file", path.display())));
        }
        file.set_permissions(std::fs::Permissions::from_mode(MODE))?;
        let mut text = String::new();
        let identity = match (&file).take(MAX_BYTES).read_to_string(&mut text) {
            Ok(_) => parse(&text),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => None,
            Err(error) => return Err(error),
        };
        Ok((Self { file }, identity))
    }

    /// Replaces the content. Nothing waits for the disk: after a power loss the file may be as old as the log.
    ///
    /// # Errors
    /// The errors of the file system.
    pub fn write(&self, identity: Identity) -> io::Result<()> {
        let Identity { uuid, epoch, last_window } = identity;
        // All lines have one length, so that a shorter one leaves no rest of a longer one.
        let line = format!("{} {epoch:>20} {last_window:>20}\n", hex::encode(uuid));
        self.file.write_all_at(line.as_bytes(), 0)
    }
}

fn parse(text: &str) -> Option<Identity> {
    let mut fields = text.strip_suffix('\n')?.split_whitespace();
    let mut uuid = [0; 16];
    hex::decode_to_slice(fields.next()?, &mut uuid).ok()?;
    let mut number = || fields.next()?.parse().ok().filter(|number: &i64| *number >= 0);
    let (epoch, last_window) = (number()?, number()?);
    fields.next().is_none().then_some(Identity { uuid, epoch, last_window })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else_is_believed() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("snitch.db");
        let (file, found) = IdentityFile::open(&database).unwrap();
        assert_eq!(found, None);
        for last_window in [1 << 40, 7, i64::MAX] {
            let identity = Identity { uuid: [0xab; 16], epoch: 3, last_window };
            file.write(identity).unwrap();
            assert_eq!(IdentityFile::open(&database).unwrap().1, Some(identity));
        }
        for damaged in ["", "\n", "x", "ab 1 2\n", "\u{0}\u{0}"] {
            std::fs::write(IdentityFile::path(&database), damaged).unwrap();
            assert_eq!(IdentityFile::open(&database).unwrap().1, None, "{damaged:?}");
        }
        std::fs::write(IdentityFile::path(&database), [0xff; 300]).unwrap();
        assert_eq!(IdentityFile::open(&database).unwrap().1, None);
    }
}
