//! The first bytes that a program sends through a connection that it opened, as far as they name the server: TLS, QUIC, HTTP.

use crate::{http, quic::InitialPackets, server_name::ServerName, tls};

/// The longest handshake of a stream that is buffered; a longer one names no server.
const MAX_BYTES: usize = 16 * 1024;

/// A handshake that is captured in pieces.
#[derive(Debug, Default)]
pub(crate) struct Handshake {
    stream: Vec<u8>,
    initial_packets: InitialPackets,
}

impl Handshake {
    /// Adds the next bytes of a stream.
    pub(crate) fn add_stream_bytes(&mut self, bytes: &[u8]) -> ServerName {
        if self.stream.len() + bytes.len() > MAX_BYTES {
            return ServerName::Absent;
        }
        self.stream.extend_from_slice(bytes);
        if self.stream.first() == Some(&tls::CONTENT_TYPE_HANDSHAKE) {
            tls::read_records(&self.stream)
        } else {
            http::read_request(&self.stream)
        }
    }

    /// Adds the next datagram, or several in a row (UDP_SEGMENT, udp(7)).
    pub(crate) fn add_datagrams(&mut self, bytes: &[u8]) -> ServerName {
        self.initial_packets.add(bytes)
    }
}

#[cfg(test)]
mod tests {
    use model::DomainSource;

    use super::*;

    fn http_host(server_name: ServerName) -> Option<String> {
        match server_name {
            ServerName::Found(name, DomainSource::Http) => Some(String::from_utf8(name).unwrap()),
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
            let server_name = Handshake::default().add_stream_bytes(request.as_bytes());
            assert_eq!(http_host(server_name).as_deref(), host, "{request:?}");
        }
    }

    #[test]
    fn a_request_in_pieces_names_its_host() {
        let mut handshake = Handshake::default();
        let request = b"GET /a HTTP/1.1\r\nUser-Agent: x\r\nHost: www.example.com\r\n\r\n";
        let mut server_names = request.chunks(5).map(|piece| handshake.add_stream_bytes(piece));
        assert_eq!(server_names.find_map(http_host).as_deref(), Some("www.example.com"));
    }

    #[test]
    fn an_endless_handshake_names_no_server() {
        let mut handshake = Handshake::default();
        handshake.add_stream_bytes(b"GET / HTTP/1.1\r\nX: ");
        let server_names = (0..20).map(|_| handshake.add_stream_bytes(&[b'x'; 1024]));
        assert!(server_names.into_iter().any(|server_name| server_name == ServerName::Absent));
    }
}
