//! `/api/v1/series`: sums of the log over time.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{RawQuery, State},
    response::Response,
};
use model::{Counters, EventKind, Scope};
use question::{Now, Parameter, Question, json};
use serde::Serialize;
use serde_json::{Value as Json, json};
use store::{Dimension, HostEvent, Query, Range, SeriesByGroup, Source, Value};
use utoipa::ToSchema;

use super::{
    Api, json_response,
    labels::Labels,
    parameters::{ListParameters, Parameters, TrafficParameters},
    query::Setting,
    to_json,
};
use crate::{
    error::{ApiError, ErrorBody},
    readers::LogFile,
};

/// Parts without a number, and at most.
const DEFAULT_PARTS: u64 = 144;
const MAX_PARTS: u64 = 1000;
/// Groups without a number, and at most.
const DEFAULT_GROUPS: u64 = 8;
const MAX_GROUPS: u64 = 20;
/// In a range of a day or more no part is shorter than a quarter of an hour, seconds.
const DAY: i64 = 86_400;
const QUARTER_HOUR: i64 = 900;

/// Counters of each part.
#[derive(Debug, Default, Serialize, ToSchema)]
struct Columns {
    conns: Vec<u64>,
    received: Vec<u64>,
    sent: Vec<u64>,
}

impl Columns {
    fn new(sums: &[Counters]) -> Self {
        Self {
            conns: sums.iter().map(|sum| sum.connections).collect(),
            received: sums.iter().map(|sum| sum.received).collect(),
            sent: sums.iter().map(|sum| sum.sent).collect(),
        }
    }

    /// As an object that has the value of the group as well.
    fn of_group(dimension: Dimension, value: &Value, sums: &[Counters]) -> json::Object {
        let Self { conns, received, sent } = Self::new(sums);
        let mut object = json::Object::new();
        object.insert(dimension.name().to_owned(), json::value(dimension, value));
        for (name, column) in [("conns", conns), ("received", received), ("sent", sent)] {
            object.insert(name.to_owned(), column.into());
        }
        object
    }
}

/// Sums over time.
#[derive(Serialize, ToSchema)]
pub(crate) struct SeriesAnswer {
    #[serde(flatten)]
    setting: Setting,
    /// Ends of the first and the last window of the log, unix seconds; null in an empty one.
    extent: Option<(i64, i64)>,
    /// Unix seconds: a part is from an edge to the second before the next one.
    edges: Vec<i64>,
    /// The sum of all groups.
    total: Columns,
    /// The groups with the most bytes, the largest first: the value under the name of the dimension, and `conns`, `received`,
    /// `sent` as in `total`.
    #[schema(value_type = Vec<Object>)]
    groups: Vec<json::Object>,
    /// The sum of the groups that are not listed.
    other: Columns,
    /// The sums in the parts of the range of `compare`; null without one.
    before: Option<Columns>,
    /// What was lost in which part: the fields of a loss, and `part`.
    #[schema(value_type = Vec<Object>)]
    losses: Vec<Json>,
    /// Beginning and end of the times in which nothing was recorded, unix seconds; of a server none.
    gaps: Vec<(i64, i64)>,
    #[serde(flatten)]
    labels: Labels,
}

/// The parts of a question that a series has.
const PARAMETERS: [Parameter; 9] = [
    Parameter::Range,
    Parameter::Since,
    Parameter::Until,
    Parameter::GroupBy,
    Parameter::Where,
    Parameter::Exclude,
    Parameter::Scope,
    Parameter::Find,
    Parameter::Compare,
];

/// What a request asks.
struct SeriesQuestion {
    question: Question,
    scope: Option<Scope>,
    now: Now,
    /// Whether the other range is the one before.
    is_previous: bool,
    parts: usize,
    top: usize,
}

