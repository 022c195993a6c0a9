//! Two ranges side by side: what is new, gone, grown and shrunk.

use std::{cmp::Reverse, collections::HashMap};

use foldhash::fast::FixedState;
use model::Counters;

use super::{
    definition::{Query, Sort},
    row::Row,
    value::Value,
};

/// How a group changed from one range to the other, by its bytes, or without bytes by its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// The range before has no record of it.
    New,
    /// It has more than before.
    Grown,
    /// It has as much as before.
    Same,
    /// It has less than before.
    Shrunk,
    /// Only the range before has records of it.
    Gone,
}

impl Change {
    /// The name for the user and for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Grown => "grown",
            Self::Same => "same",
            Self::Shrunk => "shrunk",
            Self::Gone => "gone",
        }
    }
}

/// A group in both ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComparedRow {
    /// The values of the dimensions, in the order of the query's `group_by`.
    pub values: Vec<Value>,
    /// The sum in the range of the query; `None` if it has no record of the group.
    pub now: Option<Counters>,
    /// The sum in the range before; `None` if it has no record of the group.
    pub before: Option<Counters>,
}

impl ComparedRow {
    /// How the group changed.
    pub fn change(&self) -> Change {
        let (Some(now), Some(before)) = (self.now, self.before) else {
            return if self.before.is_none() { Change::New } else { Change::Gone };
        };
        let (now, before) = match (bytes(now), bytes(before)) {
            (0, 0) => (now.connections, before.connections),
            both => both,
        };
        match now.cmp(&before) {
            std::cmp::Ordering::Greater => Change::Grown,
            std::cmp::Ordering::Equal => Change::Same,
            std::cmp::Ordering::Less => Change::Shrunk,
        }
    }
}

/// The answer of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// The groups, up to the limit of the query.
    pub rows: Vec<ComparedRow>,
    /// The sum of all groups in the range of the query.
    pub now: Counters,
    /// The sum of all groups in the range before.
    pub before: Counters,
}

/// Sent and received together.
fn bytes(counters: Counters) -> u64 {
    counters.sent.saturating_add(counters.received)
}

/// Puts the rows of two answers side by side, those that changed most first.
pub(super) fn compare(now: Vec<Row>, before: Vec<Row>, query: &Query) -> Vec<ComparedRow> {
    let mut rows: HashMap<Vec<Value>, (Option<Counters>, Option<Counters>), FixedState> = HashMap::default();
    for row in now {
        rows.entry(row.values).or_default().0 = Some(row.counters);
    }
    for row in before {
        rows.entry(row.values).or_default().1 = Some(row.counters);
    }
    let row = |(values, (now, before))| ComparedRow { values, now, before };
    let mut rows: Vec<ComparedRow> = rows.into_iter().map(row).collect();
    let amount = |counters: Option<Counters>| {
        let counters = counters.unwrap_or_default();
        match query.sort {
            Sort::Connections => counters.connections,
            Sort::Sent => counters.sent,
            Sort::Received => counters.received,
            _ => bytes(counters),
        }
    };
    let key = |row: &ComparedRow| {
        let (now, before) = (amount(row.now), amount(row.before));
        (Reverse(now.abs_diff(before)), Reverse(now.max(before)))
    };
    match query.sort {
        Sort::Dimension(dimension) => {
            let at = query.group_by.iter().position(|grouped| *grouped == dimension).unwrap_or(0);
            rows.sort_by(|a, b| (a.values.get(at), &a.values).cmp(&(b.values.get(at), &b.values)));
        }
        _ => rows.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| a.values.cmp(&b.values))),
    }
    rows
}
