//! The connection log in SQLite: schema, writer, retention, rollups and queries. All SQL of the log is in this crate.

mod address_bytes;
mod backup;
mod clock;
mod error;
mod event;
mod forget;
mod growth_budget;
mod id_map;
mod identity;
mod immutable;
mod import;
mod import_overlap;
mod intern;
mod migrations;
mod nonce;
mod port_seen;
mod program_seen;
mod query;
mod record_value;
mod retention;
mod rollup;
mod salvage;
mod schema;
mod seen_times;
mod size_limit;
mod text_or_blob;
pub mod values;
mod window_follower;
mod window_reader;
mod writer;

#[cfg(test)]
mod tests;

pub use backup::{BackedUp, BackupError, BackupProgress, back_up};
pub use error::StoreError;
pub use event::{EVENT_DIMENSIONS, event_value};
pub use forget::{Forget, Forgotten, TextMatcher, temporary_directory};
pub use growth_budget::{Allowance, GrowthLimit};
pub use import::{ImportMarker, ImportProgress, ImportSource, ImportWindow};
pub use import_overlap::{LogBeforeImport, RecordsBeforeImport};
pub use nonce::random as random_nonce;
pub use program_seen::ProgramSeen;
pub use query::{
    Answer, Change, CompareOrder, ComparedRow, Comparison, Dimension, Filter, FilterError, Find, GroupSeries,
    HostEvent, Interrupter, Query, Range, Reader, Row, Seen, SeenFilter, SeriesByGroup, Sort, Source,
    UnknownDimension, Value, calendar_step, calendar_value, change_text, divide_losses, protocol_name,
};
pub use record_value::record_value;
pub use retention::Purged;
pub use salvage::{Gap, Opened, Salvaged, salvage};
pub use schema::APPLICATION_ID;
pub use window_follower::{Begin, Followed, WindowFollower, WindowPosition};
pub use window_reader::{LogName, LogState, NumberedRecord, WholeWindow, WindowMark, WindowReader};
pub use writer::Writer;

/// The schema version of the logs that this build writes and reads.
pub const SCHEMA_VERSION: usize = migrations::MIGRATIONS.len();

/// The version of the SQLite that is built in.
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}
