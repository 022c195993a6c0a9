//! The SQL of each schema version, and what SQL alone would do too slowly or with too much memory.

mod version_6;
mod version_7;

use rusqlite::Connection;

/// Does what SQL alone would do too slowly, after the SQL of the migration to `version`.
pub(crate) fn fill(connection: &Connection, version: usize) -> rusqlite::Result<()> {
    match version {
        6 => version_6::fill(connection),
        7 => version_7::fill(connection),
        _ => Ok(()),
    }
}

/// The SQL from each version to the next; entry 0 makes version 1 in an empty file. Released entries must never change.
/// docs/schema.md has the history.
pub(crate) const MIGRATIONS: &[&str] = &[
    include_str!("0001.sql"),
    include_str!("0002.sql"),
    include_str!("0003.sql"),
    include_str!("0004.sql"),
    include_str!("0005.sql"),
    include_str!("0006.sql"),
    include_str!("0007.sql"),
    include_str!("0008.sql"),
    include_str!("0009.sql"),
    include_str!("0010.sql"),
];
