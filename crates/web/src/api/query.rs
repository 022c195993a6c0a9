//! `/api/v1/query`: sums of the log by group.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{RawQuery, State},
    response::Response,
};
use question::{Now, Question, json};
use serde::Serialize;
use serde_json::Value as Json;
use store::Source;
use utoipa::ToSchema;

use super::{
    Api, json_response,
    labels::Labels,
    parameters::{ListParameters, Parameters, RowParameters, TrafficParameters},
    to_json,
};
use crate::{
    error::{ApiError, ErrorBody},
    readers::LogFile,
};

/// Rows without a limit, and at most.
const DEFAULT_ROWS: u64 = 100;
const MAX_ROWS: u64 = 10_000;
/// Rows that may be skipped: nobody pages further.
const MAX_OFFSET: u64 = 10_000_000;

/// What every answer about a range says of it.
#[derive(Serialize, ToSchema)]
pub(super) struct Setting {
    /// Identity of the log's file; a log that was replaced has another one.
    log: String,
    /// The present of the answer, unix seconds.
    now: i64,
    /// Its ends `since` and `until`, both included, unix seconds, and as text (`since_iso`, `until_iso`); null without one.
    #[schema(value_type = Object)]
    range: json::Object,
    /// `internet`, `local` or null.
    scope: Option<&'static str>,
    /// `sums_of_quarter_hours_before`: the time before which the log has sums of quarters of an hour only; null if it has every
    /// record.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    grain: json::Object,
}

impl Setting {
    pub fn new(
        file: &LogFile,
        range: calendar::Range,
        scope: Option<model::Scope>,
        now: &Now,
    ) -> Result<Self, ApiError> {
        Ok(Self {
            log: file.id.clone(),
            now: now.seconds,
            range: json::bounds(range, &now.zone),
            scope: scope.map(model::Scope::name),
            grain: json::grain(&file.reader, range, &now.zone)?,
        })
    }
}

/// Rows of the log.
#[derive(Serialize, ToSchema)]
pub(crate) struct QueryAnswer {
    #[serde(flatten)]
    setting: Setting,
    /// What was lost in the range: objects with kind, count, consequence and text.
    #[schema(value_type = Vec<Object>)]
    losses: Vec<Json>,
    /// The range of `compare`: its ends as in `range`, with `losses` and `sums_of_quarter_hours_before` of its own.
    #[schema(value_type = Option<Object>)]
    compared_with: Option<json::Object>,
    /// Rows, also those beyond `limit`.
    row_count: usize,
    /// `conns`, `received` and `sent` of all rows; with `compare` an object `now` and an object `before` with these.
    #[schema(value_type = Object)]
    total: json::Object,
    /// The rows: the value of each dimension under its name, then `conns`, `received`, `sent`; with `seen` also `first_seen`,
    /// `last_seen`, `digests`, `changed`; with `compare` `change`, and the counters in `now` and `before`.
    #[schema(value_type = Vec<Object>)]
    rows: Vec<json::Object>,
    #[serde(flatten)]
    labels: Labels,
}

/// Sums of the log by group.
#[utoipa::path(
    get, path = "/api/v1/query",
    params(
        ListParameters, TrafficParameters, RowParameters,
        ("limit" = Option<u64>, Query, description = "Rows at most, up to 10000. Default: 100"),
        ("offset" = Option<u64>, Query, description = "Rows to leave out before the first"),
        ("order" = Option<String>, Query, description = "Of a comparison: difference (the default), or now"),
    ),
    responses((status = 200, body = QueryAnswer), (status = 400, body = ErrorBody), (status = 503, body = ErrorBody)),
    security(("token" = [])),
)]
pub(crate) async fn query(
    State(api): State<Arc<Api>>,
    RawQuery(text): RawQuery,
) -> Result<Response, ApiError> {
    let mut parameters = Parameters::parse(text)?;
    let (mut asked, now) = parameters.asked(&api)?;
    asked.limit.get_or_insert(DEFAULT_ROWS);
    for (name, number, max) in [("limit", asked.limit, MAX_ROWS), ("offset", asked.offset, MAX_OFFSET)] {
        if number.is_some_and(|number| number > max) {
            return Err(ApiError::bad_parameter(name, format!("{name}: write a number up to {max}")));
        }
    }
    let question = asked.read(&now)?;
    let key = format!("query?{}", parameters.text);
    let answer = api.readers.answer(key, move |file| answer(file, &question, asked.scope, &now)).await?;
    Ok(json_response(answer))
}

fn answer(
    file: &LogFile,
    question: &Question,
    scope: Option<model::Scope>,
    now: &Now,
) -> Result<Bytes, ApiError> {
    let Question { range, query, before, order } = question;
    let setting = Setting::new(file, *range, scope, now)?;
    let losses =
        file.reader.losses(question::for_log(*range), &query.filters)?.iter().map(json::loss).collect();
    let answer = match before {
        None => {
            let answer = file.reader.answer(query)?;
            let values = answer.rows.iter().map(|row| &row.values[..]);
            QueryAnswer {
                setting,
                losses,
                compared_with: None,
                row_count: answer.row_count,
                total: json::counters(answer.total),
                labels: Labels::of_rows(file, &query.group_by, values)?,
                rows: answer.rows.iter().map(|row| json::row(query, row, &now.zone)).collect(),
            }
        }
        Some(before) => {
            let comparison = file.reader.compare(query, question::for_log(*before), *order)?;
            let values = comparison.rows.iter().map(|row| &row.values[..]);
            let mut compared_with = json::bounds(*before, &now.zone);
            compared_with.extend(json::completeness(&file.reader, (*before, &query.filters), &now.zone)?);
            QueryAnswer {
                setting,
                losses,
                compared_with: Some(compared_with),
                row_count: comparison.row_count,
                total: json::compared_total(&comparison),
                labels: Labels::of_rows(file, &query.group_by, values)?,
                rows: comparison.rows.iter().map(|row| json::compared_row(query, row, &now.zone)).collect(),
            }
        }
    };
    to_json(&answer)
}
