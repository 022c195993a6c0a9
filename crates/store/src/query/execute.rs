//! Executing a query: sums by ids, then groups by the values behind the ids.

use std::{cmp::Reverse, collections::HashMap, sync::atomic::AtomicBool};

use foldhash::fast::FixedState;
use model::Counters;
use rusqlite::Connection;

use super::{
    definition::{Query, Sort},
    dimension_column::key_fields,
    filter::Filter,
    filter_set::FilterSet,
    result_column::ResultColumn,
    row::Row,
};
use crate::rollup::{self, Aggregation, KeyFields, LEVELS, QUARTER_HOUR};

/// A row whose values are the codes of its columns.
type EncodedRow = (Vec<i64>, Counters);

/// Returns the rows of a query, and the sum of all rows including those beyond the limit. The caller opens a transaction,
/// since the query takes several statements.
pub(super) fn execute(
    connection: &Connection,
    query: &Query,
    interrupted: &AtomicBool,
) -> rusqlite::Result<(Vec<Row>, Counters)> {
    let filters = FilterSet::new(connection, &query.filters)?;
    let by = key_fields(query.group_by.iter().copied());
    let (since, until) = query.range.bounds();
    let edges = snap(connection, &[since, until.saturating_add(1)])?;
    let sums = Aggregation::new(connection, &edges, by, &filters, interrupted).run(LEVELS.len())?;
    let mut total = Counters::default();
    sums.iter().for_each(|(_, counters)| total += *counters);
    if query.group_by.is_empty() {
        let row = Row { values: Vec::new(), counters: total };
        return Ok((if query.limit == Some(0) { Vec::new() } else { vec![row] }, total));
    }
    let keys = sums.iter().map(|(key, _)| key);
    let columns: Vec<ResultColumn> = query
        .group_by
        .iter()
        .map(|dimension| ResultColumn::read(connection, *dimension, keys.clone()))
        .collect::<Result<_, _>>()?;
    let mut groups: HashMap<Vec<i64>, Counters, FixedState> = HashMap::default();
    let mut codes = Vec::with_capacity(columns.len());
    for (key, counters) in &sums {
        codes.clear();
        codes.extend(columns.iter().map(|column| column.code(key)));
        match groups.get_mut(&codes) {
            Some(sum) => *sum += *counters,
            None => drop(groups.insert(codes.clone(), *counters)),
        }
    }
    drop(sums);
    let mut rows: Vec<EncodedRow> = groups.into_iter().collect();
    sort(query, &mut rows);
    let limit = query.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    rows.truncate(limit);
    let decode = |(codes, counters): EncodedRow| {
        let values = codes.into_iter().zip(&columns).map(|(code, column)| column.value(code)).collect();
        Row { values, counters }
    };
    Ok((rows.into_iter().map(decode).collect(), total))
}

/// Returns the sums between each two neighbours of `edges`, which are ascending: from an edge to the second before the
/// next one.
pub(super) fn execute_series(
    connection: &Connection,
    filters: &[Filter],
    edges: &[i64],
    interrupted: &AtomicBool,
) -> rusqlite::Result<Vec<Counters>> {
    let filters = FilterSet::new(connection, filters)?;
    let edges = snap(connection, edges)?;
    let aggregation = Aggregation::new(connection, &edges, KeyFields::default(), &filters, interrupted);
    let mut series = vec![Counters::default(); edges.len().saturating_sub(1)];
    for (key, counters) in aggregation.by_interval().run(LEVELS.len())? {
        if let Some(sum) = usize::try_from(key.time).ok().and_then(|interval| series.get_mut(interval)) {
            *sum = counters;
        }
    }
    Ok(series)
}

/// Moves edges to whole quarters of an hour where the log has nothing finer: the last one to the end of its quarter, so that
/// a range has all quarters that it touches; all others to the start.
fn snap(connection: &Connection, edges: &[i64]) -> rusqlite::Result<Vec<i64>> {
    let mut snapped = edges.to_vec();
    let Some(since) = rollup::detail_since(connection)? else { return Ok(snapped) };
    let last = snapped.len().saturating_sub(1);
    for (index, edge) in snapped.iter_mut().enumerate().filter(|(_, edge)| **edge < since) {
        let start = rollup::quarter_start((*edge).max(i64::MIN / 2));
        let is_end = index == last && index > 0 && *edge != start;
        *edge = if is_end { start + QUARTER_HOUR } else { start };
    }
    Ok(snapped)
}

/// Sorts the rows of a query. Codes sort like their values, so rows with equal counters come in the order of their values.
fn sort(query: &Query, rows: &mut [EncodedRow]) {
    let bytes = |counters: &Counters| counters.sent.saturating_add(counters.received);
    match query.sort {
        Sort::Connections => rows
            .sort_unstable_by(|a, b| (Reverse(a.1.connections), &a.0).cmp(&(Reverse(b.1.connections), &b.0))),
        Sort::Sent => rows.sort_unstable_by(|a, b| (Reverse(a.1.sent), &a.0).cmp(&(Reverse(b.1.sent), &b.0))),
        Sort::Received => {
            rows.sort_unstable_by(|a, b| (Reverse(a.1.received), &a.0).cmp(&(Reverse(b.1.received), &b.0)));
        }
        Sort::Dimension(dimension) if query.group_by.contains(&dimension) => {
            let at = query.group_by.iter().position(|grouped| *grouped == dimension).unwrap_or(0);
            rows.sort_unstable_by(|a, b| (a.0[at], &a.0).cmp(&(b.0[at], &b.0)));
        }
        // Sorting by a dimension that is not grouped by would sort by an arbitrary record of each group.
        Sort::Total | Sort::Dimension(_) => rows.sort_unstable_by(|a, b| {
            let key = |row: &EncodedRow| (Reverse(bytes(&row.1)), Reverse(row.1.connections));
            key(a).cmp(&key(b)).then_with(|| a.0.cmp(&b.0))
        }),
    }
}
