//! The SQL of each schema version, and what SQL alone would do too slowly or with too much memory.

pub(crate) mod version_6;

/// The SQL from each version to the next; entry 0 makes version 1 in an empty file. Released entries must never change.
/// docs/schema.md has the history.
pub(crate) const MIGRATIONS: &[&str] = &[
    include_str!("0001.sql"),
    include_str!("0002.sql"),
    include_str!("0003.sql"),
    include_str!("0004.sql"),
    include_str!("0005.sql"),
    include_str!("0006.sql"),
];
