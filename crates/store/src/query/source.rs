//! What answers queries: the log of this machine, or a server with copies of logs.

use model::Loss;

use super::{
    compare::{CompareOrder, Comparison},
    definition::{Query, Range},
    reader::Reader,
    row::{Answer, Row},
};
use crate::error::StoreError;

/// Answers queries about records.
pub trait Source {
    /// Why it cannot.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Answers a query: rows, and what they are together.
    ///
    /// # Errors
    /// The records cannot be read.
    fn answer(&self, query: &Query) -> Result<Answer, Self::Error>;

    /// Returns the rows of a query.
    ///
    /// # Errors
    /// As [`Source::answer`].
    fn query(&self, query: &Query) -> Result<Vec<Row>, Self::Error> {
        self.answer(query).map(|answer| answer.rows)
    }

    /// Puts the answers to a query for its range and for another one side by side.
    ///
    /// # Errors
    /// As [`Source::answer`].
    fn compare(&self, query: &Query, before: Range, order: CompareOrder) -> Result<Comparison, Self::Error>;

    /// Returns the times of the first and the last window with a record; `None` without records.
    ///
    /// # Errors
    /// As [`Source::answer`].
    fn extent(&self) -> Result<Option<(i64, i64)>, Self::Error>;

    /// The time before which there are sums of quarters of an hour only (unix seconds, a whole quarter); `None` if there are all
    /// windows.
    ///
    /// # Errors
    /// As [`Source::answer`].
    fn detail_since(&self) -> Result<Option<i64>, Self::Error>;

    /// Returns what was lost in the windows of a range: one entry per kind.
    ///
    /// # Errors
    /// As [`Source::answer`].
    fn losses(&self, range: Range) -> Result<Vec<Loss>, Self::Error>;

    /// Whether [`Query::seen`] is answered.
    fn knows_seen(&self) -> bool;
}

impl Source for Reader {
    type Error = StoreError;

    fn answer(&self, query: &Query) -> Result<Answer, StoreError> {
        self.answer(query)
    }

    fn compare(&self, query: &Query, before: Range, order: CompareOrder) -> Result<Comparison, StoreError> {
        self.compare(query, before, order)
    }

    fn extent(&self) -> Result<Option<(i64, i64)>, StoreError> {
        self.extent()
    }

    fn detail_since(&self) -> Result<Option<i64>, StoreError> {
        self.detail_since()
    }

    fn losses(&self, range: Range) -> Result<Vec<Loss>, StoreError> {
        self.losses(range)
    }

    fn knows_seen(&self) -> bool {
        true
    }
}
