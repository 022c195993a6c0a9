//! What can go wrong with the database, in sentences that say what to do.

use std::{io, path::PathBuf};

use rusqlite::ErrorCode;
use thiserror::Error;

/// The database could not be opened, written or read.
#[derive(Debug, Error)]
pub enum StoreError {
    /// There is no file.
    #[error(
        "there is no log at {}; start the daemon first (picosnitch start-no-daemon), or name the directory \
         of the log with --base-dir",
        .0.display()
    )]
    Missing(PathBuf),
    /// The path is no regular file.
    #[error("{} is not a regular file; move it away and start again", .0.display())]
    NotAFile(PathBuf),
    /// The file could not be made or looked at.
    #[error("cannot open {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is a database of something else.
    #[error("{} is a database of another program ({what}); it is left alone: move it away, or choose another \
             directory with --base-dir", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// How it was recognised.
        what: String,
    },
    /// The file is no database at all, or a damaged one.
    #[error("{} is not a database, or is damaged; it is left alone: move it (and its -wal and -shm files) \
             away, and a new one is made; what can be read of it: sqlite3 FILE .recover", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// A later picosnitch wrote the file.
    #[error("{} has schema version {found}, this picosnitch knows up to {known}; install the newer one", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Version of the file.
        found: i64,
        /// Latest version known.
        known: i64,
    },
    /// An earlier picosnitch wrote the file, and a reader may not change it.
    #[error("{} has schema version {found}, this picosnitch reads {known}; restart the daemon, which brings \
             it up to date", path.display())]
    Older {
        /// The file.
        path: PathBuf,
        /// Version of the file.
        found: i64,
        /// Version that is read.
        known: i64,
    },
    /// The file was never filled: the daemon did not get to it.
    #[error("{} holds no log yet", .0.display())]
    Empty(PathBuf),
    /// Write-ahead logging cannot be used on this file system.
    #[error("{}: the file system allows no write-ahead log (SQLite's journal mode is {mode}); put the log on \
             a local file system", path.display())]
    NoWriteAheadLog {
        /// The file.
        path: PathBuf,
        /// The mode SQLite stays in.
        mode: String,
    },
    /// A purge was asked to delete what is not old.
    #[error(
        "refused to delete records up to {cutoff}, which is not in the past (now: {now}); is the clock right?"
    )]
    CutoffInFuture {
        /// The cutoff that was asked for, unix seconds.
        cutoff: i64,
        /// The present, unix seconds.
        now: i64,
    },
    /// An operation failed.
    #[error("{}: {doing}", path.display())]
    Sql {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What SQLite says.
        source: rusqlite::Error,
    },
}

impl StoreError {
    /// Trying again later can help: another process holds a lock, or the disk is full. Nothing was written.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Sql { source, .. } => matches!(
                source.sqlite_error_code(),
                Some(
                    ErrorCode::DatabaseBusy
                        | ErrorCode::DatabaseLocked
                        | ErrorCode::DiskFull
                        | ErrorCode::SystemIoFailure
                        | ErrorCode::OutOfMemory
                )
            ),
            Self::File { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            _ => false,
        }
    }

    /// An `Interrupter` ended the question.
    pub fn is_interrupted(&self) -> bool {
        matches!(self, Self::Sql { source, .. } if source.sqlite_error_code() == Some(ErrorCode::OperationInterrupted))
    }

    /// The kernel refused: the user lacks the right to open the file.
    pub fn is_permission(&self) -> bool {
        match self {
            Self::File { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
            Self::Sql { source, .. } => {
                matches!(source.sqlite_error_code(), Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly))
            }
            _ => false,
        }
    }
}
