//! The queries of `view` to the log, and their results: rows and sums, and counters over time for the chart.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
};

use jiff::tz::TimeZone;

pub use super::row_choice::Only;
use super::{event_rows, list_row::ListRow, period::Period};
use model::{Bytes, Consequence, Counters, EventKind, Losses, Sha256};
use server_query::{SourceError, SourceReader};
use store::{Answer, CompareOrder, Dimension, Filter, Find, Query, Range, SeenFilter, Sort, Source, Value};

/// Rows of an answer that are kept: more than a user scrolls through, and only a few megabytes.
const MAX_ROWS: usize = 10_000;
/// Rows of the tab on time.
const MAX_TIME_ROWS: usize = 400;
/// Rows whose values are named in the query for the chart: each makes it longer.
const MAX_CHARTED_ROWS: usize = 100;
/// The usual and the largest length of recording windows, in seconds (`log.write_limit_seconds`).
const USUAL_WINDOW: i64 = 10;
const MAX_WINDOW: i64 = 3600;
/// Windows that may be missing before the screen says that nothing is recorded.
const MAX_SILENT_WINDOWS: i64 = 3;

/// The query of a screen.
#[derive(Clone, Debug)]
pub struct ScreenQuery {
    /// The dimension whose values are the rows; `None`: the rows are events.
    pub dimension: Option<Dimension>,
    /// The period that is shown.
    pub period: Period,
    /// The present in unix seconds, where a period without an end ends.
    pub now: i64,
    /// The filters. Only records that pass all of them count.
    pub filters: Vec<Filter>,
    /// The text that values of the rows must contain.
    pub find: Option<Find>,
    /// The same for events; empty: all of them.
    pub event_text: String,
    /// Which values are shown, by when they were seen.
    pub only: Only,
    /// The period that this one is compared with.
    pub before: Option<Period>,
    /// The order of the rows.
    pub sort: Sort,
    /// Parts of the chart, at most.
    pub chart_columns: usize,
    /// The zone in which the calendar is divided.
    pub zone: TimeZone,
}

impl ScreenQuery {
    /// The query for the rows.
    pub(super) fn rows_query(&self) -> Query {
        let seen = (self.only != Only::All || self.sort.is_by_seen()).then(|| SeenFilter {
            new_since: self.period.start.filter(|_| self.only == Only::New),
            changed_since: None,
        });
        Query {
            range: self.period.range(),
            group_by: self.dimension.into_iter().collect(),
            filters: self.filters.clone(),
            find: self.find.clone(),
            zone: Some(self.zone.clone()),
            seen,
            sort: self.sort,
            // Of times the newest first.
            reverse: self.dimension.is_some_and(Dimension::is_time)
                && matches!(self.sort, Sort::Dimension(_)),
            ..Query::default()
        }
    }

    /// The query for the chart of the rows that are shown; `None` if they are too many to be named.
    pub(super) fn chart_query(&self, rows: &[ListRow]) -> Option<Query> {
        let mut query = self.rows_query();
        let Some(dimension) = self.dimension.filter(|_| self.only != Only::All) else { return Some(query) };
        if rows.len() > MAX_CHARTED_ROWS {
            return None;
        }
        // Filters for values of one dimension are alternatives. These values pass those that are replaced.
        query.filters.retain(|filter| filter.is_exclude() || filter.dimension() != dimension);
        let equal = |value: &Value, exclude| Filter::equal(dimension, value.clone(), exclude);
        query.filters.extend(rows.iter().map(|row| equal(&row.value, false)));
        if rows.is_empty() {
            query.filters.extend([equal(&Value::None, false), equal(&Value::None, true)]);
        }
        Some(query)
    }
}

/// The rows of a screen, and sums beside them.
#[derive(Clone, Debug, Default)]
pub struct ScreenRows {
    /// The first rows, at most 10,000.
    pub rows: Vec<ListRow>,
    /// Whether there are more rows than `rows` holds.
    pub more: bool,
    /// On the tab on time, the points where its parts begin and end; otherwise empty.
    pub edges: Vec<i64>,
    /// Sum of all records that pass the filters.
    pub total: Counters,
    /// The same in the period before, if it is compared.
    pub total_before: Option<Counters>,
    /// The losses in the period.
    pub losses: Losses,
    /// The time before which the log has sums of quarters of an hour only, if the period begins before it.
    pub sums_before: Option<i64>,
    /// Ends of the first and the last recording window of the log; `None` if it is empty.
    pub extent: Option<(i64, i64)>,
    /// The end of the last recording window, if later ones should have been written by now.
    pub silent_since: Option<i64>,
    /// When recording was stopped, if it was not started again.
    pub stopped: Option<i64>,
}

