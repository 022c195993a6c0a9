//! Files that a salvage makes for itself.

use std::{fs, io, path::Path};

/// Removes a file that a killed run has left.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
