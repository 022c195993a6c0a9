//! Executing a query: sums by ids, then groups by the values behind the ids.

use std::{cell::OnceCell, cmp::Reverse, collections::HashMap, rc::Rc};

use foldhash::fast::FixedState;
use model::Counters;
use rusqlite::Connection;

use super::{
    calendar_parts::{CalendarParts, calendar_filters, passes},
    classes,
    definition::{Query, SeenFilter, Sort},
    dimension::Dimension,
    dimension_column::key_fields,
    filter::Filter,
    filter_set::FilterSet,
    limits::Limits,
    result_column::ResultColumn,
    row::{Answer, Row},
    seen::{Seen, SeenValues},
    value::Value,
};
use crate::rollup::{
    self, Aggregation, Classes, GroupKey, KeyFields, LEVELS, Predicate, QUARTER_HOUR, is_too_many_groups,
};

/// A row whose values are the codes of its columns, or the values themselves: both have the same order.
struct GroupRow<K> {
    keys: Vec<K>,
    counters: Counters,
    seen: Option<Seen>,
}

impl Answer {
    /// The answer to a query whose records were added up elsewhere: one group for each combination of values of its `group_by`,
    /// without those of records that do not match. `seen` tells when the values of its one dimension were seen, if the query wants
    /// to know.
    pub fn of_groups(
        query: &Query,
        groups: impl IntoIterator<Item = (Vec<Value>, Counters)>,
        seen: Option<&HashMap<Value, Seen>>,
    ) -> Self {
        let seen_of = |keys: &[Value]| seen?.get(keys.first()?).copied();
        let mut rows: Vec<_> = groups
            .into_iter()
            .map(|(keys, counters)| GroupRow { seen: seen_of(&keys), keys, counters })
            .collect();
        if let Some(filter) = query.seen.filter(|_| seen.is_some()) {
            keep_seen(&mut rows, filter);
        }
        if query.group_by.is_empty() && rows.is_empty() {
            // The sum of nothing is a row as well.
            rows.push(GroupRow { keys: Vec::new(), counters: Counters::default(), seen: None });
        }
        let mut total = Counters::default();
        rows.iter().for_each(|row| total += row.counters);
        sort(query, &mut rows);
        let row_count = rows.len();
        let row = |GroupRow { keys, counters, seen }| Row { values: keys, counters, seen };
        Self { rows: query.cut(rows).map(row).collect(), row_count, total }
    }
}

/// A range longer than this is not divided into the calendar's parts, of which there would be millions.
pub(super) const MAX_DIVIDED_SECONDS: i64 = 200 * 366 * 86_400;

/// A range that is longer than this, seconds, has many groups by contexts and endpoints, or by one of them and by parts of the
/// calendar.
const LONG: i64 = 3 * 86_400;

/// The sums of a query by ids, and what the time of their keys means for the calendar's dimensions.
pub(super) struct Sums {
    pub groups: Vec<(GroupKey, Counters)>,
    /// `None`: the time of a key is that of the records.
    parts: Option<CalendarParts>,
}

impl Sums {
    pub fn total(&self) -> Counters {
        let mut total = Counters::default();
        self.groups.iter().for_each(|(_, counters)| total += *counters);
        total
    }
}

/// Answers a query. The caller opens a transaction, since the query takes several statements.
pub(super) fn execute(
    connection: &Connection,
    query: &Query,
    limits: Limits<'_>,
) -> rusqlite::Result<Answer> {
    let sums = sums(connection, query, &Conditions::new(connection, query)?, limits)?;
    let mut total = sums.total();
    if query.group_by.is_empty() {
        let row = Row { counters: total, ..Row::default() };
        return Ok(Answer { rows: query.cut(vec![row]).collect(), row_count: 1, total });
    }
    let seen = match (query.seen, &query.group_by[..]) {
        (Some(filter), [dimension]) if dimension.is_seen() => {
            Some((filter, SeenValues::read(connection, *dimension)?))
        }
        _ => None,
    };
    let columns = match &seen {
        Some((_, seen)) => vec![Rc::clone(&seen.column)],
        None => columns(connection, query, [&sums])?.into_iter().flatten().collect(),
    };
    let mut rows = group(&sums.groups, &columns)
        .into_iter()
        .map(|(keys, counters)| GroupRow { keys, counters, seen: None })
        .collect::<Vec<_>>();
    drop(sums);
    if let Some((filter, seen)) = &seen {
        rows.iter_mut().for_each(|row| row.seen = seen.of(row.keys[0]));
        keep_seen(&mut rows, *filter);
        total = Counters::default();
        rows.iter().for_each(|row| total += row.counters);
    }
    sort(query, &mut rows);
    let row_count = rows.len();
    let decode = |GroupRow { keys, counters, seen }| Row { values: decode(&keys, &columns), counters, seen };
    Ok(Answer { rows: query.cut(rows).map(decode).collect(), row_count, total })
}

