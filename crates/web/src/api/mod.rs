//! The API, version 1: one file for each path.

mod health;
mod live;
mod session;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Request, State},
    middleware::{self, Next},
    response::Response,
    routing::{get, post},
};
use config::layout::Layout;
use serde::Serialize;

use crate::{guard::Guard, readers::Readers};

/// Bytes of the body of a request: only the log-in has one.
const MAX_BODY_BYTES: usize = 4096;

/// What the handlers share.
pub(crate) struct Api {
    pub layout: Layout,
    pub guard: Arc<Guard>,
    pub readers: Arc<Readers>,
    pub streams: live::Streams,
    pub requests: AtomicU64,
    pub since: i64,
}

impl Api {
    pub fn new(layout: Layout, guard: Arc<Guard>, readers: Arc<Readers>) -> Self {
        Self {
            layout,
            guard,
            readers,
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
        .route("/api/v1/health", get(health::health))
        .route("/api/v1/live", get(live::live))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), count))
        .with_state(api)
}

async fn count(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    api.requests.fetch_add(1, Ordering::Relaxed);
    next.run(request).await
}

/// The JSON of an answer. It is plain data, whose serialisation cannot fail.
fn to_json(answer: &impl Serialize) -> Bytes {
    serde_json::to_vec(answer).unwrap_or_default().into()
}
