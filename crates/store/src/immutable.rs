//! A log that nobody writes to, read without its write-ahead log and without any file beside it.

use std::{os::unix::ffi::OsStrExt, path::Path};

use rusqlite::{Connection, OpenFlags};

/// Opens the file at `path` as it is.
///
/// # Errors
/// The errors of SQLite.
pub(crate) fn open(path: &Path) -> rusqlite::Result<Connection> {
    // SQLite's URI escapes: https://www.sqlite.org/uri.html
    let escaped: Vec<String> =
        path.as_os_str().as_bytes().iter().map(|byte| format!("%{byte:02x}")).collect();
    let uri = format!("file:{}?immutable=1", escaped.concat());
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(uri, flags)
}
