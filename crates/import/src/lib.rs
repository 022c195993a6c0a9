//! Brings over the files of the original picosnitch: its logs of every format, its known programs, and where they lie.
//!
//! A source ([`Source`]) gives rows in the order in which they were written. A row becomes a record (`fields`), its local time a
//! point (`local_clock`), and [`import_source`] hands the records to the writer of the log with the position in the source, so
//! that an import that is interrupted or repeated goes on where it was.

mod cell;
mod conn_log;
mod contexts;
mod database;
mod error;
mod fields;
mod find;
mod flat;
mod interned;
mod job;
mod local_clock;
mod oddity;
mod resume;
mod running;
mod snapshot;
mod source;

#[cfg(test)]
mod tests;

pub use error::ImportError;
pub use find::{Content, Found, find_beside, find_in, system_places};
pub use job::{Counts, Settings, SourceReport, Target, import_source, preview_source};
pub use oddity::Oddity;
pub use running::running_original;
pub use snapshot::Opened;
pub use source::{Format, Source};
