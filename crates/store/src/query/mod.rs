//! Queries: what `query`, `view` and all other readers of the log use, so that they cannot disagree.

mod calendar_parts;
mod classes;
mod compare;
mod definition;
mod dimension;
mod dimension_column;
mod execute;
mod filter;
mod filter_set;
mod limits;
mod pattern;
mod reader;
mod result_column;
mod row;
mod seen;
mod series;
mod source;
mod sql_value;
mod value;
mod value_names;

pub use calendar_parts::{calendar_step, calendar_value};
pub use compare::{Change, CompareOrder, ComparedRow, Comparison, change_text};
pub use definition::{Query, Range, SeenFilter, Sort};
pub use dimension::{Dimension, UnknownDimension};
pub(crate) use filter::FilterOperand;
pub use filter::{Filter, FilterError, Find};
pub use reader::{Interrupter, Reader};
pub use row::{Answer, Row};
pub use seen::Seen;
pub use series::{GroupSeries, SeriesByGroup};
pub use source::{HostEvent, Source, divide_losses};
#[cfg(test)]
pub(crate) use sql_value::{value_from_sql, value_to_sql};
pub use value::Value;
pub use value_names::protocol_name;
pub(crate) use value_names::{domain_source_name, family_name};