/// Counters over time, for the chart.
#[derive(Clone, Debug, Default)]
pub struct ChartSeries {
    /// The points where the parts begin and end, in unix seconds.
    pub edges: Vec<i64>,
    /// The sum of each part.
    pub sums: Vec<Counters>,
    /// What the losses of each part mean; `None` for a part without one.
    pub losses: Vec<Option<Consequence>>,
    /// Whether the sums are those of more rows than are shown.
    pub is_of_all: bool,
}

/// Reads the rows of a screen.
///
/// # Errors
/// The log cannot be read, or the query was interrupted.
pub fn rows(reader: &SourceReader, query: &ScreenQuery) -> Result<ScreenRows, SourceError> {
    let extent = reader.extent()?;
    let mut answer = ScreenRows {
        losses: Losses::new(&reader.losses(query.period.range(), &query.filters)?),
        sums_before: reader
            .detail_since()?
            .filter(|since| query.period.start.is_none_or(|start| start < *since)),
        extent,
        silent_since: silent_since(reader, extent, query.now)?,
        stopped: stopped(reader)?,
        ..ScreenRows::default()
    };
    match query.dimension {
        None => answer.rows = event_rows::load(reader, query, MAX_ROWS + 1)?,
        Some(Dimension::Time) => {
            // Its rows are the parts of a chart, because a row for each recording window would be millions.
            let series = series(reader, query, extent, Some(query.rows_query()), MAX_TIME_ROWS)?;
            series.sums.iter().for_each(|sum| answer.total += *sum);
            answer.rows = time_rows(&series, query.sort);
            answer.edges = series.edges;
        }
        Some(_) => add_rows(reader, query, &mut answer)?,
    }
    answer.more = answer.rows.len() > MAX_ROWS;
    answer.rows.truncate(MAX_ROWS);
    Ok(answer)
}

/// Adds the rows of a dimension, at least one more than are kept if there are more, and their sum.
fn add_rows(reader: &SourceReader, query: &ScreenQuery, answer: &mut ScreenRows) -> Result<(), SourceError> {
    let limited = Query { limit: Some(MAX_ROWS as u64 + 1), ..query.rows_query() };
    if let Some(before) = query.before {
        let comparison = reader.compare(&limited, before.range(), CompareOrder::Difference)?;
        (answer.total, answer.total_before) = (comparison.now, Some(comparison.before));
        answer.rows = comparison.rows.into_iter().map(ListRow::from).collect();
        return Ok(());
    }
    let rows_query = if query.only == Only::Changed { query.rows_query() } else { limited };
    let Answer { mut rows, total, .. } = reader.answer(&rows_query)?;
    answer.total = total;
    if query.only == Only::Changed {
        let changed = changed_programs(reader, query)?;
        rows.retain(|row| matches!(&row.values[..], [Value::Bytes(path)] if changed.contains(path)));
        answer.total = Counters::default();
        rows.iter().for_each(|row| answer.total += row.counters);
    }
    answer.rows = rows.into_iter().map(ListRow::from).collect();
    Ok(())
}

/// The paths of the programs that had a digest for the first time in a period, and another one before.
fn changed_programs(reader: &SourceReader, query: &ScreenQuery) -> Result<HashSet<Bytes>, SourceError> {
    let period = query.period;
    let mut digests: HashMap<Bytes, BTreeMap<Sha256, i64>> = HashMap::new();
    for program in reader.programs_seen(&query.filters)? {
        let Some(digest) = program.sha256 else { continue };
        let first = digests.entry(program.path).or_default().entry(digest).or_insert(program.first);
        *first = program.first.min(*first);
    }
    let is_within =
        |time: i64| period.start.is_none_or(|start| time >= start) && period.end.is_none_or(|end| time < end);
    let has_changed = |firsts: &BTreeMap<Sha256, i64>| {
        let mut times: Vec<i64> = firsts.values().copied().collect();
        times.sort_unstable();
        times.into_iter().skip(1).any(is_within)
    };
    Ok(digests.into_iter().filter(|(_, firsts)| has_changed(firsts)).map(|(path, _)| path).collect())
}

