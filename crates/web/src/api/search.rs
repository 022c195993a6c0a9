//! `/api/v1/search`: a text in all values of the log.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{RawQuery, State},
    response::Response,
};
use question::{Asked, Now, Parameter, json};
use serde::Serialize;
use store::{Dimension, Query, Source};
use utoipa::ToSchema;

use super::{Api, json_response, labels::Labels, parameters::Parameters, to_json};
use crate::{
    error::{ApiError, ErrorBody},
    readers::LogFile,
};

/// Where the text is looked for, in the order of the answer.
const DIMENSIONS: [Dimension; 11] = [
    Dimension::Executable,
    Dimension::Name,
    Dimension::Domain,
    Dimension::Address,
    Dimension::Port,
    Dimension::Uid,
    Dimension::Unit,
    Dimension::Container,
    Dimension::App,
    Dimension::Country,
    Dimension::Network,
];
/// Rows of each dimension.
const ROWS: u64 = 5;
/// Bytes of the text.
const MAX_BYTES: usize = 256;
const DEFAULT_RANGE: &str = "30d";

/// The parts of a question that a search has.
const PARAMETERS: [Parameter; 4] = [Parameter::Range, Parameter::Since, Parameter::Until, Parameter::Scope];

/// What was found.
#[derive(Serialize, ToSchema)]
pub(crate) struct SearchAnswer {
    /// Identity of the log's file.
    log: String,
    /// The dimensions with values that contain the text.
    results: Vec<Found>,
    #[serde(flatten)]
    labels: Labels,
}

/// What was found among the values of one dimension.
#[derive(Serialize, ToSchema)]
pub(crate) struct Found {
    /// Name of the dimension.
    dimension: &'static str,
    /// The number of values that contain the text.
    row_count: usize,
    /// The first of them, those with the most bytes first, as rows of a query.
    #[schema(value_type = Vec<Object>)]
    rows: Vec<json::Object>,
}

/// The values of the log that contain a text, with the most traffic first.
#[utoipa::path(
    get, path = "/api/v1/search",
    params(
        ("q" = String, Query, description = "The text, in upper or lower case, at most 256 bytes"),
        ("range" = Option<String>, Query, description = "As for query. Default: 30d"),
        ("since" = Option<String>, Query, description = "As for query"),
        ("until" = Option<String>, Query, description = "As for query"),
        ("zone" = Option<String>, Query, description = "As for query"),
        ("scope" = Option<String>, Query, description = "As for query"),
    ),
    responses((status = 200, body = SearchAnswer), (status = 400, body = ErrorBody), (status = 503, body = ErrorBody)),
    security(("token" = [])),
)]
pub(crate) async fn search(
    State(api): State<Arc<Api>>,
    RawQuery(text): RawQuery,
) -> Result<Response, ApiError> {
    let mut parameters = Parameters::parse(text)?;
    let text = parameters.take("q").unwrap_or_default();
    if text.is_empty() || text.len() > MAX_BYTES {
        return Err(ApiError::bad_parameter("q", "q: write a text of 1 to 256 bytes"));
    }
    let (mut asked, now) = parameters.asked(&api)?;
    if asked.range.is_none() && asked.since.is_none() {
        asked.range = Some(DEFAULT_RANGE.to_owned());
    }
    asked.check_only("a search", &PARAMETERS)?;
    // What is wrong is told before the question waits.
    asked.read(&now)?;
    let key = format!("search?{}", parameters.text);
    let work = move |file: &LogFile| answer(file, &text, &asked, &now);
    Ok(json_response(api.readers.answer(key, work).await?))
}

fn answer(file: &LogFile, text: &str, asked: &Asked, now: &Now) -> Result<Bytes, ApiError> {
    let (mut results, mut labels) = (Vec::new(), Labels::default());
    let host = file.reader.has_hosts().then_some(Dimension::Host);
    for dimension in host.into_iter().chain(DIMENSIONS) {
        let find = Some(text.as_bytes().to_vec());
        let asked = Asked { group_by: vec![dimension], find, ..asked.clone() };
        let query = Query { limit: Some(ROWS), ..asked.read(now)?.query };
        let found = file.reader.answer(&query)?;
        if found.rows.is_empty() {
            continue;
        }
        labels.extend(Labels::of_rows(file, &query.group_by, found.rows.iter().map(|row| &row.values[..]))?);
        results.push(Found {
            dimension: dimension.name(),
            row_count: found.row_count,
            rows: found.rows.iter().map(|row| json::row(&query, row, &now.zone)).collect(),
        });
    }
    to_json(&SearchAnswer { log: file.id.clone(), results, labels })
}
