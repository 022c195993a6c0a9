//! The connection log in SQLite: schema, writer, reader, query. All SQL of the project is here.

mod adder;
mod answer;
mod dimension;
mod error;
mod intern;
mod packed;
mod purge;
mod query;
mod reader;
mod rollup;
mod schema;
mod sums;
pub mod values;
mod writer;

#[cfg(test)]
mod tests;

pub use dimension::{
    Dimension, Filter, FilterError, UnknownDimension, Value, domain_source_name, family_name, protocol_name,
};
pub use error::StoreError;
pub use purge::Purged;
pub use query::{Query, Range, Sort};
pub use reader::{Interrupter, Reader, Row};
pub use writer::Writer;
