//! `/api/v1/session` and `/api/v1/login`: how a client gets its token.

use std::{sync::Arc, time::Duration};

use axum::{Extension, Json, body::Body, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Api, MAX_BODY_BYTES};
use crate::{
    error::{ApiError, ErrorBody, ErrorKind},
    server::Peer,
};

/// How long the body of a log-in may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// What a client has to show.
#[derive(Serialize, ToSchema)]
pub(crate) struct Session {
    /// `none`, `token` (in the address that `picosnitch dash` prints) or `password`.
    auth: &'static str,
    /// Version of picosnitch.
    version: &'static str,
}

/// The body of a log-in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogIn {
    /// The password of this server.
    password: String,
}

/// The answer to a log-in.
#[derive(Serialize, ToSchema)]
pub(crate) struct LoggedIn {
    /// The token for the header `Authorization: Bearer TOKEN`, good for twelve hours.
    token: String,
}

/// What a client has to show, and the version. Needs no token.
#[utoipa::path(get, path = "/api/v1/session", responses((status = 200, body = Session)))]
pub(crate) async fn session(State(api): State<Arc<Api>>) -> Json<Session> {
    Json(Session { auth: api.guard.access.name(), version: env!("CARGO_PKG_VERSION") })
}

/// Gives a token for the password, where the server has one. Needs no token.
#[utoipa::path(
    post, path = "/api/v1/login", request_body = LogIn,
    responses((status = 200, body = LoggedIn), (status = 401, body = ErrorBody), (status = 429, body = ErrorBody)),
)]
pub(crate) async fn login(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Result<Json<LoggedIn>, ApiError> {
    let read = tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, MAX_BODY_BYTES)).await;
    let body = match read {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return Err(ApiError::new(ErrorKind::TooLarge, "a log-in has no such body")),
        Err(_) => return Err(ApiError::new(ErrorKind::Timeout, "the log-in came too slowly")),
    };
    let log_in: LogIn = serde_json::from_slice(&body)
        .map_err(|_| ApiError::bad_parameter("password", r#"send {"password": "..."}"#))?;
    let guard = Arc::clone(&api.guard);
    let token = tokio::task::spawn_blocking(move || guard.access.log_in(&log_in.password, peer.ip())).await;
    let token = token.map_err(|_| ApiError::new(ErrorKind::Busy, "the log-in was given up; try again"))??;
    Ok(Json(LoggedIn { token: token.text().to_owned() }))
}
