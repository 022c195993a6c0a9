//! The reasons why record.json cannot be used.

use std::{io, path::PathBuf};

use thiserror::Error;

/// The reasons why record.json cannot be used.
#[derive(Debug, Error)]
pub enum KnownProgramsError {
    /// The file cannot be read.
    #[error("the record of known programs {} cannot be read", path.display())]
    Read {
        /// Path of the record file.
        path: PathBuf,
        /// The error that the system returned.
        #[source]
        source: io::Error,
    },
    /// The content of the file is not a record.
    #[error("the record of known programs {} is damaged ({what})", path.display())]
    Damaged {
        /// Path of the record file.
        path: PathBuf,
        /// The fault in the content.
        what: String,
    },
    /// The file cannot be replaced.
    #[error("cannot write {}", path.display())]
    Write {
        /// Path of the file.
        path: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
}
