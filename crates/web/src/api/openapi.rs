//! `/api/v1/openapi.json`: the description of this API, made from its code.

use axum::Json;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        OpenApi as Document,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

/// The description. Needs no token.
#[derive(OpenApi)]
#[openapi(
    info(title = "picosnitch", description = "Which program talks to whom, how much, since when. All times are unix seconds."),
    paths(
        openapi, super::session::session, super::session::login, super::query::query, super::series::series,
        super::events::events, super::events::seen, super::search::search, super::health::health, super::live::live,
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
pub(crate) async fn openapi() -> Json<Document> {
    Json(Description::openapi())
}
