//! `/api/v1/source`: what the figures are of.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use serde::Serialize;
use store::Source as _;
use utoipa::ToSchema;

use super::{Api, json_response, to_json};
use crate::{
    error::{ApiError, ErrorBody},
    readers::LogFile,
};

/// What the figures are of.
#[derive(Serialize, ToSchema)]
pub(crate) struct SourceAnswer {
    /// `own`: the log of this machine; `log`: another log; `server`: copies of the logs of several hosts on a server.
    kind: &'static str,
    /// The path of the log, or the server in words, without account and password.
    name: String,
    /// Version of this server of the page.
    version: &'static str,
    /// End of the first window, unix seconds; null without one.
    first: Option<i64>,
    /// End of the last window, unix seconds; null without one.
    last: Option<i64>,
}

/// What the figures are of, and from when to when there are records.
#[utoipa::path(
    get, path = "/api/v1/source",
    responses((status = 200, body = SourceAnswer), (status = 401, body = ErrorBody), (status = 502, body = ErrorBody)),
    security(("token" = [])),
)]
pub(crate) async fn source(State(api): State<Arc<Api>>) -> Result<Response, ApiError> {
    let (kind, name) = (api.source.kind(), api.source.name());
    let work = move |file: &LogFile| {
        let extent = file.reader.extent()?;
        to_json(&SourceAnswer {
            kind,
            name,
            version: env!("CARGO_PKG_VERSION"),
            first: extent.map(|(first, _)| first),
            last: extent.map(|(_, last)| last),
        })
    };
    Ok(json_response(api.readers.answer("source".to_owned(), work).await?))
}