/// Keeps the rows whose value was seen as the filter wants.
fn keep_seen<K>(rows: &mut Vec<GroupRow<K>>, filter: SeenFilter) {
    let wants_all = filter == SeenFilter::default();
    rows.retain(|row| row.seen.map_or(wants_all, |seen| seen.passes(filter)));
}

/// Adds up the sums of equal values.
pub(super) fn group(
    sums: &[(GroupKey, Counters)],
    columns: &[Rc<ResultColumn>],
) -> HashMap<Vec<i64>, Counters, FixedState> {
    let mut groups: HashMap<Vec<i64>, Counters, FixedState> = HashMap::default();
    let mut codes = Vec::with_capacity(columns.len());
    for (key, counters) in sums {
        codes.clear();
        codes.extend(columns.iter().map(|column| column.code(key)));
        match groups.get_mut(&codes) {
            Some(sum) => *sum += *counters,
            None => drop(groups.insert(codes.clone(), *counters)),
        }
    }
    groups
}

/// The values with these codes.
pub(super) fn decode(codes: &[i64], columns: &[Rc<ResultColumn>]) -> Vec<Value> {
    codes.iter().zip(columns).map(|(code, column)| column.value(*code)).collect()
}

/// What the sums of a query need besides its range, read once for all ranges.
pub(super) struct Conditions {
    pub filters: FilterSet,
    classes: OnceCell<Classes>,
}

impl Conditions {
    pub fn new(connection: &Connection, query: &Query) -> rusqlite::Result<Self> {
        let filters = FilterSet::new(connection, &query.filters, query.find.as_ref())?;
        Ok(Self { filters, classes: OnceCell::new() })
    }

    /// The contexts and endpoints that the query does not tell apart.
    fn classes(&self, connection: &Connection, query: &Query) -> rusqlite::Result<&Classes> {
        if let Some(classes) = self.classes.get() {
            return Ok(classes);
        }
        let classes = classes::read(connection, &query.group_by)?;
        Ok(self.classes.get_or_init(|| classes))
    }

    /// The classes by which [`sums`] were added up, if they were.
    pub fn classes_in_use(&self) -> Option<&Classes> {
        self.classes.get()
    }
}

/// Adds up the records of a query by the ids behind its dimensions.
pub(super) fn sums(
    connection: &Connection,
    query: &Query,
    conditions: &Conditions,
    limits: Limits<'_>,
) -> rusqlite::Result<Sums> {
    if !are_many(connection, query)? {
        match sums_of_classes(connection, query, conditions, &Classes::default(), limits) {
            // They may be few rows: each command line of a program is a context of its own.
            Err(error) if is_too_many_groups(&error) => {}
            sums => return sums,
        }
    }
    sums_of_classes(connection, query, conditions, conditions.classes(connection, query)?, limits)
}

/// Whether the groups by ids are so many that finding those that the query does not tell apart takes less time.
fn are_many(connection: &Connection, query: &Query) -> rusqlite::Result<bool> {
    let by = key_fields(query.group_by.iter().copied());
    let is_by_calendar = query.group_by.iter().copied().any(Dimension::is_calendar);
    let multiplies = by.context && by.endpoint || is_by_calendar && (by.context || by.endpoint);
    let (since, until) = query.range.bounds();
    let seconds =
        rollup::extent(connection)?.map(|(first, last)| last.min(until).saturating_sub(first.max(since)));
    Ok(multiplies && seconds.is_some_and(|seconds| seconds > LONG))
}

