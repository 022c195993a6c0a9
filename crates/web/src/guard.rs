//! Which requests are answered: those of our own page, on a name that is ours, with the token. And what each answer tells the
//! browser to refuse.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{
    access::Access,
    error::{ApiError, ErrorKind},
    permitted_users::PermittedUsers,
    server::Peer,
};

/// Only our own files, no script or style in the page itself, no frames, and strings do not become script (Trusted Types).
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
    connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// Headers of every answer.
const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=(), usb=()"),
];

/// What the guard knows.
pub(crate) struct Guard {
    /// Who may read.
    pub access: Access,
    /// Names of this machine by which the page may be asked for, besides `localhost` and addresses.
    pub host_names: Vec<String>,
    /// `https` with a certificate, otherwise `http`.
    pub scheme: &'static str,
    /// The users whose programs may read; `None`: those of all users, also of other machines. A token may become known: it is
    /// seen on the command line of the browser that opens the page.
    pub users: Option<PermittedUsers>,
}

/// Lets a request pass, or answers it with an error.
pub(crate) async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_protected = is_api(path) && !is_open(path);
    let peer = request.extensions().get::<Peer>().cloned();
    let refusal = match guard.refusal(&request) {
        None if is_protected => guard.refusal_of_user(peer.as_ref()).await,
        refusal => refusal,
    };
    if let (None, true, Some(peer)) = (&refusal, is_protected, peer) {
        peer.set_known();
    }
    let mut response = match refusal {
        Some(error) => error.into_response(),
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

impl Guard {
    fn refusal(&self, request: &Request) -> Option<ApiError> {
        let (headers, path) = (request.headers(), request.uri().path());
        let is_api = is_api(path);
        let forbidden = |text: String| Some(ApiError::new(ErrorKind::Forbidden, text));
        let host = match headers.get(header::HOST).map(HeaderValue::to_str) {
            Some(Ok(host)) => host,
            // HTTP/1.0, or bytes that are no name.
            _ => return forbidden("the request does not say which host it is for".to_owned()),
        };
        if !self.is_our_name(host) {
            return forbidden(format!(
                "this server is not {}; open it as localhost, or add the name to web.host_name in the configuration",
                model::text::sanitize::message(host)
            ));
        }
        if !self.is_our_page(headers, host, is_api) {
            return forbidden("the request comes from another site".to_owned());
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD | Method::POST) {
            return forbidden("only GET is answered here".to_owned());
        }
        (is_api && !is_open(path) && !self.access.allows(headers)).then(|| {
            ApiError::new(
                ErrorKind::Unauthorized,
                "the token is missing or is that of an earlier run: open the address that `picosnitch dash` prints",
            )
        })
    }

    /// Refuses a program of a user who may not read, also if it shows the token.
    async fn refusal_of_user(&self, peer: Option<&Peer>) -> Option<ApiError> {
        let users = self.users.as_ref()?;
        let user = match peer {
            Some(peer) => peer.user().await,
            None => None,
        };
        let Some(user) = user else {
            return Some(ApiError::new(
                ErrorKind::Forbidden,
                "the kernel does not tell whose program asks: ask from this machine, and from the network namespace of this server",
            ));
        };
        (!users.contains(user)).then(|| {
            ApiError::new(
                ErrorKind::Forbidden,
                "this is the server of another user; start your own with `picosnitch dash`, or ask to become a member of the group \
                 picosnitch",
            )
        })
    }

    /// Whether the host that a request asks for is this machine by a name that nobody else can make point here: a site that lets
    /// its own name point to 127.0.0.1 (DNS rebinding) would be of the same origin as its scripts.
    fn is_our_name(&self, host: &str) -> bool {
        let (name, port) = match host.strip_prefix('[') {
            Some(rest) => match rest.split_once(']') {
                Some((name, port)) => (name, port.strip_prefix(':').or(port.is_empty().then_some(""))),
                None => return false,
            },
            None => host.split_once(':').map_or((host, Some("")), |(name, port)| (name, Some(port))),
        };
        if !port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit())) {
            return false;
        }
        let is_address = name.parse::<IpAddr>().is_ok();
        let name = name.to_ascii_lowercase();
        is_address
            || name == "localhost"
            || self.host_names.iter().any(|known| known.eq_ignore_ascii_case(&name))
    }

    /// Whether the browser says that the request is that of our own page, or of the user. Other programs say nothing.
    fn is_our_page(&self, headers: &HeaderMap, host: &str, is_api: bool) -> bool {
        if let Some(origin) = headers.get(header::ORIGIN) {
            let own = format!("{}://{host}", self.scheme);
            if !origin.to_str().is_ok_and(|origin| origin.eq_ignore_ascii_case(&own)) {
                return false;
            }
        }
        match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
            None | Some(b"same-origin" | b"none") => true,
            // A link from another site may lead to the page: it shows nothing without the token.
            Some(_) => {
                let mode = headers.get("sec-fetch-mode").map(HeaderValue::as_bytes);
                let dest = headers.get("sec-fetch-dest").map(HeaderValue::as_bytes);
                !is_api && mode == Some(b"navigate") && dest == Some(b"document")
            }
        }
    }
}

fn is_api(path: &str) -> bool {
    path.starts_with("/api/") || path == "/metrics"
}

/// Paths of the API that need no token: they tell nothing about the machine.
fn is_open(path: &str) -> bool {
    matches!(path, "/api/v1/session" | "/api/v1/login" | "/api/v1/openapi.json")
}
