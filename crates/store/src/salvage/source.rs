//! Opening a damaged log: as it is, without its write-ahead log, or as a copy with a new first page.

use std::{
    fs::{self, File},
    io,
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use super::{files::remove, first_page, layout::Layout, leaf_pages::LeafPages};
use crate::{
    error::{StoreError, sql_error},
    schema,
};

/// A log that is open for reading.
pub(super) struct Source {
    pub connection: Connection,
    pub layout: Layout,
    /// What had to be left out to open it.
    pub opened: Opened,
    path: PathBuf,
    /// Deleted at the end.
    _copy: Option<Copy>,
}

/// How much of the files is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// All of it.
    Whole,
    /// The write-ahead log, which has the latest windows, is not readable together with the file.
    WithoutWriteAheadLog,
    /// The first page, which tells where the tables are, was made anew. The write-ahead log is left out as well.
    WithNewFirstPage,
}

impl Source {
    /// Opens the log at `path`; `copy` is a path for a copy if it takes one.
    ///
    /// # Errors
    /// It is a file of another program, of a newer version, or of an unknown one; or the copy cannot be made.
    pub fn open(path: &Path, copy: &Path) -> Result<Self, StoreError> {
        let file_error = |source| StoreError::File { path: path.to_owned(), source };
        let metadata = fs::symlink_metadata(path).map_err(file_error)?;
        if !metadata.is_file() {
            return Err(StoreError::NotAFile(path.to_owned()));
        }
        if metadata.len() == 0 {
            return Err(StoreError::NothingReadable(path.to_owned()));
        }
        // SQLite's own error would only be "unable to open".
        File::open(path).map_err(file_error)?;
        for opened in [Opened::Whole, Opened::WithoutWriteAheadLog] {
            match open_file(path, opened) {
                Ok((connection, layout)) => {
                    return Ok(Self { connection, layout, opened, path: path.to_owned(), _copy: None });
                }
                Err(error @ (StoreError::Newer { .. } | StoreError::Foreign { .. })) => return Err(error),
                Err(_) => {}
            }
        }
        open_repaired(path, copy)
    }

    /// The pages with records; `None` if it is not known which pages are free.
    pub fn leaf_pages(&self) -> Option<LeafPages> {
        LeafPages::find(&self.path).ok()
    }
}

fn open_file(path: &Path, opened: Opened) -> Result<(Connection, Layout), StoreError> {
    // SQLite's URI escapes: https://www.sqlite.org/uri.html. An immutable file is read without its write-ahead log.
    let escaped: Vec<String> =
        path.as_os_str().as_bytes().iter().map(|byte| format!("%{byte:02x}")).collect();
    let immutable = if opened == Opened::Whole { "" } else { "?immutable=1" };
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let fail = sql_error(path, "cannot open the log");
    let connection =
        Connection::open_with_flags(format!("file:{}{immutable}", escaped.concat()), flags).map_err(&fail)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(&fail)?;
    // `writable_schema` opens files that are shorter than their header says. Nothing is written: the connection is read-only.
    connection
        .execute_batch(
            "PRAGMA writable_schema = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON",
        )
        .map_err(&fail)?;
    connection.set_prepared_statement_cache_capacity(64);
    let version = schema::version(&connection, path)?;
    let layout = Layout(version);
    // Fails if the schema cannot be read.
    let sql = format!("SELECT {} FROM record JOIN endpoint LIMIT 0", layout.context_column());
    connection.prepare(&sql).map_err(fail)?;
    match version {
        0 => Err(StoreError::Empty(path.to_owned())),
        _ => Ok((connection, layout)),
    }
}

fn open_repaired(path: &Path, copy: &Path) -> Result<Source, StoreError> {
    let fail = |source| StoreError::File { path: copy.to_owned(), source };
    let file = Copy::new(path, copy).map_err(fail)?;
    let length = fs::metadata(&file.path).map_err(fail)?.len();
    // `picosnitch forget` makes the file anew, which moves the tables.
    for (version, is_vacuumed) in [(7, false), (7, true), (6, false), (5, false)] {
        let first_page = first_page::of_version(copy, version, is_vacuumed)?;
        // Without the pages that the attempt before has appended: they are no tables.
        File::options().write(true).open(&file.path).and_then(|file| file.set_len(length)).map_err(fail)?;
        first_page.write_to(&file.path).map_err(fail)?;
        if let Ok((connection, layout)) = open_file(&file.path, Opened::WithNewFirstPage)
            && match version {
                7 => has_version_7(&connection),
                6 => has_version_6(&connection),
                _ => has_tables(&connection),
            }
        {
            let (opened, path) = (Opened::WithNewFirstPage, path.to_owned());
            return Ok(Source { connection, layout, opened, path, _copy: Some(file) });
        }
    }
    Err(StoreError::NothingReadable(path.to_owned()))
}

/// Whether what is new in version 7 has what belongs there. Rows of version 6 have no last time.
fn has_version_7(connection: &Connection) -> bool {
    let is_found = |sql: &str| connection.query_row(sql, [], |row| row.get(0)).unwrap_or(false);
    let is_seen = "typeof(last) = 'integer' AND typeof(first) = 'integer' AND first > 0 AND last >= first";
    is_found(&format!("SELECT {is_seen} FROM context ORDER BY id LIMIT 1"))
        || is_found(&format!("SELECT {is_seen} FROM endpoint ORDER BY id LIMIT 1"))
}

/// Whether tables that are new in version 6 have what belongs there.
fn has_version_6(connection: &Connection) -> bool {
    let is_found = |sql: &str| connection.query_row(sql, [], |row| row.get(0)).unwrap_or(false);
    is_found("SELECT length(uuid) = 16 AND epoch > 0 FROM log WHERE id = 1")
        || is_found(
            "SELECT typeof(time) = 'integer' AND first_sequence >= 0 AND count >= 0 FROM window LIMIT 1",
        )
}

/// Whether at least one of the tables of all versions begins where it should.
fn has_tables(connection: &Connection) -> bool {
    ["record", "context", "endpoint", "program", "address", "domain"].iter().any(|table| {
        connection.prepare(&format!("SELECT 1 FROM {table}")).and_then(|mut rows| rows.exists([])).is_ok()
    })
}

/// A copy of the file, deleted when it is dropped.
struct Copy {
    path: PathBuf,
}

impl Copy {
    fn new(from: &Path, to: &Path) -> io::Result<Self> {
        remove(to)?;
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(to)?;
        let copy = Self { path: to.to_owned() };
        io::copy(&mut File::open(from)?, &mut file)?;
        Ok(copy)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // A copy that stays is replaced by the next one.
        let _ = fs::remove_file(&self.path);
    }
}
