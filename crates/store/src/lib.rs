//! The connection log in SQLite: schema, writer, retention, rollups and queries. All SQL of the log is in this crate.

mod address_bytes;
mod clock;
mod error;
mod event;
mod growth_budget;
mod identity;
mod intern;
mod migrations;
mod port_seen;
mod program_seen;
mod query;
mod retention;
mod rollup;
mod salvage;
mod schema;
mod seen_times;
mod size_limit;
mod text_or_blob;
pub mod values;
mod writer;

#[cfg(test)]
mod tests;

pub use error::StoreError;
pub use growth_budget::{Allowance, GrowthLimit};
pub use program_seen::ProgramSeen;
pub use query::{
    Dimension, Filter, FilterError, Interrupter, Query, Range, Reader, Row, Sort, UnknownDimension, Value,
    protocol_name,
};
pub use retention::Purged;
pub use salvage::{Gap, Opened, Salvaged, salvage};
pub use writer::Writer;
