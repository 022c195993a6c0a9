//! The schema: its versions, the migrations between them, and the check that a file is a log.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::error::{StoreError, sql_error};

/// `PRAGMA application_id` of a log: "psnl", picosnitch log.
pub(crate) const APPLICATION_ID: i64 = i64::from_be_bytes([0, 0, 0, 0, b'p', b's', b'n', b'l']);

/// The SQL from each version to the next; entry 0 makes version 1 in an empty file. Released entries must never change.
/// docs/schema.md has the history.
pub(crate) const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001.sql"),
    include_str!("migrations/0002.sql"),
    include_str!("migrations/0003.sql"),
    include_str!("migrations/0004.sql"),
    include_str!("migrations/0005.sql"),
];

/// Returns the schema version of a file, 0 if it is empty.
///
/// # Errors
/// The file is foreign, newer or damaged, or SQLite cannot read it.
pub(crate) fn version(connection: &Connection, path: &Path) -> Result<i64, StoreError> {
    let fail = sql_error(path, "cannot read the schema");
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let id = pragma("application_id").map_err(&fail)?;
    let version = pragma("user_version").map_err(&fail)?;
    let foreign = |what| StoreError::Foreign { path: path.to_owned(), what };
    if id == APPLICATION_ID {
        let known = MIGRATIONS.len() as i64;
        return match version {
            _ if version > known => Err(StoreError::Newer { path: path.to_owned(), found: version, known }),
            _ if version < 1 => Err(foreign(format!("schema version {version}"))),
            _ => Ok(version),
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
        return Ok(0);
    }
    if tables.iter().any(|table| table == "connections") {
        return Err(foreign("an original's snitch.db, which `picosnitch import` will read".to_owned()));
    }
    Err(foreign(format!("tables {}", tables.join(", "))))
}

/// Migrates a file from `version` (0: empty) to the last version of `migrations`. Each migration is one transaction, so
/// that a crash leaves the file at a whole version.
pub(crate) fn migrate(
    connection: &mut Connection,
    path: &Path,
    version: i64,
    migrations: &[&str],
) -> Result<(), StoreError> {
    let fail = sql_error(path, "cannot bring the schema up to date");
    for (index, sql) in migrations.iter().enumerate().skip(usize::try_from(version).unwrap_or(0)) {
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&fail)?;
        transaction.execute_batch(sql).map_err(&fail)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(&fail)?;
        transaction.pragma_update(None, "user_version", index as i64 + 1).map_err(&fail)?;
        transaction.commit().map_err(&fail)?;
    }
    Ok(())
}
