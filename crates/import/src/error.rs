//! Why something could not be imported.

use std::{io, path::PathBuf};

use store::StoreError;
use thiserror::Error;

/// Why something could not be imported.
#[derive(Debug, Error)]
pub enum ImportError {
    /// A file of the original cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// Path of the file.
        path: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
    /// A database of the original cannot be read.
    #[error("cannot read {} after row {row}: it is damaged, or another program holds a lock on it", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// The last row that was read.
        row: i64,
        /// The error of SQLite.
        source: rusqlite::Error,
    },
    /// A text log of the original cannot be read.
    #[error("cannot read {}", path.display())]
    ReadText {
        /// Path of the file.
        path: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
    /// The file is a log of this picosnitch.
    #[error("{} is a log of this picosnitch, not of the original; use `picosnitch backup` to copy it, or put it in its place while \
             picosnitch is stopped", .0.display())]
    OwnLog(PathBuf),
    /// The file is something else.
    #[error("{} is no log of the original picosnitch: {what}", path.display())]
    Foreign {
        /// Path of the file.
        path: PathBuf,
        /// What it has or lacks.
        what: String,
    },
    /// Another program changes the file all the time.
    #[error("{} is written all the time; stop the original picosnitch, and run the command again", .0.display())]
    Changing(PathBuf),
    /// The log has no more room.
    #[error(
        "the log has reached its size limit, and has nothing more to delete; raise log.retention_megabytes, and run the command \
             again: it goes on where it was"
    )]
    Full,
    /// The log cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}
