//! The schema: versions, migrations, and the checks of a file that claims to be ours.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use super::error::StoreError;

/// `PRAGMA application_id` of our files: "psnl", picosnitch log.
pub const APPLICATION_ID: i64 = i64::from_be_bytes([0, 0, 0, 0, b'p', b's', b'n', b'l']);

/// What leads from one version to the next: entry 0 makes version 1 of an empty file. Entries are only ever
/// appended; docs/schema.md has the history.
pub const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001.sql"),
    include_str!("migrations/0002.sql"),
    include_str!("migrations/0003.sql"),
    include_str!("migrations/0004.sql"),
    include_str!("migrations/0005.sql"),
];

/// What is in a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing yet.
    Empty,
    /// Our schema of this version.
    Version(i64),
}

/// Turns an error of SQLite into ours, recognising a file that is no database.
pub fn failed(path: &Path, doing: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |source| match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            StoreError::Damaged { path: path.to_owned(), source }
        }
        _ => StoreError::Sql { path: path.to_owned(), doing, source },
    }
}

/// Looks at what a file is.
///
/// # Errors
/// A foreign, newer or damaged file, and whatever keeps SQLite from reading it.
pub fn inspect(connection: &Connection, path: &Path) -> Result<Found, StoreError> {
    let fail = failed(path, "cannot read the schema");
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let id = pragma("application_id").map_err(&fail)?;
    let version = pragma("user_version").map_err(&fail)?;
    let foreign = |what| StoreError::Foreign { path: path.to_owned(), what };
    if id == APPLICATION_ID {
        let known = MIGRATIONS.len() as i64;
        return match version {
            _ if version > known => Err(StoreError::Newer { path: path.to_owned(), found: version, known }),
            _ if version < 1 => Err(foreign(format!("schema version {version}"))),
            _ => Ok(Found::Version(version)),
        };
    }
    if id != 0 {
        return Err(foreign(format!("application id {id:#x}")));
    }
    let names = "SELECT name FROM sqlite_schema ORDER BY name LIMIT 20";
    let mut statement = connection.prepare(names).map_err(&fail)?;
    let tables = statement.query_map([], |row| row.get::<_, String>(0)).map_err(&fail)?;
    let tables = tables.collect::<Result<Vec<_>, _>>().map_err(&fail)?;
    if tables.is_empty() && version == 0 {
        return Ok(Found::Empty);
    }
    if tables.iter().any(|table| table == "connections") {
        let what = "an original's snitch.db, which `picosnitch import` will read".to_owned();
        return Err(foreign(what));
    }
    Err(foreign(format!("tables {}", tables.join(", "))))
}

/// Brings a file from `version` (0: empty) to the last of `migrations`, each step in a transaction of its
/// own, so that a file is always at a whole version.
pub fn migrate(
    connection: &mut Connection,
    path: &Path,
    version: i64,
    migrations: &[&str],
) -> Result<(), StoreError> {
    let fail = failed(path, "cannot bring the schema up to date");
    for (step, sql) in migrations.iter().enumerate().skip(usize::try_from(version).unwrap_or(0)) {
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&fail)?;
        transaction.execute_batch(sql).map_err(&fail)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(&fail)?;
        transaction.pragma_update(None, "user_version", step as i64 + 1).map_err(&fail)?;
        transaction.commit().map_err(&fail)?;
    }
    Ok(())
}
