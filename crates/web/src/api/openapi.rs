//! `/api/v1/openapi.json`: the description of this API, made from its code.

use std::sync::LazyLock;

use axum::{body::Bytes, response::Response};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        OpenApi as Document,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::json_response;

/// The description. Needs no token.
#[derive(OpenApi)]
#[openapi(
    info(title = "picosnitch", description = "Which program talks to whom, how much, since when. All times are unix seconds."),
    paths(
        openapi, super::session::session, super::session::login, super::query::query, super::series::series,
        super::source::source, super::fleet::fleet, super::events::events, super::events::seen, super::search::search, super::health::health, super::live::live,
        super::export::export, super::metrics::metrics,
    ),
    modifiers(&Token),
)]
struct Description;

/// Adds how clients show that they may read.
struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut Document) {
        let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(token));
    }
}

/// The description of this API (OpenAPI 3.1). Needs no token.
#[utoipa::path(get, path = "/api/v1/openapi.json", responses((status = 200, content_type = "application/json")))]
pub(crate) async fn openapi() -> Response {
    static TEXT: LazyLock<Bytes> =
        LazyLock::new(|| serde_json::to_vec(&Description::openapi()).unwrap_or_default().into());
    json_response(TEXT.clone())
}
