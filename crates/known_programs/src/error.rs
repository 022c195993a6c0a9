//! The reasons why record.json cannot be used.

use std::{io, path::PathBuf};

use thiserror::Error;

/// The reasons why record.json cannot be used. The file is left as it is.
#[derive(Debug, Error)]
pub enum KnownProgramsError {
    /// The file cannot be read.
    #[error("the record of known programs {} cannot be read; picosnitch does not start, so that the record is not replaced \
             by an empty one", path.display())]
    Read {
        /// Path of the record file.
        path: PathBuf,
        /// The error that the system returned.
        #[source]
        source: io::Error,
    },
    /// The content of the file is not a record.
    #[error("the record of known programs {} is damaged ({what}); it is left as it is: repair it, or move it away to \
             begin a new one (then there is an alert for every program)", path.display())]
    Damaged {
        /// Path of the record file.
        path: PathBuf,
        /// The fault in the content.
        what: String,
    },
}
