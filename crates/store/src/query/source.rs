//! What answers queries: the log of this machine, or a server with copies of logs.

use model::{Bytes, Counters, Event, EventKind, Loss, add_losses};

use super::{
    compare::{CompareOrder, Comparison},
    definition::{Query, Range},
    dimension::Dimension,
    filter::Filter,
    reader::Reader,
    row::{Answer, Row},
    series::SeriesByGroup,
    value::Value,
};
use crate::{error::StoreError, event::event_value, program_seen::ProgramSeen};

/// An event, and the machine that recorded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEvent {
    /// Name of the machine; empty: the one whose log was asked.
    pub host: Bytes,
    /// What happened.
    pub event: Event,
}

impl HostEvent {
    /// The value of one of [`crate::EVENT_DIMENSIONS`], or of the host; none of any other.
    pub fn value(&self, dimension: Dimension) -> Value {
        match dimension {
            Dimension::Host => Value::Bytes(self.host.clone()),
            _ => event_value(&self.event, dimension),
        }
    }
}

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

    /// Returns what was lost in the windows of a range: one entry per kind. Of the filters those of hosts count.
    ///
    /// # Errors
    /// As [`Source::answer`].
    fn losses(&self, range: Range, filters: &[Filter]) -> Result<Vec<Loss>, Self::Error>;

    /// Returns for each two neighbours of `edges` (unix seconds, ascending) what was lost between them: one entry per kind. Of the
    /// filters those of hosts count.
    ///
    /// # Errors
    /// As [`Source::answer`].
    fn losses_between(&self, edges: &[i64], filters: &[Filter]) -> Result<Vec<Vec<Loss>>, Self::Error>;

    /// Returns sums over time for a chart, as [`Reader::series`].
    ///
    /// # Errors
    /// As [`Source::answer`].
    fn series(&self, query: &Query, edges: &[i64]) -> Result<Vec<Counters>, Self::Error>;

    /// As [`Source::series`], and of the largest groups, as [`Reader::series_by`].
    ///
    /// # Errors
    /// As [`Source::answer`].
    fn series_by(&self, query: &Query, edges: &[i64], top: usize) -> Result<SeriesByGroup, Self::Error>;

    /// Returns the events of a range with one of these kinds (none given: all kinds) that pass a condition, at most `limit`, the
    /// latest first.
    ///
    /// # Errors
    /// As [`Source::answer`].
    fn events(
        &self,
        range: Range,
        kinds: &[EventKind],
        limit: u64,
        passes: &dyn Fn(&HostEvent) -> bool,
    ) -> Result<Vec<HostEvent>, Self::Error>;

    /// Returns when each program was first and last seen, the latest first. Of the filters those of hosts count.
    ///
    /// # Errors
    /// As [`Source::answer`].
    fn programs_seen(&self, filters: &[Filter]) -> Result<Vec<ProgramSeen>, Self::Error>;

    /// Whether the records are those of several machines, so that there is [`Dimension::Host`].
    fn has_hosts(&self) -> bool;
}

/// Divides losses, as events at their times, among the intervals of `edges`.
pub fn divide_losses<'a>(events: impl IntoIterator<Item = &'a Event>, edges: &[i64]) -> Vec<Vec<Loss>> {
    let mut losses = vec![Vec::new(); edges.len().saturating_sub(1)];
    for event in events {
        let part = edges.partition_point(|edge| *edge <= event.time).checked_sub(1);
        if let Some(losses) = part.and_then(|part| losses.get_mut(part)) {
            add_losses(losses, event.loss());
        }
    }
    losses
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

    fn losses(&self, range: Range, _filters: &[Filter]) -> Result<Vec<Loss>, StoreError> {
        self.losses(range)
    }

    fn losses_between(&self, edges: &[i64], _filters: &[Filter]) -> Result<Vec<Vec<Loss>>, StoreError> {
        self.losses_between(edges)
    }

    fn series(&self, query: &Query, edges: &[i64]) -> Result<Vec<Counters>, StoreError> {
        self.series(query, edges)
    }

    fn series_by(&self, query: &Query, edges: &[i64], top: usize) -> Result<SeriesByGroup, StoreError> {
        self.series_by(query, edges, top)
    }

    fn events(
        &self,
        range: Range,
        kinds: &[EventKind],
        limit: u64,
        passes: &dyn Fn(&HostEvent) -> bool,
    ) -> Result<Vec<HostEvent>, StoreError> {
        let of_log = |event: Event| HostEvent { host: Bytes::new(), event };
        let events = self.events_that(range, kinds, limit, |event| passes(&of_log(event.clone())))?;
        Ok(events.into_iter().map(of_log).collect())
    }

    fn programs_seen(&self, _filters: &[Filter]) -> Result<Vec<ProgramSeen>, StoreError> {
        self.programs_seen()
    }

    fn has_hosts(&self) -> bool {
        false
    }
}
