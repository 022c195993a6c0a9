//! Errors of the log, in sentences that say what to do.

use std::{
    io,
    path::{Path, PathBuf},
};

use rusqlite::ErrorCode;
use thiserror::Error;

/// The log could not be opened, written or read.
#[derive(Debug, Error)]
pub enum StoreError {
    /// There is no file at this path.
    #[error(
        "there is no log at {} yet; start the daemon first (sudo picosnitch start), or name the directory of the log \
         with --base-dir",
        .0.display()
    )]
    Missing(PathBuf),
    /// The path is a directory, a link or a special file.
    #[error("{} is not a regular file; move it away and start again", .0.display())]
    NotAFile(PathBuf),
    /// The file could not be created, examined or opened.
    #[error("cannot open {}", path.display())]
    File {
        /// Path of the log's file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file is an SQLite database, but not a log of picosnitch.
    #[error("{} is a database of another program ({what}); it is left alone: move it away, or choose another \
             directory with --base-dir", path.display())]
    Foreign {
        /// Path of the foreign database.
        path: PathBuf,
        /// The tables or the id by which it was recognised.
        what: String,
    },
    /// The file is no SQLite database, or a damaged one.
    #[error("{} is not a database, or is damaged; the daemon moves it aside and begins a new one, and \
             `picosnitch doctor --salvage FILE` brings over what can be read of it", path.display())]
    Damaged {
        /// Path of the damaged file.
        path: PathBuf,
        /// The error that SQLite returned.
        source: rusqlite::Error,
    },
    /// Nothing of a log was found in the file.
    #[error("nothing of a log can be read of {}: it is something else, or all of it is damaged", .0.display())]
    NothingReadable(PathBuf),
    /// A newer picosnitch wrote the file.
    #[error("{} has schema version {found}, this picosnitch knows up to {known}; install the newer one", path.display())]
    Newer {
        /// Path of the log's file.
        path: PathBuf,
        /// Schema version of the file.
        found: i64,
        /// Latest schema version that this picosnitch knows.
        known: i64,
    },
    /// An older picosnitch wrote the file, and a reader does not migrate it.
    #[error("{} has schema version {found}, this picosnitch reads {known}: the daemon brings it up to date when it starts. If it \
             has just been started, try again in a minute (a large log takes some); otherwise restart it", path.display())]
    Older {
        /// Path of the log's file.
        path: PathBuf,
        /// Schema version of the file.
        found: i64,
        /// Schema version that this picosnitch reads.
        known: i64,
    },
    /// The file is empty: the daemon ended before it made the schema.
    #[error("nothing is recorded yet: {} is empty until the daemon has made it a log. If the daemon has just been started, try \
             again in a few seconds; otherwise start it", .0.display())]
    Empty(PathBuf),
    /// The file system does not support write-ahead logging.
    #[error("{}: the file system allows no write-ahead log (SQLite's journal mode is {mode}); put the log on \
             a local file system", path.display())]
    NoWriteAheadLog {
        /// Path of the log's file.
        path: PathBuf,
        /// The journal mode that SQLite stays in.
        mode: String,
    },
    /// Records of the present or the future were to be deleted as old.
    #[error(
        "refused to delete records up to {cutoff}, which is not in the past (now: {now}); is the clock right?"
    )]
    CutoffInFuture {
        /// The requested cutoff, unix seconds.
        cutoff: i64,
        /// The time of the refusal, unix seconds.
        now: i64,
    },
    /// The file is no longer the one that was opened: it was removed, moved or replaced.
    #[error("the log {} was removed, moved or replaced", .0.display())]
    Replaced(PathBuf),
    /// Another program is writing to the file, for example restores a copy.
    #[error("another program is writing to the log {}", .0.display())]
    Changing(PathBuf),
    /// What is left of the log must stay, and takes more than its limit.
    #[error(
        "{}: its last day alone takes more than {} MB", path.display(), max_bytes / 1_000_000
    )]
    SizeLimit {
        /// Path of the log's file.
        path: PathBuf,
        /// The limit in bytes.
        max_bytes: u64,
    },
    /// An answer has more groups than [`Reader::limit_groups`](crate::Reader::limit_groups) allows.
    #[error("an answer from {} would have too many rows: ask with fewer dimensions, for a shorter range, or with a filter", .0.display())]
    TooManyGroups(PathBuf),
    /// An operation of SQLite failed.
    #[error("{}: {doing}", path.display())]
    Sql {
        /// Path of the log's file.
        path: PathBuf,
        /// The action that failed, for example "cannot make rollups".
        doing: &'static str,
        /// The error that SQLite returned.
        source: rusqlite::Error,
    },
}

impl StoreError {
    /// Whether the log is not there yet, or is brought up to date: the daemon starts.
    pub fn is_not_ready(&self) -> bool {
        matches!(self, Self::Missing(_) | Self::Empty(_) | Self::Older { .. })
    }

    /// Whether the operation can succeed later: another process holds a lock, or the disk is full. Nothing was written.
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
                        | ErrorCode::ReadOnly
                        | ErrorCode::CannotOpen
                )
            ),
            Self::File { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ReadOnlyFilesystem
            ),
            Self::Changing(_) => true,
            _ => false,
        }
    }

    /// Whether an [`Interrupter`](crate::Interrupter) ended the query.
    pub fn is_interrupted(&self) -> bool {
        matches!(self, Self::Sql { source, .. } if source.sqlite_error_code() == Some(ErrorCode::OperationInterrupted))
    }

    /// Whether SQLite could not open the file or one that it needs beside it.
    pub(crate) fn is_cannot_open(&self) -> bool {
        matches!(self, Self::Sql { source, .. } if source.sqlite_error_code() == Some(ErrorCode::CannotOpen))
    }

    /// Whether the user lacks the right to open the file.
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

/// Returns a conversion of SQLite's errors for one operation; it recognises a file that is no database.
pub(crate) fn sql_error(path: &Path, doing: &'static str) -> impl Fn(rusqlite::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            StoreError::Damaged { path: path.clone(), source }
        }
        _ => StoreError::Sql { path: path.clone(), doing, source },
    }
}
