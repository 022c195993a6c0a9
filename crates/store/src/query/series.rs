//! Sums over time for charts: of all records, and of the groups with the most bytes.

use std::cmp::Reverse;

use model::Counters;
use rusqlite::Connection;

use super::{
    calendar_parts::{CalendarParts, calendar_filters, passes},
    definition::{Query, Range},
    dimension::Dimension,
    dimension_column::{DimensionColumn, KeyField, key_fields},
    execute::{Conditions, MAX_DIVIDED_SECONDS, columns, group, snap, sums},
    filter_set::FilterSet,
    limits::Limits,
    value::Value,
};
use crate::{
    id_map::IdMap,
    rollup::{self, Aggregation, Classes, GroupKey, KeyFields, LEVELS},
};

/// One of the groups with the most bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSeries {
    /// The value of the dimension.
    pub value: Value,
    /// Its sums, in the order of the intervals.
    pub sums: Vec<Counters>,
}

/// Sums over time by group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeriesByGroup {
    /// The groups with the most bytes in all intervals together, the largest first.
    pub groups: Vec<GroupSeries>,
    /// The sums of all groups.
    pub total: Vec<Counters>,
}

impl SeriesByGroup {
    /// What all other groups are together.
    pub fn rest(&self) -> Vec<Counters> {
        let rest = |(index, total): (usize, &Counters)| {
            let mut rest = *total;
            for sum in self.groups.iter().filter_map(|group| group.sums.get(index)) {
                rest.connections = rest.connections.saturating_sub(sum.connections);
                rest.sent = rest.sent.saturating_sub(sum.sent);
                rest.received = rest.received.saturating_sub(sum.received);
            }
            rest
        };
        self.total.iter().enumerate().map(rest).collect()
    }
}

/// The conditions of a query, and the intervals for which it is asked.
struct Chart<'a> {
    connection: &'a Connection,
    query: &'a Query,
    filters: &'a FilterSet,
    /// Where the log has them.
    edges: Vec<i64>,
    limits: Limits<'a>,
}

impl<'a> Chart<'a> {
    fn new(
        connection: &'a Connection,
        query: &'a Query,
        filters: &'a FilterSet,
        edges: &[i64],
        limits: Limits<'a>,
    ) -> rusqlite::Result<Self> {
        Ok(Self { connection, query, filters, edges: snap(connection, edges)?, limits })
    }

    /// The sums by these fields and by interval: the time of a key is the index of its interval.
    fn sums(&self, by: KeyFields, classes: &Classes) -> rusqlite::Result<Vec<(GroupKey, Counters)>> {
        let Self { connection, query, edges, .. } = self;
        let (first, last) = match (rollup::extent(connection)?, &edges[..]) {
            (Some((first, last)), [begin, .., end]) => (first.max(*begin), last.saturating_add(1).min(*end)),
            _ => return Ok(Vec::new()),
        };
        let calendar = calendar_filters(&query.filters);
        if calendar.is_empty() {
            return self.aggregation(by, edges).classes(classes).by_interval().run(LEVELS.len());
        }
        let zone = query.zone();
        let interval_of = |point: i64| edges.partition_point(|edge| *edge <= point) as i64 - 1;
        if last.saturating_sub(first) > MAX_DIVIDED_SECONDS {
            let by = KeyFields { time: true, ..by };
            let mut sums = self.aggregation(by, edges).classes(classes).run(LEVELS.len())?;
            sums.retain(|(key, _)| passes(&calendar, key.time, &zone));
            sums.iter_mut().for_each(|(key, _)| key.time = interval_of(key.time));
            return Ok(sums);
        }
        // Divided further, where the filters on the calendar begin and end to match.
        let parts = CalendarParts::new((first, last), &[], &calendar, &zone);
        let mut divided: Vec<i64> = edges.iter().copied().chain(parts.edges).collect();
        divided.sort_unstable();
        divided.dedup();
        let divided = snap(connection, &divided)?;
        let slot = |begin: &i64| passes(&calendar, *begin, &zone).then(|| interval_of(*begin));
        let slots: Vec<Option<i64>> = divided.iter().map(slot).collect();
        let aggregation = self.aggregation(by, &divided).classes(classes);
        aggregation.by_interval().slots(&slots).run(LEVELS.len())
    }

    fn aggregation<'b>(&'b self, by: KeyFields, edges: &'b [i64]) -> Aggregation<'b, &'b FilterSet> {
        Aggregation::new(self.connection, edges, by, self.filters, self.limits.interrupted)
            .max_groups(self.limits.max_groups)
    }
}

/// Returns the sums between each two neighbours of `edges`, which are ascending: from an edge to the second before the
/// next one.
pub(super) fn execute_series(
    connection: &Connection,
    query: &Query,
    edges: &[i64],
    limits: Limits<'_>,
) -> rusqlite::Result<Vec<Counters>> {
    let filters = FilterSet::new(connection, &query.filters, query.find.as_ref())?;
    let chart = Chart::new(connection, query, &filters, edges, limits)?;
    let mut series = vec![Counters::default(); edges.len().saturating_sub(1)];
    for (key, counters) in chart.sums(KeyFields::default(), &Classes::default())? {
        add(&mut series, key.time, counters);
    }
    Ok(series)
}

