//! What a program says first through a connection that it opened, as far as it names the other end: TLS, QUIC, HTTP.

use super::{domain, quic::Initials, tls};
use model::{Bytes, DomainSource};

/// Bytes of a greeting that are waited for.
const MAX_BYTES: usize = 16 * 1024;
/// Header lines of an HTTP request.
const MAX_LINES: usize = 64;

/// What is known of a greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It names the other end.
    Named(Bytes, DomainSource),
    /// More of it has to come.
    More,
    /// It does not.
    Nothing,
}

/// A greeting that comes in pieces.
#[derive(Debug, Default)]
pub struct Greeting {
    bytes: Vec<u8>,
    initials: Initials,
}

impl Greeting {
    /// The next piece of a stream.
    pub fn add(&mut self, bytes: &[u8]) -> Outcome {
        if self.bytes.len() + bytes.len() > MAX_BYTES {
            return Outcome::Nothing;
        }
        self.bytes.extend_from_slice(bytes);
        if self.bytes.first() == Some(&tls::HANDSHAKE) { tls::read(&self.bytes) } else { http(&self.bytes) }
    }

    /// The next datagram, or several in a row (UDP_SEGMENT, udp(7)).
    pub fn add_datagram(&mut self, bytes: &[u8]) -> Outcome {
        self.initials.add(bytes)
    }
}

/// The host of an HTTP request (RFC 9112, section 3.2). A request in absolute form, and CONNECT, speak to a proxy.
fn http(bytes: &[u8]) -> Outcome {
    let mut lines = [httparse::EMPTY_HEADER; MAX_LINES];
    let mut request = httparse::Request::new(&mut lines);
    let ended = match request.parse(bytes) {
        Ok(status) => status.is_complete(),
        Err(_) => return Outcome::Nothing,
    };
    if request.method == Some("CONNECT") || request.path.is_some_and(|path| path.contains("://")) {
        return Outcome::Nothing;
    }
    let host = request.headers.iter().find(|line| line.name.eq_ignore_ascii_case("host"));
    match host.and_then(|line| domain(without_port(line.value))) {
        Some(name) => Outcome::Named(name, DomainSource::Http),
        None if ended || host.is_some() => Outcome::Nothing,
        None => Outcome::More,
    }
}

fn without_port(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|byte| *byte == b':') {
        Some(at) if host[at + 1..].iter().all(u8::is_ascii_digit) => &host[..at],
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(outcome: Outcome) -> Option<String> {
        match outcome {
            Outcome::Named(name, DomainSource::Http) => Some(String::from_utf8(name).unwrap()),
            _ => None,
        }
    }

    #[test]
    fn a_request_names_its_host() {
        for (request, host) in [
            ("GET / HTTP/1.1\r\nHost: Example.com\r\n\r\n", Some("example.com")),
            ("GET / HTTP/1.1\r\nA: b\r\nhost:example.com:80\r\n", Some("example.com")),
            ("GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", None),
            ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", None),
            ("GET / HTTP/1.0\r\n\r\n", None),
            ("GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n", None),
            ("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n", None),
            ("EHLO example.com\r\n", None),
            ("GET / HTTP/1.1\r\nHost: a\u{1b}[31mb\r\n\r\n", None),
            ("", None),
        ] {
            assert_eq!(named(Greeting::default().add(request.as_bytes())).as_deref(), host, "{request:?}");
        }
    }

    #[test]
    fn a_request_in_pieces_names_its_host() {
        let mut greeting = Greeting::default();
        let request = b"GET /a HTTP/1.1\r\nUser-Agent: x\r\nHost: www.example.com\r\n\r\n";
        let mut outcomes = request.chunks(5).map(|piece| greeting.add(piece));
        assert_eq!(outcomes.find_map(named).as_deref(), Some("www.example.com"));
    }

    #[test]
    fn a_greeting_without_end_is_given_up() {
        let mut greeting = Greeting::default();
        greeting.add(b"GET / HTTP/1.1\r\nX: ");
        let outcomes = (0..20).map(|_| greeting.add(&[b'x'; 1024]));
        assert!(outcomes.into_iter().any(|outcome| outcome == Outcome::Nothing));
    }
}
