//! `/api/v1/events` and `/api/v1/seen`: what happened besides traffic, and when programs were first and last seen.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{RawQuery, State},
    response::Response,
};
use model::EventKind;
use question::{Asked, Now, PROGRAM_DIMENSIONS, Parameter, check_dimensions, json};
use serde::Serialize;
use store::{Dimension, EVENT_DIMENSIONS, Filter, HostEvent, Source};
use utoipa::ToSchema;

use super::{
    Api, json_response,
    labels::Labels,
    parameters::{ListParameters, Parameters},
    to_json,
};
use crate::{
    error::{ApiError, ErrorBody},
    readers::LogFile,
};

/// Rows without a limit, and at most.
const DEFAULT_ROWS: u64 = 200;
const MAX_ROWS: u64 = 5000;

/// A list of things, the latest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct ListAnswer {
    /// Identity of the log's file; a log that was replaced has another one.
    log: String,
    /// The present of the answer, unix seconds.
    now: i64,
    /// Its ends `since` and `until`, both included.
    #[schema(value_type = Object)]
    range: json::Object,
    /// The rows: of events time, begin, kind, subject, uid, exe, name, sha256, count, text, sentence and writer, of a server also host; of programs exe,
    /// sha256, uid, first, last and virustotal.
    #[schema(value_type = Vec<Object>)]
    rows: Vec<json::Object>,
    #[serde(flatten)]
    labels: Labels,
}

/// The events of the log: alerts, errors, losses, starts and the like, the latest first.
#[utoipa::path(
    get, path = "/api/v1/events",
    params(
        ListParameters,
        ("kind" = Option<Vec<String>>, Query, description = "Only events of this kind; may be repeated"),
        ("limit" = Option<u64>, Query, description = "Rows at most, up to 5000. Default: 200"),
    ),
    responses((status = 200, body = ListAnswer), (status = 400, body = ErrorBody), (status = 503, body = ErrorBody)),
    security(("token" = [])),
)]
pub(crate) async fn events(
    State(api): State<Arc<Api>>,
    RawQuery(text): RawQuery,
) -> Result<Response, ApiError> {
    let mut parameters = Parameters::parse(text)?;
    let limit = parameters.take_number("limit", MAX_ROWS)?.unwrap_or(DEFAULT_ROWS);
    let mut kinds = Vec::new();
    for name in parameters.take_all("kind") {
        let names = || EventKind::ALL.map(EventKind::name).join(", ");
        let kind = EventKind::from_name(&name);
        kinds.push(kind.ok_or_else(|| {
            ApiError::bad_parameter("kind", format!("kind: there is no such kind; there are: {}", names()))
        })?);
    }
    let (asked, now) = parameters.asked(&api)?;
    let (range, filters) = listed(&asked, &now)?;
    let (_, others) = by_host(filters.clone());
    check_dimensions(&others, &EVENT_DIMENSIONS, "events")?;
    let key = format!("events?{}", parameters.text);
    let work = move |file: &LogFile| {
        let passes = |event: &HostEvent| Filter::pass(&filters, |dimension| event.value(dimension));
        let events = file.reader.events(question::for_log(range), &kinds, limit, &passes)?;
        let mut labels = Labels::default();
        labels.add_uids(file, events.iter().filter_map(|found| found.event.uid));
        for found in &events {
            labels.add_program(file, &found.event.path)?;
        }
        let row = |found: &HostEvent| {
            let mut row = json::host_event(found, &now.zone);
            row.insert("sentence".to_owned(), found.event.sentence().into());
            row
        };
        let rows = events.iter().map(row).collect();
        list(file, (range, &now), rows, labels)
    };
    Ok(json_response(api.readers.answer(key, work).await?))
}

/// When programs were first and last seen, also those whose records are deleted, the newest first.
#[utoipa::path(
    get, path = "/api/v1/seen",
    params(
        ListParameters,
        ("limit" = Option<u64>, Query, description = "Rows at most, up to 5000. Default: 200"),
    ),
    responses((status = 200, body = ListAnswer), (status = 400, body = ErrorBody), (status = 503, body = ErrorBody)),
    security(("token" = [])),
)]
pub(crate) async fn seen(
    State(api): State<Arc<Api>>,
    RawQuery(text): RawQuery,
) -> Result<Response, ApiError> {
    let mut parameters = Parameters::parse(text)?;
    let limit = parameters.take_number("limit", MAX_ROWS)?.unwrap_or(DEFAULT_ROWS) as usize;
    let (mut asked, now) = parameters.asked(&api)?;
    if asked.since.is_none() && asked.until.is_none() && asked.range.is_none() {
        asked.range = Some("all".to_owned());
    }
    let (range, filters) = listed(&asked, &now)?;
    let (of_hosts, filters) = by_host(filters);
    check_dimensions(&filters, PROGRAM_DIMENSIONS, "programs")?;
    let known = Arc::clone(&api);
    let key = format!("seen?{}", parameters.text);
    let work = move |file: &LogFile| {
        let range_for_log = question::for_log(range);
        let mut programs = file.reader.programs_seen(&of_hosts)?;
        programs = question::programs_seen(programs, range_for_log, &filters);
        programs.reverse();
        programs.truncate(limit);
        let mut labels = Labels::default();
        labels.add_uids(file, programs.iter().map(|program| program.uid));
        for program in &programs {
            labels.add_program(file, &program.path)?;
        }
        // Those of other machines are on these.
        let verdicts = if known.source.is_own() { known.verdicts.now() } else { Default::default() };
        let rows = programs.iter().map(|program| {
            let verdict = program.sha256.and_then(|digest| verdicts.get(&digest).cloned());
            let mut row = json::program_seen(program, &now.zone);
            row.insert("virustotal".to_owned(), verdict.into());
            row
        });
        let rows = rows.collect();
        list(file, (range, &now), rows, labels)
    };
    Ok(json_response(api.readers.answer(key, work).await?))
}

/// The filters of hosts, which only servers know, and the others.
fn by_host(filters: Vec<Filter>) -> (Vec<Filter>, Vec<Filter>) {
    filters.into_iter().partition(|filter| filter.dimension() == Dimension::Host)
}

/// The parts of a question that a list has.
const PARAMETERS: [Parameter; 5] =
    [Parameter::Range, Parameter::Since, Parameter::Until, Parameter::Where, Parameter::Exclude];

/// The range and the filters of a list; a list has no other part of a question.
fn listed(asked: &Asked, now: &Now) -> Result<(calendar::Range, Vec<Filter>), ApiError> {
    asked.check_only("a list", &PARAMETERS)?;
    Ok((asked.range(now)?, asked.filters(&now.zone)?))
}

fn list(
    file: &LogFile,
    (range, now): (calendar::Range, &Now),
    rows: Vec<json::Object>,
    labels: Labels,
) -> Result<Bytes, ApiError> {
    to_json(&ListAnswer {
        log: file.id.clone(),
        now: now.seconds,
        range: json::bounds(range, &now.zone),
        rows,
        labels,
    })
}
