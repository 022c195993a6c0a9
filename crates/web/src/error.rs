//! Errors of the API, as clients get them: a status, and a JSON object with a sentence.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use model::text::sanitize;
use serde::Serialize;
use server_query::{ServerQueryError, SourceError};
use store::StoreError;
use utoipa::ToSchema;

/// What went wrong, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ErrorKind {
    /// A parameter is wrong.
    BadRequest,
    /// The token is missing or wrong.
    Unauthorized,
    /// The request comes from another site, or asks for another host.
    Forbidden,
    /// There is no such page.
    NotFound,
    /// The path is not asked so.
    MethodNotAllowed,
    /// The request has too many bytes.
    TooLarge,
    /// Too many log-ins failed.
    TooManyAttempts,
    /// Too many questions or streams at once.
    Busy,
    /// The question took too long.
    Timeout,
    /// There is no log yet.
    NoLog,
    /// The user of this server may not read the log.
    NoRights,
    /// The log cannot be read.
    Log,
    /// The server with the copies cannot be reached, or refuses.
    Server,
}

impl ErrorKind {
    fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden | Self::NoRights => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooManyAttempts => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy | Self::NoLog => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Log => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Server => StatusCode::BAD_GATEWAY,
        }
    }
}

/// An error that a client gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ApiError {
    /// What went wrong, for programs.
    pub kind: ErrorKind,
    /// What went wrong and what to do, in a sentence.
    pub text: String,
    /// The parameter that is wrong.
    pub parameter: Option<&'static str>,
}

/// The body of an error.
#[derive(Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    error: ApiError,
}

impl ApiError {
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), parameter: None }
    }

    pub fn bad_parameter(parameter: &'static str, text: impl Into<String>) -> Self {
        Self { kind: ErrorKind::BadRequest, text: text.into(), parameter: Some(parameter) }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::Missing(_) | StoreError::Empty(_) => ErrorKind::NoLog,
            StoreError::TooManyGroups(_) => ErrorKind::BadRequest,
            error if error.is_permission() => ErrorKind::NoRights,
            error if error.is_interrupted() => ErrorKind::Timeout,
            _ => ErrorKind::Log,
        };
        let text = match kind {
            ErrorKind::NoRights => format!(
                "the log may not be read by the user of this server: run `picosnitch dash` as root or as a member of the group \
                 picosnitch ({error})"
            ),
            ErrorKind::BadRequest => {
                "that has too many rows: ask with fewer dimensions, for a shorter range, or with a filter"
                    .to_owned()
            }
            ErrorKind::Timeout => {
                "the answer took too long; ask for a shorter range or set a filter".to_owned()
            }
            _ => with_sources(&error),
        };
        Self::new(kind, text)
    }
}

impl From<SourceError> for ApiError {
    fn from(error: SourceError) -> Self {
        let error = match error {
            SourceError::Log(error) => return error.into(),
            SourceError::Server(error) => error,
        };
        let kind = match &error {
            ServerQueryError::TooManyRows { .. } => ErrorKind::BadRequest,
            ServerQueryError::NoTables(_) => ErrorKind::NoLog,
            ServerQueryError::Interrupted => ErrorKind::Timeout,
            _ => ErrorKind::Server,
        };
        let text = match kind {
            ErrorKind::BadRequest => {
                "that has too many rows: ask with fewer dimensions, for a shorter range, or with a filter"
                    .to_owned()
            }
            ErrorKind::Timeout => {
                "the answer took too long; ask for a shorter range or set a filter".to_owned()
            }
            _ => with_sources(&error),
        };
        Self::new(kind, text)
    }
}

impl From<ServerQueryError> for ApiError {
    fn from(error: ServerQueryError) -> Self {
        SourceError::from(error).into()
    }
}

/// An error and what caused it, in one line.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let kind = self.kind;
        // Plain data, whose serialisation cannot fail.
        let text = serde_json::to_string(&ErrorBody { error: self }).unwrap_or_default();
        let content_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = sanitize::json_document(&text);
        let mut response = (kind.status(), [content_type], body).into_response();
        let headers = response.headers_mut();
        if kind == ErrorKind::Busy {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if kind == ErrorKind::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
