//! The host in the first request of an HTTP connection (RFC 9112, section 3.2).

use crate::{domain_name::normalize_domain, server_name::ServerName};
use model::DomainSource;

/// A request with more header lines than this names no host.
const MAX_HEADER_LINES: usize = 64;

/// Reads the host of a request, as far as the request was captured. A request in absolute form, and CONNECT, are for a proxy
/// and name no host here.
pub(crate) fn read_request(bytes: &[u8]) -> ServerName {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADER_LINES];
    let mut request = httparse::Request::new(&mut headers);
    let is_complete = match request.parse(bytes) {
        Ok(status) => status.is_complete(),
        Err(_) => return ServerName::Absent,
    };
    if request.method == Some("CONNECT") || request.path.is_some_and(|path| path.contains("://")) {
        return ServerName::Absent;
    }
    let host = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("host"));
    match host.and_then(|header| normalize_domain(without_port(header.value))) {
        Some(name) => ServerName::Found(name, DomainSource::Http),
        None if is_complete || host.is_some() => ServerName::Absent,
        None => ServerName::Incomplete,
    }
}

fn without_port(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|byte| *byte == b':') {
        Some(at) if host[at + 1..].iter().all(u8::is_ascii_digit) => &host[..at],
        _ => host,
    }
}
