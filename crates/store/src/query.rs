//! The one form of a question to the log, for every face of the program.

use std::str::FromStr;

use super::dimension::{Dimension, Filter, UnknownDimension};

/// A span of time, unix seconds UTC, both ends included; it selects windows by their end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// First second; `None`: from the beginning.
    pub since: Option<i64>,
    /// Last second; `None`: to the end.
    pub until: Option<i64>,
}

impl Range {
    pub(super) fn bounds(self) -> (i64, i64) {
        (self.since.unwrap_or(i64::MIN), self.until.unwrap_or(i64::MAX))
    }
}

/// In which order the rows come. Counters: largest first; a dimension: smallest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// By bytes, sent and received together; then by connections.
    #[default]
    Total,
    /// By connections.
    Connections,
    /// By bytes sent.
    Sent,
    /// By bytes received.
    Received,
    /// By the value of a dimension, which must be one of those grouped by.
    Dimension(Dimension),
}

impl FromStr for Sort {
    type Err = UnknownDimension;

    fn from_str(text: &str) -> Result<Self, UnknownDimension> {
        match text {
            "total" => Ok(Self::Total),
            "conns" => Ok(Self::Connections),
            "sent" => Ok(Self::Sent),
            "received" => Ok(Self::Received),
            _ => text.parse().map(Self::Dimension),
        }
    }
}

/// A question to the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// When.
    pub range: Range,
    /// One row per combination of these; empty: one row with the sum of everything.
    pub group_by: Vec<Dimension>,
    /// A record must match, for each dimension that is named, one of its filters, and no excluding one.
    pub filters: Vec<Filter>,
    /// Order of the rows.
    pub sort: Sort,
    /// Most rows to return.
    pub limit: Option<u64>,
}
