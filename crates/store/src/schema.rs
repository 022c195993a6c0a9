//! The schema: its versions, the migrations between them, and the check that a file is a log.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::{
    error::{StoreError, sql_error},
    migrations::{self, MIGRATIONS},
};

/// `PRAGMA application_id` of a log: "psnl", picosnitch log.
pub const APPLICATION_ID: i64 = i64::from_be_bytes([0, 0, 0, 0, b'p', b's', b'n', b'l']);

/// Returns the schema version of a file, 0 if it is empty.
///
/// # Errors
/// The file is foreign, newer or damaged, or SQLite cannot read it.
pub(crate) fn version(connection: &Connection, path: &Path) -> Result<i64, StoreError> {
    let fail = sql_error(path, "cannot read the schema");
    // All statements must see one state: the daemon may be making the schema right now.
    let connection = connection.unchecked_transaction().map_err(&fail)?;
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

/// Migrates a file from `version` (0: empty) to the last version of `steps`. Each migration is one transaction, so
/// that a crash leaves the file at a whole version. In an empty file all are one: a reader finds a complete log or none.
pub(crate) fn migrate(
    connection: &mut Connection,
    path: &Path,
    version: i64,
    steps: &[&str],
) -> Result<(), StoreError> {
    let fail = sql_error(path, "cannot bring the schema up to date");
    let from = usize::try_from(version).unwrap_or(0);
    let at_once = if from == 0 { steps.len().max(1) } else { 1 };
    for first in (from..steps.len()).step_by(at_once) {
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&fail)?;
        for (index, sql) in steps.iter().enumerate().skip(first).take(at_once) {
            transaction.execute_batch(sql).map_err(&fail)?;
            migrations::fill(&transaction, index + 1).map_err(&fail)?;
            transaction.pragma_update(None, "user_version", index as i64 + 1).map_err(&fail)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(&fail)?;
        transaction.commit().map_err(&fail)?;
    }
    Ok(())
}
