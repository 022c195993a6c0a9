//! Two ranges side by side: what is new, gone, grown and shrunk.

use std::{cmp::Reverse, collections::HashMap};

use foldhash::fast::FixedState;
use model::Counters;
use rusqlite::Connection;

use super::{
    definition::{Query, Range, Sort},
    execute::{Conditions, columns, decode, group, sums},
    limits::Limits,
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

/// The order of the rows of a comparison. Where the query sorts by a dimension, it is that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CompareOrder {
    /// By the difference of what the query sorts by, the largest first.
    #[default]
    Difference,
    /// As in the answer to the query alone; behind that what is gone, in the order of the range before.
    Now,
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
        match (self.now, self.before) {
            (Some(now), Some(before)) => match amounts(now, before) {
                (now, before) if now > before => Change::Grown,
                (now, before) if now < before => Change::Shrunk,
                _ => Change::Same,
            },
            (_, None) => Change::New,
            (None, _) => Change::Gone,
        }
    }

    /// How the group changed, for the user: a word, or by how much.
    pub fn change_text(&self) -> String {
        match (self.change(), self.now, self.before) {
            (Change::Grown | Change::Shrunk, Some(now), Some(before)) => change_text(now, before),
            (change, ..) => change.name().to_owned(),
        }
    }
}

/// What counts of two sums: the bytes, or without bytes the connections.
fn amounts(now: Counters, before: Counters) -> (u64, u64) {
    match (bytes(now), bytes(before)) {
        (0, 0) => (now.connections, before.connections),
        both => both,
    }
}

/// The difference of two sums in percent of the one before, for the user: `+12 %`; a factor from ten times on, and a word where a
/// whole percent would say nothing, or the sum before is zero. It agrees with [`ComparedRow::change`] of a group that both ranges
/// have.
pub fn change_text(now: Counters, before: Counters) -> String {
    let (now, before) = amounts(now, before);
    if now == before {
        return Change::Same.name().to_owned();
    }
    if before == 0 {
        return Change::Grown.name().to_owned();
    }
    let factor = now as f64 / before as f64;
    // -100 % means that nothing is left.
    let least = if now == 0 { -100.0 } else { -99.0 };
    let percent = ((factor - 1.0) * 100.0).round().max(least);
    match percent.abs() {
        ..1.0 => if now > before { Change::Grown } else { Change::Shrunk }.name().to_owned(),
        1000.0.. => format!("\u{d7}{factor:.0}"),
        _ => format!("{percent:+.0} %"),
    }
}

/// The answer of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// The groups, up to the limit of the query.
    pub rows: Vec<ComparedRow>,
    /// The number of groups, also beyond the limit.
    pub row_count: usize,
    /// The sum of all groups in the range of the query.
    pub now: Counters,
    /// The sum of all groups in the range before.
    pub before: Counters,
}

/// Sent and received together.
fn bytes(counters: Counters) -> u64 {
    counters.sent.saturating_add(counters.received)
}

/// A group in both ranges, whose values are codes or the values themselves.
type GroupRow<K> = (Vec<K>, [Option<Counters>; 2]);

impl Comparison {
    /// The comparison of sums that were added up elsewhere, as in [`Answer::of_groups`](super::Answer::of_groups), for the range of
    /// the query and for the one before.
    pub fn of_groups(
        query: &Query,
        order: CompareOrder,
        [now, before]: [HashMap<Vec<Value>, Counters>; 2],
    ) -> Self {
        let sum = |groups: &HashMap<Vec<Value>, Counters>| {
            let mut total = Counters::default();
            groups.values().for_each(|counters| total += *counters);
            total
        };
        let totals = [&now, &before].map(sum);
        let mut groups: HashMap<Vec<Value>, [Option<Counters>; 2]> = HashMap::new();
        for (at, sums) in [now, before].into_iter().enumerate() {
            sums.into_iter()
                .for_each(|(values, counters)| groups.entry(values).or_default()[at] = Some(counters));
        }
        if query.group_by.is_empty() {
            // The sum of nothing is a row as well.
            groups.insert(Vec::new(), totals.map(Some));
        }
        let mut rows: Vec<_> = groups.into_iter().collect();
        sort(query, order, &mut rows);
        let row_count = rows.len();
        let row = |(values, [now, before]): GroupRow<Value>| ComparedRow { values, now, before };
        let [now, before] = totals;
        Self { rows: query.cut(rows).map(row).collect(), row_count, now, before }
    }
}