/// The end of the last recording window, if it is more than three windows ago. On a machine that is used there is hardly a
/// window without traffic.
fn silent_since(
    reader: &SourceReader,
    extent: Option<(i64, i64)>,
    now: i64,
) -> Result<Option<i64>, SourceError> {
    let Some((_, last)) = extent else { return Ok(None) };
    if now - last <= MAX_SILENT_WINDOWS * USUAL_WINDOW {
        return Ok(None);
    }
    Ok((now - last > MAX_SILENT_WINDOWS * window_length(reader, last)?).then_some(last))
}

/// How long recording windows are, about, in seconds: the log does not have it, but its last windows show it.
fn window_length(reader: &SourceReader, last: i64) -> Result<i64, SourceError> {
    for since in [last - 12 * USUAL_WINDOW, last - 3 * MAX_WINDOW] {
        let query = Query {
            range: Range { since: Some(since), until: Some(last) },
            group_by: vec![Dimension::Time],
            ..Query::default()
        };
        let mut times: Vec<i64> = reader
            .query(&query)?
            .iter()
            .filter_map(|row| match row.values.first() {
                Some(Value::Integer(time)) => Some(*time),
                _ => None,
            })
            .collect();
        times.sort_unstable();
        if let Some(length) = times.windows(2).map(|pair| pair[1] - pair[0]).min() {
            return Ok(length.max(USUAL_WINDOW));
        }
    }
    Ok(USUAL_WINDOW)
}

/// When recording was stopped, unless it was started again.
fn stopped(reader: &SourceReader) -> Result<Option<i64>, SourceError> {
    // One of several machines says nothing about the others.
    if reader.has_hosts() {
        return Ok(None);
    }
    let events = reader.events(Range::default(), &[EventKind::Start, EventKind::Stop], 1, &|_| true)?;
    Ok(events.first().filter(|found| found.event.kind == EventKind::Stop).map(|found| found.event.time))
}

/// Reads the chart of a screen, in at most `max_parts` parts: that of the records of `charted`, or of all that pass the filters.
/// `extent` is that of the rows ([`ScreenRows::extent`]), so that both are about the same time.
///
/// # Errors
/// The log cannot be read, or the query was interrupted.
pub fn series(
    reader: &SourceReader,
    query: &ScreenQuery,
    extent: Option<(i64, i64)>,
    charted: Option<Query>,
    max_parts: usize,
) -> Result<ChartSeries, SourceError> {
    let Some((first, last)) = extent else { return Ok(ChartSeries::default()) };
    let start = query.period.start.unwrap_or(first);
    let end = query.period.end.unwrap_or(last.max(query.now) + 1);
    let edges = calendar::divide(start, end.max(start + 1), max_parts, &query.zone);
    let is_of_all = charted.is_none();
    let sums = reader.series(&charted.unwrap_or_else(|| query.rows_query()), &edges)?;
    let losses = reader.losses_between(&edges, &query.filters)?;
    let losses = losses.iter().map(|losses| Losses::new(losses).worst()).collect();
    Ok(ChartSeries { edges, sums, losses, is_of_all })
}

/// The parts with traffic as rows, whose value is the start of the part. The latest comes first if the rows are sorted by
/// value.
fn time_rows(series: &ChartSeries, sort: Sort) -> Vec<ListRow> {
    let parts = series.edges.iter().zip(&series.sums).filter(|(_, sum)| **sum != Counters::default());
    let mut rows: Vec<ListRow> =
        parts.map(|(start, sum)| ListRow::new(Value::Integer(*start), *sum)).collect();
    let key = |row: &ListRow| match sort {
        Sort::Connections => row.counters.connections,
        Sort::Sent => row.counters.sent,
        Sort::Received => row.counters.received,
        _ => row.counters.sent.saturating_add(row.counters.received),
    };
    rows.reverse();
    if !matches!(sort, Sort::Dimension(_)) {
        rows.sort_by_key(|row| Reverse(key(row)));
    }
    rows
}