/// Sums of the log over time, of all and of the largest groups.
#[utoipa::path(
    get, path = "/api/v1/series",
    params(
        ListParameters, TrafficParameters,
        ("group_by" = Option<String>, Query, description = "The dimension of the groups, none of time. Without it: the total only"),
        ("parts" = Option<u64>, Query, description = "Parts at most, up to 1000; they are parts of the calendar, of a day or more none shorter than a quarter of an hour. Default: 144"),
        ("top" = Option<u64>, Query, description = "Groups at most, up to 20. Default: 8"),
        ("compare" = Option<String>, Query, description = "`previous`, or a range as for `range`: its sums in as many parts"),
    ),
    responses((status = 200, body = SeriesAnswer), (status = 400, body = ErrorBody), (status = 503, body = ErrorBody)),
    security(("token" = [])),
)]
pub(crate) async fn series(
    State(api): State<Arc<Api>>,
    RawQuery(text): RawQuery,
) -> Result<Response, ApiError> {
    let question = SeriesQuestion::read(Parameters::parse(text.clone())?, &api)?;
    let key = format!("series?{}", text.unwrap_or_default());
    Ok(json_response(api.readers.answer(key, move |file| question.answer(file)).await?))
}

impl SeriesQuestion {
    fn read(mut parameters: Parameters, api: &Api) -> Result<Self, ApiError> {
        let parts = parameters.take_number("parts", MAX_PARTS)?.unwrap_or(DEFAULT_PARTS).max(1) as usize;
        let top = parameters.take_number("top", MAX_GROUPS)?.unwrap_or(DEFAULT_GROUPS) as usize;
        let (asked, now) = parameters.asked(api)?;
        asked.check_only("a series", &PARAMETERS)?;
        let question = asked.read(&now)?;
        match question.query.group_by[..] {
            [] => {}
            [dimension] if !dimension.is_time() && !dimension.is_calendar() => {}
            _ => {
                let text = "group_by: one dimension, and none of time: the parts are those of time";
                return Err(ApiError::bad_parameter("group_by", text));
            }
        }
        let is_previous = asked.compare.as_deref() == Some("previous");
        Ok(Self { question, scope: asked.scope, now, is_previous, parts, top })
    }

    fn answer(&self, file: &LogFile) -> Result<Bytes, ApiError> {
        let (reader, query) = (&file.reader, &self.question.query);
        let extent = reader.extent()?;
        let edges = self.edges(extent);
        let by = match query.group_by[..] {
            [_] => reader.series_by(query, &edges, self.top)?,
            _ => SeriesByGroup { groups: Vec::new(), total: reader.series(query, &edges)? },
        };
        let mut losses = Vec::new();
        for (part, losses_of_part) in reader.losses_between(&edges, &query.filters)?.iter().enumerate() {
            for loss in losses_of_part {
                let mut loss = json::loss(loss);
                loss["part"] = json!(part);
                losses.push(loss);
            }
        }
        let group = |dimension: Dimension| {
            by.groups.iter().map(|group| Columns::of_group(dimension, &group.value, &group.sums)).collect()
        };
        let values: Vec<[Value; 1]> = by.groups.iter().map(|group| [group.value.clone()]).collect();
        let answer = SeriesAnswer {
            setting: Setting::new(file, self.question.range, self.scope, &self.now)?,
            extent,
            total: Columns::new(&by.total),
            groups: query.group_by.first().copied().map(group).unwrap_or_default(),
            other: Columns::new(&by.rest()),
            before: self.before(file, &edges, extent)?,
            losses,
            gaps: gaps(file, &edges, self.now.seconds)?,
            labels: Labels::of_rows(file, &query.group_by, values.iter().map(|values| &values[..]))?,
            edges,
        };
        to_json(&answer)
    }

    /// The points where the parts begin and end.
    fn edges(&self, extent: Option<(i64, i64)>) -> Vec<i64> {
        let range = self.question.range;
        let (first, last) = extent.unwrap_or((self.now.seconds, self.now.seconds));
        let start = range.start.unwrap_or(first);
        let end = range.end.unwrap_or(last.max(self.now.seconds).saturating_add(1));
        let seconds = end.saturating_sub(start);
        // Sums of quarters of an hour make parts of a day as exact, and need a tenth of the time.
        let in_quarters = usize::try_from(seconds / QUARTER_HOUR + 2).unwrap_or(usize::MAX);
        let parts = if seconds >= DAY { self.parts.min(in_quarters) } else { self.parts };
        calendar::divide(start, end.max(start.saturating_add(1)), parts, &self.now.zone)
    }