/// The same by ids that stand for their classes.
fn sums_of_classes(
    connection: &Connection,
    query: &Query,
    conditions: &Conditions,
    classes: &Classes,
    limits: Limits<'_>,
) -> rusqlite::Result<Sums> {
    let filters = &conditions.filters;
    let by = key_fields(query.group_by.iter().copied());
    let (since, until) = query.range.bounds();
    let edges = snap(connection, &[since, until.saturating_add(1)])?;
    let filtered = query.filters.iter().map(Filter::dimension);
    let uses_calendar = query.group_by.iter().copied().chain(filtered).any(Dimension::is_calendar);
    let extent = rollup::extent(connection)?;
    if !uses_calendar {
        let aggregation = Aggregation::new(connection, &edges, by, filters, limits.interrupted)
            .max_groups(limits.max_groups);
        return Ok(Sums { groups: aggregation.classes(classes).run(LEVELS.len())?, parts: None });
    }
    let Some((first, last)) = extent else {
        return Ok(Sums { groups: Vec::new(), parts: None });
    };
    let (start, end) = (first.max(edges[0]), edges[1].min(last.saturating_add(1)));
    let zone = query.zone();
    let uses_time = by.time || Predicate::fields(&filters).time;
    if uses_time || end.saturating_sub(start) > MAX_DIVIDED_SECONDS {
        let by = KeyFields { time: true, ..by };
        let aggregation = Aggregation::new(connection, &edges, by, filters, limits.interrupted)
            .max_groups(limits.max_groups);
        let mut groups = aggregation.classes(classes).run(LEVELS.len())?;
        let filters = calendar_filters(&query.filters);
        groups.retain(|(key, _)| passes(&filters, key.time, &zone));
        return Ok(Sums { groups, parts: None });
    }
    let mut parts = CalendarParts::new((start, end.max(start)), &query.group_by, &query.filters, &zone);
    parts.edges = snap(connection, &parts.edges)?;
    let aggregation = Aggregation::new(connection, &parts.edges, by, filters, limits.interrupted)
        .max_groups(limits.max_groups)
        .classes(classes);
    let aggregation = if parts.is_grouped() { aggregation.by_interval() } else { aggregation };
    let groups = aggregation.slots(&parts.slots).run(LEVELS.len())?;
    Ok(Sums { groups, parts: Some(parts) })
}

/// The values of each dimension of a query, for each of several sums. Equal values have the same code in all of them.
pub(super) fn columns<const N: usize>(
    connection: &Connection,
    query: &Query,
    sums: [&Sums; N],
) -> rusqlite::Result<[Vec<Rc<ResultColumn>>; N]> {
    let mut all = [const { Vec::new() }; N];
    for dimension in &query.group_by {
        if dimension.is_calendar() {
            // The codes are the values.
            for (columns, sums) in all.iter_mut().zip(sums) {
                columns.push(Rc::new(match &sums.parts {
                    Some(parts) => ResultColumn::of_slots(parts.values_of(*dimension)),
                    None => {
                        let keys = sums.groups.iter().map(|(key, _)| key);
                        ResultColumn::of_times(*dimension, &query.zone(), keys)
                    }
                }));
            }
        } else {
            let keys = sums.iter().flat_map(|sums| &sums.groups).map(|(key, _)| key);
            let column = Rc::new(ResultColumn::read(connection, *dimension, keys)?);
            all.iter_mut().for_each(|columns| columns.push(Rc::clone(&column)));
        }
    }
    Ok(all)
}

/// Moves edges to whole quarters of an hour where the log has nothing finer: the last one to the end of its quarter, so that
/// a range has all quarters that it touches; all others to the start.
pub(super) fn snap(connection: &Connection, edges: &[i64]) -> rusqlite::Result<Vec<i64>> {
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

/// Puts the rows of a query into their order. Codes sort like their values, so rows with equal counters come in the order of their
/// values.
fn sort<K: Ord>(query: &Query, rows: &mut [GroupRow<K>]) {
    fn by<K: Ord, T: Ord>(rows: &mut [GroupRow<K>], key: impl Fn(&GroupRow<K>) -> T) {
        rows.sort_unstable_by(|a, b| key(a).cmp(&key(b)).then_with(|| a.keys.cmp(&b.keys)));
    }
    let bytes = |row: &GroupRow<K>| row.counters.sent.saturating_add(row.counters.received);
    match query.sort {
        Sort::Connections => by(rows, |row| Reverse(row.counters.connections)),
        Sort::Sent => by(rows, |row| Reverse(row.counters.sent)),
        Sort::Received => by(rows, |row| Reverse(row.counters.received)),
        Sort::FirstSeen => by(rows, |row| Reverse(row.seen.map(|seen| seen.first))),
        Sort::LastSeen => by(rows, |row| Reverse(row.seen.map(|seen| seen.last))),
        Sort::Digests => by(rows, |row| Reverse(row.seen.map(|seen| seen.digests))),
        Sort::Dimension(dimension) if query.group_by.contains(&dimension) => {
            let at = query.group_by.iter().position(|grouped| *grouped == dimension).unwrap_or(0);
            rows.sort_unstable_by(|a, b| a.keys[at].cmp(&b.keys[at]).then_with(|| a.keys.cmp(&b.keys)));
        }
        // Sorting by a dimension that is not grouped by would sort by an arbitrary record of each group.
        Sort::Total | Sort::Dimension(_) => {
            by(rows, |row| (Reverse(bytes(row)), Reverse(row.counters.connections)));
        }
    }
    if query.reverse {
        rows.reverse();
    }
}
