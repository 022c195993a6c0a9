//! The connection log in SQLite: schema, writer, retention, rollups and queries. All SQL of the log is in this crate.

mod address_bytes;
mod error;
mod intern;
mod loss_kind;
mod query;
mod retention;
mod rollup;
mod schema;
mod text_or_blob;
pub mod values;
mod writer;

#[cfg(test)]
mod tests;

pub use error::StoreError;
pub use query::{
    Dimension, Filter, FilterError, Interrupter, Query, Range, Reader, Row, Sort, UnknownDimension, Value,
    protocol_name,
};
pub use retention::Purged;
pub use writer::Writer;