/// As [`execute_series`], and for the `top` groups of the query's one dimension. The groups are found by their sums first, so that
/// only those have sums by interval.
pub(super) fn execute_series_by(
    connection: &Connection,
    query: &Query,
    edges: &[i64],
    top: usize,
    limits: Limits<'_>,
) -> rusqlite::Result<SeriesByGroup> {
    let (dimension, begin, end) = match (&query.group_by[..], edges) {
        ([dimension], [begin, .., end]) if top > 0 && is_charted(*dimension) => (*dimension, *begin, *end),
        _ => {
            let total = execute_series(connection, query, edges, limits)?;
            return Ok(SeriesByGroup { groups: Vec::new(), total });
        }
    };
    let conditions = Conditions::new(connection, query)?;
    let range = Range { since: Some(begin), until: Some(end.saturating_sub(1)) };
    let whole = Query { range, ..query.clone() };
    let (values, classes) = largest(connection, &whole, &conditions, top, limits)?;
    let chart = Chart::new(connection, query, &conditions.filters, edges, limits)?;
    let empty = vec![Counters::default(); edges.len() - 1];
    let mut total = empty.clone();
    let mut groups: Vec<GroupSeries> =
        values.into_iter().map(|value| GroupSeries { value, sums: empty.clone() }).collect();
    let field = DimensionColumn::of(dimension).field;
    for (key, counters) in chart.sums(key_fields([dimension].into_iter()), &classes)? {
        add(&mut total, key.time, counters);
        let rank = usize::try_from(field.of(&key).wrapping_sub(FIRST_CLASS)).ok();
        if let Some(group) = rank.and_then(|rank| groups.get_mut(rank)) {
            add(&mut group.sums, key.time, counters);
        }
    }
    Ok(SeriesByGroup { groups, total })
}

/// Whether there are charts by the values of a dimension: those of time are the other axis.
fn is_charted(dimension: Dimension) -> bool {
    dimension != Dimension::Time && !dimension.is_calendar()
}

fn add(series: &mut [Counters], interval: i64, counters: Counters) {
    if let Some(sum) = usize::try_from(interval).ok().and_then(|interval| series.get_mut(interval)) {
        *sum += counters;
    }
}

/// The class of the largest group; that of the next one is one more, and of all but the largest one more than the last of them.
/// No id and no port is that small.
const FIRST_CLASS: i64 = i64::MIN / 2;

/// The values of the `top` groups with the most bytes, and the classes of their ids.
fn largest(
    connection: &Connection,
    query: &Query,
    conditions: &Conditions,
    top: usize,
    limits: Limits<'_>,
) -> rusqlite::Result<(Vec<Value>, Classes)> {
    let sums = sums(connection, query, conditions, limits)?;
    let [columns] = columns(connection, query, [&sums])?;
    let Some(column) = columns.first() else { return Ok((Vec::new(), Classes::default())) };
    let mut groups: Vec<(i64, Counters)> =
        group(&sums.groups, &columns).into_iter().map(|(codes, counters)| (codes[0], counters)).collect();
    let order = |(code, counters): &(i64, Counters)| {
        let bytes = counters.sent.saturating_add(counters.received);
        (Reverse(bytes), Reverse(counters.connections), *code)
    };
    if groups.len() > top {
        groups.select_nth_unstable_by_key(top, order);
        groups.truncate(top);
    }
    groups.sort_unstable_by_key(order);
    let ranks: IdMap<i64> =
        groups.iter().zip(FIRST_CLASS..).map(|((code, _), class)| (*code, class)).collect();
    let rest = FIRST_CLASS + groups.len() as i64;
    let mut classes = Classes::default();
    if let [dimension] = query.group_by[..] {
        let field = DimensionColumn::of(dimension).field;
        let ids =
            sums.groups.iter().map(|(key, _)| (field.of(key), ranks.get(column.code(key)).unwrap_or(rest)));
        let mut class_of: IdMap<i64> = ids.collect();
        // The sums may be by ids that stand for others.
        let in_use = conditions.classes_in_use().and_then(|classes| match field {
            KeyField::Context => Some(&classes.contexts),
            KeyField::Endpoint => Some(&classes.endpoints),
            _ => None,
        });
        for (id, standing) in in_use.into_iter().flat_map(IdMap::iter) {
            if let Some(class) = class_of.get(standing) {
                class_of.insert(id, class);
            }
        }
        *match field {
            KeyField::Context => &mut classes.contexts,
            KeyField::Endpoint => &mut classes.endpoints,
            KeyField::LocalPort => &mut classes.local_ports,
            KeyField::RemotePort | KeyField::Time => &mut classes.remote_ports,
        } = class_of;
    }
    Ok((groups.iter().map(|(code, _)| column.value(*code)).collect(), classes))
}
