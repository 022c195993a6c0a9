//! `/api/v1/fleet`: questions about all hosts of a server.

use std::sync::Arc;

use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use model::text::lossless;
use question::{Parameter, json};
use serde::Serialize;
use server_query::{FleetQuestion, SourceReader};
use utoipa::ToSchema;

use super::{
    Api, json_response,
    parameters::{ListParameters, Parameters},
    to_json,
};
use crate::{
    error::{ApiError, ErrorBody, ErrorKind},
    readers::LogFile,
};

/// Minutes of silence that can be asked for: nobody waits for longer.
const MAX_MINUTES: u64 = 10_000_000;
/// Bytes of a value.
const MAX_BYTES: usize = 4096;
/// Rows of an answer.
const MAX_ROWS: usize = 5000;

/// The parts of a question about traffic that one about all hosts has.
const PARAMETERS: [Parameter; 6] = [
    Parameter::Range,
    Parameter::Since,
    Parameter::Until,
    Parameter::Where,
    Parameter::Exclude,
    Parameter::Scope,
];

/// The answer to a question about all hosts.
#[derive(Serialize, ToSchema)]
pub(crate) struct FleetAnswer {
    /// The server; another one has another text.
    log: String,
    /// The present of the answer, unix seconds.
    now: i64,
    /// Its ends `since` and `until`, both included; silence has no range.
    #[schema(value_type = Object)]
    range: json::Object,
    /// Rows, also those beyond the first 5000.
    row_count: usize,
    /// As `picosnitch fleet --json` has them: `host` and what was asked for, `first`, `last`, `conns`, `received`, `sent`; of silence
    /// `host`, `last`, `silent_seconds`.
    #[schema(value_type = Vec<Object>)]
    rows: Vec<json::Object>,
}

/// What only a server with the copies of several hosts knows; the questions are those of `picosnitch fleet`.
#[utoipa::path(
    get, path = "/api/v1/fleet",
    params(
        ListParameters,
        ("question" = String, Query, description = "digest: which hosts run a program with this digest; first: where this program appeared first; domain: which hosts talk to this domain; unique: programs of one host only; silent: hosts that have sent nothing for some minutes"),
        ("value" = Option<String>, Query, description = "The digest or its first digits, the path or name of the program, the domain (.NAME with its sub-domains), or the minutes"),
    ),
    responses((status = 200, body = FleetAnswer), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 502, body = ErrorBody)),
    security(("token" = [])),
)]
pub(crate) async fn fleet(
    State(api): State<Arc<Api>>,
    RawQuery(text): RawQuery,
) -> Result<Response, ApiError> {
    if !api.source.is_server() {
        return Err(ApiError::new(
            ErrorKind::NotFound,
            "a log has one host only: give `picosnitch dash` a server with --source",
        ));
    }
    let mut parameters = Parameters::parse(text)?;
    let question = question(&mut parameters)?;
    let (asked, now) = parameters.asked(&api)?;
    asked.check_only("a question about all hosts", &PARAMETERS)?;
    let range = asked.range(&now)?;
    let query = question.asked(asked).read(&now)?.query;
    let key = format!("fleet?{}", parameters.text);
    let work = move |file: &LogFile| {
        let SourceReader::Server(reader) = &file.reader else {
            return Err(ApiError::new(ErrorKind::NotFound, "a log has one host only"));
        };
        let answer = question.answer(reader, &query, now.seconds)?;
        let mut rows = answer.json(&query, now.seconds, &now.zone);
        let row_count = rows.len();
        rows.truncate(MAX_ROWS);
        to_json(&FleetAnswer {
            log: file.id.clone(),
            now: now.seconds,
            range: json::bounds(range, &now.zone),
            row_count,
            rows,
        })
    };
    Ok(json_response(api.readers.answer(key, work).await?))
}

/// Reads which question it is.
fn question(parameters: &mut Parameters) -> Result<FleetQuestion, ApiError> {
    let name = parameters.take("question").unwrap_or_default();
    if name == "silent" {
        let minutes = parameters.take_number("value", MAX_MINUTES)?;
        let minutes = minutes.and_then(|minutes| u32::try_from(minutes).ok());
        return minutes
            .map(FleetQuestion::Silent)
            .ok_or_else(|| ApiError::bad_parameter("value", "value: write the minutes"));
    }
    let value = parameters.take("value").unwrap_or_default();
    if value.len() > MAX_BYTES {
        return Err(ApiError::bad_parameter("value", "value: that is too long"));
    }
    let is_empty = value.is_empty();
    let value = lossless::from_text(&value);
    let question = match &*name {
        "digest" => FleetQuestion::Digest(value),
        "first" => FleetQuestion::First(value),
        "domain" => FleetQuestion::Domain(value),
        "unique" => return Ok(FleetQuestion::Unique),
        _ => {
            let text = "question: write digest, first, domain, unique or silent";
            return Err(ApiError::bad_parameter("question", text));
        }
    };
    match is_empty {
        true => Err(ApiError::bad_parameter("value", "value: write what is looked for")),
        false => Ok(question),
    }
}
