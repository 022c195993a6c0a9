//! Rows of answers.

use model::Counters;

use super::{seen::Seen, value::Value};

/// One row of the answer to a query: a group of records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The values of the dimensions, in the order of the query's `group_by`.
    pub values: Vec<Value>,
    /// The sum of the records of the group.
    pub counters: Counters,
    /// When the value was seen, if the query wants to know.
    pub seen: Option<Seen>,
}

/// The answer to a query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The rows, up to the limit.
    pub rows: Vec<Row>,
    /// The number of rows, also beyond the limit.
    pub row_count: usize,
    /// The sum of all rows, also beyond the limit.
    pub total: Counters,
}
