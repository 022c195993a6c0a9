//! The API, version 1: one file for each path.

mod events;
mod export;
mod fleet;
mod health;
mod labels;
mod live;
mod metrics;
mod openapi;
mod parameters;
mod query;
mod search;
mod series;
mod session;
mod source;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderValue, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use config::layout::Layout;
use futures_util::StreamExt;
use model::text::sanitize;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::{
    daemon_status::DaemonStatus,
    error::{ApiError, ErrorKind},
    guard::Guard,
    readers::Readers,
    settings::ShownSource,
    verdicts::Verdicts,
};

/// Bytes of the body of a request: only the log-in has one.
const MAX_BODY_BYTES: usize = 4096;

/// What the handlers share.
pub(crate) struct Api {
    pub layout: Layout,
    /// What is shown.
    pub source: ShownSource,
    /// What the configuration said of the log at the start.
    pub log: Option<config::Log>,
    pub guard: Arc<Guard>,
    pub readers: Arc<Readers>,
    pub daemon: DaemonStatus,
    pub verdicts: Verdicts,
    pub exports: export::Exports,
    pub traffic: metrics::Traffic,
    pub record_count: health::RecordCount,
    pub streams: live::Streams,
    pub requests: AtomicU64,
    pub since: i64,
}

impl Api {
    pub fn new(
        layout: Layout,
        source: ShownSource,
        log: Option<config::Log>,
        guard: Arc<Guard>,
        readers: Arc<Readers>,
    ) -> Self {
        Self {
            source,
            daemon: DaemonStatus::new(&layout.run_dir),
            verdicts: Verdicts::new(&layout.record_json),
            layout,
            log,
            guard,
            readers,
            exports: export::Exports::default(),
            traffic: metrics::Traffic::default(),
            record_count: health::RecordCount::default(),
            streams: live::Streams::default(),
            requests: AtomicU64::new(0),
            since: model::text::time::now(),
        }
    }
}

/// The paths of the API.
pub(crate) fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/api/v1/session", get(session::session))
        .route("/api/v1/login", post(session::login))
        .route("/api/v1/query", get(query::query))
        .route("/api/v1/series", get(series::series))
        .route("/api/v1/source", get(source::source))
        .route("/api/v1/fleet", get(fleet::fleet))
        .route("/api/v1/events", get(events::events))
        .route("/api/v1/seen", get(events::seen))
        .route("/api/v1/search", get(search::search))
        .route("/api/v1/export", get(export::export))
        .route("/api/v1/openapi.json", get(openapi::openapi))
        .route("/metrics", get(metrics::metrics))
        .route("/api/v1/health", get(health::health))
        .route("/api/v1/live", get(live::live))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), count))
        .with_state(api)
}

async fn method_not_allowed() -> ApiError {
    ApiError::new(
        ErrorKind::MethodNotAllowed,
        "this path is asked with another method; /api/v1/openapi.json tells which",
    )
}

async fn count(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    api.requests.fetch_add(1, Ordering::Relaxed);
    next.run(request).await
}

/// The JSON of an answer, without characters on which a terminal acts.
///
/// # Errors
/// The answer is none that JSON has, for example a map whose keys are no texts.
fn to_json(answer: &impl Serialize) -> Result<Bytes, ApiError> {
    let text = serde_json::to_string(answer);
    let text = text
        .map_err(|error| ApiError::new(ErrorKind::Log, format!("the answer cannot be written: {error}")))?;
    Ok(sanitize::json_document(&text).into())
}

fn json_response(body: Bytes) -> Response {
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    ([kind], body).into_response()
}

/// The parts that another thread sends, up to the end of the channel.
fn body_of(parts: mpsc::Receiver<Bytes>) -> Body {
    let parts = futures_util::stream::unfold(parts, |mut parts| async move {
        parts.recv().await.map(|part| (Ok::<Bytes, io::Error>(part), parts))
    });
    // Compression asks once more after the end.
    Body::from_stream(parts.fuse())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_cannot_be_written_is_an_error() {
        assert_eq!(to_json(&BTreeMap::from([("a", "\u{1b}")])).unwrap(), "{\"a\":\"\\u001b\"}");
        let error = to_json(&BTreeMap::from([(vec![1], 2)])).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Log);
    }
}
