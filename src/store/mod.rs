//! The connection log in SQLite: schema, writer, reader, query. All SQL of the project is here.

mod dimension;
mod error;
mod history;
mod intern;
mod purge;
mod query;
mod reader;
mod schema;
mod writer;

#[cfg(test)]
mod tests;

pub use dimension::{Dimension, Filter, FilterError, UnknownDimension, Value, family_name, protocol_name};
pub use error::StoreError;
pub use history::Interrupter;
pub use purge::Purged;
pub use query::{Query, Range, Sort};
pub use reader::{Reader, Row};
pub use writer::Writer;