    /// The sums of the range to compare with, in as many parts, each of the same share of it.
    fn before(
        &self,
        file: &LogFile,
        edges: &[i64],
        extent: Option<(i64, i64)>,
    ) -> Result<Option<Columns>, ApiError> {
        let (Some(range), [first, .., last]) = (self.question.before, edges) else { return Ok(None) };
        let present = self.now.seconds.saturating_add(1);
        let start = range.start.or(extent.map(|(first, _)| first)).unwrap_or(present);
        let end = range.end.or(extent.map(|(_, last)| last.saturating_add(1).max(present)));
        let end = end.unwrap_or(present).max(start);
        // The range before is as long as what is over of this one.
        let over = if self.is_previous { present.clamp(first.saturating_add(1), *last) } else { *last };
        let before = share_edges(edges, (*first, over.max(first.saturating_add(1))), (start, end));
        let query = Query { group_by: Vec::new(), ..self.question.query.clone() };
        Ok(Some(Columns::new(&file.reader.series(&query, &before)?)))
    }
}

/// Edges that divide the second range in the shares in which `edges` divide the first one; in a day or more at quarters of an hour.
/// Ranges are from a start to the second before an end.
fn share_edges(edges: &[i64], (first, last): (i64, i64), (start, end): (i64, i64)) -> Vec<i64> {
    let (length, other) = (last.abs_diff(first).max(1), end.abs_diff(start));
    let share = |edge: &i64| {
        let share = u128::from(edge.abs_diff(first)) * u128::from(other) / u128::from(length);
        let point = u64::try_from(share).ok().and_then(|share| start.checked_add_unsigned(share));
        let point = point.map_or(end, |point| point.min(end));
        let is_inside = other >= DAY.unsigned_abs() && point > start && point < end;
        if is_inside { (point - point.rem_euclid(QUARTER_HOUR)).max(start) } else { point }
    };
    edges.iter().map(share).collect()
}

/// The times between a stop and the next start, and those of gaps, within the edges.
fn gaps(file: &LogFile, edges: &[i64], now: i64) -> Result<Vec<(i64, i64)>, ApiError> {
    let (Some(begin), Some(end)) = (edges.first(), edges.last()) else { return Ok(Vec::new()) };
    // While one host recorded nothing, others did.
    if file.reader.has_hosts() {
        return Ok(Vec::new());
    }
    let kinds = [EventKind::Start, EventKind::Stop, EventKind::Gap];
    let mut events =
        file.reader.events(Range { since: None, until: Some(*end) }, &kinds, u64::MAX, &|_| true)?;
    events.reverse();
    let (mut gaps, mut stopped) = (Vec::new(), None);
    for HostEvent { event, .. } in events {
        match event.kind {
            EventKind::Stop => stopped = Some(event.time),
            EventKind::Start => gaps.extend(stopped.take().map(|stop| (stop, event.time))),
            _ => gaps.extend(event.begin.map(|begin| (begin, event.time))),
        }
    }
    gaps.extend(stopped.map(|stop| (stop, now.min(*end))));
    gaps.retain(|(from, to)| from < to && to > begin && from < end);
    gaps.sort_unstable();
    // A stop and a gap may be about the same time.
    let mut merged: Vec<(i64, i64)> = Vec::new();
    for (from, to) in gaps {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_range_is_divided_in_the_same_shares() {
        let edges = [1000, 1600, 1900, 2200];
        assert_eq!(share_edges(&edges, (1000, 2200), (0, 1200)), [0, 600, 900, 1200]);
        assert_eq!(share_edges(&edges, (1000, 2200), (0, 400)), [0, 200, 300, 400]);
        // Of an unfinished range the rest has nothing to compare with.
        assert_eq!(share_edges(&edges, (1000, 1700), (0, 700)), [0, 600, 700, 700]);
        let days = [0, DAY, 2 * DAY];
        assert_eq!(share_edges(&days, (0, 2 * DAY), (7, 7 + 3 * DAY + 100)), [7, 129_600, 7 + 3 * DAY + 100]);
        let all = [i64::MIN, 0, i64::MAX];
        assert_eq!(share_edges(&all, (i64::MIN, i64::MAX), (i64::MIN, i64::MAX))[2], i64::MAX);
    }
}