/// Puts the sums of a query for its range and for the range `before` side by side, those first that changed most, or that have most now.
pub(super) fn execute_comparison(
    connection: &Connection,
    query: &Query,
    (before, order): (Range, CompareOrder),
    limits: Limits<'_>,
) -> rusqlite::Result<Comparison> {
    let earlier = Query { range: before, ..query.clone() };
    let conditions = Conditions::new(connection, query)?;
    let now = sums(connection, query, &conditions, limits)?;
    // Both are in memory at the same time.
    let limits = Limits { max_groups: limits.max_groups.saturating_sub(now.groups.len()), ..limits };
    let before = sums(connection, &earlier, &conditions, limits)?;
    let [columns, columns_before] = columns(connection, query, [&now, &before])?;
    let mut groups: HashMap<Vec<i64>, [Option<Counters>; 2], FixedState> = HashMap::default();
    for (codes, counters) in group(&now.groups, &columns) {
        groups.insert(codes, [Some(counters), None]);
    }
    for (codes, counters) in group(&before.groups, &columns_before) {
        groups.entry(codes).or_default()[1] = Some(counters);
    }
    if query.group_by.is_empty() {
        // The sum of nothing is a row as well.
        groups.insert(Vec::new(), [Some(now.total()), Some(before.total())]);
    }
    let mut rows: Vec<GroupRow<i64>> = groups.into_iter().collect();
    sort(query, order, &mut rows);
    let row_count = rows.len();
    let row =
        |(codes, [now, before]): GroupRow<i64>| ComparedRow { values: decode(&codes, &columns), now, before };
    let rows = query.cut(rows).map(row).collect();
    Ok(Comparison { rows, row_count, now: now.total(), before: before.total() })
}

/// Sorts by the difference of what the query sorts by, or by it alone. Codes sort like their values.
fn sort<K: Ord>(query: &Query, order: CompareOrder, rows: &mut [GroupRow<K>]) {
    sort_forward(query, order, rows);
    if query.reverse {
        rows.reverse();
    }
}

fn sort_forward<K: Ord>(query: &Query, order: CompareOrder, rows: &mut [GroupRow<K>]) {
    if let Sort::Dimension(dimension) = query.sort
        && let Some(at) = query.group_by.iter().position(|grouped| *grouped == dimension)
    {
        rows.sort_unstable_by(|a, b| (a.0.get(at), &a.0).cmp(&(b.0.get(at), &b.0)));
        return;
    }
    let amount = |counters: Option<Counters>| {
        let counters = counters.unwrap_or_default();
        match query.sort {
            Sort::Connections => counters.connections,
            Sort::Sent => counters.sent,
            Sort::Received => counters.received,
            _ => bytes(counters),
        }
    };
    let changed = |row: &GroupRow<K>| {
        let [now, before] = row.1.map(amount);
        (Reverse(now.abs_diff(before)), Reverse(now.max(before)))
    };
    // As in the answer to the query alone.
    let is_total = !matches!(query.sort, Sort::Connections | Sort::Sent | Sort::Received);
    let largest = |row: &GroupRow<K>| {
        let [now, before] = row.1;
        let counters = now.or(before);
        let connections = counters.filter(|_| is_total).map(|counters| counters.connections);
        (now.is_none(), Reverse(amount(counters)), Reverse(connections))
    };
    match order {
        CompareOrder::Difference => {
            rows.sort_unstable_by(|a, b| changed(a).cmp(&changed(b)).then_with(|| a.0.cmp(&b.0)));
        }
        CompareOrder::Now => {
            rows.sort_unstable_by(|a, b| largest(a).cmp(&largest(b)).then_with(|| a.0.cmp(&b.0)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_words_or_numbers() {
        let some = |sent| Some(Counters { connections: 1, sent, received: 0 });
        let calls = |connections| Some(Counters { connections, ..Counters::default() });
        for (now, before, change, text) in [
            (some(5), None, Change::New, "new"),
            (None, some(5), Change::Gone, "gone"),
            (some(5), some(5), Change::Same, "same"),
            (some(112), some(100), Change::Grown, "+12 %"),
            (some(50), some(100), Change::Shrunk, "-50 %"),
            (some(1), some(1_000_000), Change::Shrunk, "-99 %"),
            (some(1001), some(1000), Change::Grown, "grown"),
            (some(999), some(1000), Change::Shrunk, "shrunk"),
            (some(5000), some(100), Change::Grown, "\u{d7}50"),
            (calls(4), calls(2), Change::Grown, "+100 %"),
            (some(0), some(100), Change::Shrunk, "-100 %"),
            (calls(0), calls(3), Change::Shrunk, "-100 %"),
            (some(5), calls(1), Change::Grown, "grown"),
            (calls(3), calls(0), Change::Grown, "grown"),
        ] {
            let row = ComparedRow { values: Vec::new(), now, before };
            assert_eq!((row.change(), &*row.change_text()), (change, text), "{now:?} {before:?}");
        }
        // Equal bytes are no change, whatever the connections.
        let row = ComparedRow {
            values: Vec::new(),
            now: Some(Counters { connections: 9, sent: 5, received: 0 }),
            before: some(5),
        };
        assert_eq!(row.change(), Change::Same);
    }
}
