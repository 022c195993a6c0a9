//! The query: range, grouping, filters, order, limit.

use std::str::FromStr;

use calendar::TimeZone;

use super::{
    dimension::{Dimension, UnknownDimension},
    filter::{Filter, Find},
};

/// A span of time, unix seconds UTC, both ends included. It selects windows by their end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// First second; `None`: from the beginning of the log.
    pub since: Option<i64>,
    /// Last second; `None`: to the end of the log.
    pub until: Option<i64>,
}

impl Range {
    /// The first and the last second (unix seconds UTC).
    pub fn bounds(self) -> (i64, i64) {
        (self.since.unwrap_or(i64::MIN), self.until.unwrap_or(i64::MAX))
    }
}

/// The order of the rows: by counters the largest first, by a dimension the smallest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// By bytes, sent and received together; then by connections.
    #[default]
    Total,
    /// By the number of connections.
    Connections,
    /// By the bytes that were sent.
    Sent,
    /// By the bytes that were received.
    Received,
    /// By the first sight, the latest first. Needs [`Query::seen`], as the next two.
    FirstSeen,
    /// By the last sight, the latest first.
    LastSeen,
    /// By the number of digests.
    Digests,
    /// By the value of a dimension of `group_by`; for any other dimension as [`Sort::Total`].
    Dimension(Dimension),
}

impl Sort {
    /// Whether the order is by what [`Query::seen`] tells.
    pub fn is_by_seen(self) -> bool {
        matches!(self, Self::FirstSeen | Self::LastSeen | Self::Digests)
    }
}

impl FromStr for Sort {
    type Err = UnknownDimension;

    fn from_str(text: &str) -> Result<Self, UnknownDimension> {
        match text {
            "total" => Ok(Self::Total),
            "conns" => Ok(Self::Connections),
            "sent" => Ok(Self::Sent),
            "received" => Ok(Self::Received),
            "first-seen" => Ok(Self::FirstSeen),
            "last-seen" => Ok(Self::LastSeen),
            "digests" => Ok(Self::Digests),
            _ => text.parse().map(Self::Dimension),
        }
    }
}

/// Selects rows by when their value was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeenFilter {
    /// Only values that were never seen before this time, unix seconds UTC.
    pub new_since: Option<i64>,
    /// Only executables that have had another digest since this time, unix seconds UTC.
    pub changed_since: Option<i64>,
}

/// A query to the log: sums of the records that match, by group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The windows whose records are added up.
    pub range: Range,
    /// One row per combination of the values of these dimensions; if empty, one row with the sum of all records.
    pub group_by: Vec<Dimension>,
    /// A record matches if, for each dimension with filters, it matches one of the including filters and none of the
    /// excluding ones.
    pub filters: Vec<Filter>,
    /// A further condition on one dimension, whatever the filters say about it.
    pub find: Option<Find>,
    /// The time zone of the calendar's dimensions; `None`: UTC.
    pub zone: Option<TimeZone>,
    /// Tells for each row when its value was seen, and leaves out others than these. The rows must be grouped by one
    /// dimension for which [`Dimension::is_seen`] holds; otherwise nothing is told, and nothing left out.
    pub seen: Option<SeenFilter>,
    /// Order of the rows; rows with equal counters come in the order of their values.
    pub sort: Sort,
    /// Whether the rows come in the opposite order.
    pub reverse: bool,
    /// Rows at the beginning that are left out; `None`: none.
    pub offset: Option<u64>,
    /// Maximum number of rows; `None`: all.
    pub limit: Option<u64>,
}

impl Query {
    /// Leaves the rows that are wanted, of all in their order.
    pub(super) fn cut<T>(&self, rows: Vec<T>) -> impl Iterator<Item = T> + use<T> {
        let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        rows.into_iter().skip(self.offset.map_or(0, number)).take(self.limit.map_or(usize::MAX, number))
    }

    /// The time zone of the calendar's dimensions.
    pub(crate) fn zone(&self) -> TimeZone {
        self.zone.clone().unwrap_or(TimeZone::UTC)
    }
}
