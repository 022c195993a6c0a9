//! The server name in the ClientHello of a TLS connection (RFC 8446, section 4.1.2; RFC 6066, section 3).

use tls_parser::{
    SNIType, TlsExtension, parse_tls_client_hello_extensions, parse_tls_handshake_client_hello,
    parse_tls_record_header,
};

use crate::{domain_name::normalize_domain, server_name::ServerName};
use model::DomainSource;

/// The content type of handshake records (RFC 8446, section 5.1).
pub(crate) const CONTENT_TYPE_HANDSHAKE: u8 = 22;
/// Length of the header of a record.
const RECORD_HEADER_BYTES: usize = 5;
/// Length of the header of a handshake message.
const MESSAGE_HEADER_BYTES: usize = 4;
/// The type of a ClientHello message (RFC 8446, section 4).
const CLIENT_HELLO: u8 = 1;

/// Reads the records with which a stream begins, as far as they were captured.
pub(crate) fn read_records(mut records: &[u8]) -> ServerName {
    // A message may be spread over several records, and a record over several sends.
    let mut message = Vec::new();
    loop {
        match records.first() {
            Some(&CONTENT_TYPE_HANDSHAKE) => {}
            Some(_) => return ServerName::Absent,
            None => return ServerName::Incomplete,
        }
        let Ok((_, header)) = parse_tls_record_header(records) else { return ServerName::Incomplete };
        let end = RECORD_HEADER_BYTES + usize::from(header.len);
        message
            .extend_from_slice(records.get(RECORD_HEADER_BYTES..end.min(records.len())).unwrap_or_default());
        match read_client_hello(&message, DomainSource::Tls) {
            ServerName::Incomplete if end <= records.len() => records = &records[end..],
            server_name => return server_name,
        }
    }
}

/// Reads a ClientHello message, as far as it was captured. `source` is stored with the name.
pub(crate) fn read_client_hello(message: &[u8], source: DomainSource) -> ServerName {
    let Some((header, rest)) = message.split_first_chunk::<MESSAGE_HEADER_BYTES>() else {
        return ServerName::Incomplete;
    };
    if header[0] != CLIENT_HELLO {
        return ServerName::Absent;
    }
    let length = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
    if rest.len() < length {
        return ServerName::Incomplete;
    }
    let Ok((_, hello)) = parse_tls_handshake_client_hello(&rest[..length]) else {
        return ServerName::Absent;
    };
    let Ok((_, extensions)) = parse_tls_client_hello_extensions(hello.ext.unwrap_or_default()) else {
        return ServerName::Absent;
    };
    let names = extensions.iter().filter_map(|extension| match extension {
        TlsExtension::SNI(names) => Some(names),
        _ => None,
    });
    let host = names.flatten().find(|(kind, _)| *kind == SNIType::HostName);
    match host.and_then(|(_, name)| normalize_domain(name)) {
        Some(name) => ServerName::Found(name, source),
        None => ServerName::Absent,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Makes a ClientHello that names `host`, after a padding extension of so many bytes.
    pub fn client_hello(host: &str, padding: usize) -> Vec<u8> {
        let mut extensions = Vec::new();
        let mut extension = |kind: u16, content: &[u8]| {
            extensions.extend(kind.to_be_bytes());
            extensions.extend((content.len() as u16).to_be_bytes());
            extensions.extend(content);
        };
        extension(21, &vec![0; padding]); // padding: RFC 7685
        let host = host.as_bytes();
        let mut name = ((host.len() + 3) as u16).to_be_bytes().to_vec();
        name.push(0);
        name.extend((host.len() as u16).to_be_bytes());
        name.extend(host);
        extension(0, &name);
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        let mut message = vec![CLIENT_HELLO];
        message.extend(&(body.len() as u32).to_be_bytes()[1..]);
        message.extend(body);
        message
    }

    fn records(message: &[u8], size: usize) -> Vec<u8> {
        let record = |piece: &[u8]| {
            let mut record = vec![CONTENT_TYPE_HANDSHAKE, 3, 1];
            record.extend((piece.len() as u16).to_be_bytes());
            record.extend(piece);
            record
        };
        message.chunks(size).flat_map(record).collect()
    }

    fn found(host: &str) -> ServerName {
        ServerName::Found(host.into(), DomainSource::Tls)
    }

    #[test]
    fn the_server_name_is_found_in_records_of_any_size() {
        let message = client_hello("Www.Example.com", 1500);
        for size in [1, 100, 16_384] {
            let records = records(&message, size);
            assert_eq!(read_records(&records), found("www.example.com"), "records of {size}");
            for length in 0..records.len() {
                assert_eq!(
                    read_records(&records[..length]),
                    ServerName::Incomplete,
                    "{length} bytes of records of {size}"
                );
            }
        }
    }

    #[test]
    fn a_handshake_without_a_valid_name_names_no_server() {
        for host in ["192.0.2.1", "", "a b", "x\u{1b}[2J"] {
            assert_eq!(
                read_records(&records(&client_hello(host, 0), 16_384)),
                ServerName::Absent,
                "{host:?}"
            );
        }
        assert_eq!(
            read_records(&[CONTENT_TYPE_HANDSHAKE, 3, 3, 0, 4, 2, 0, 0, 0]),
            ServerName::Absent,
            "a ServerHello"
        );
        assert_eq!(read_records(b"GET / HTTP/1.1"), ServerName::Absent);
        let mut cut = client_hello("example.com", 0);
        cut.truncate(60);
        cut[1..4].copy_from_slice(&[0, 0, 56]);
        assert_eq!(read_records(&records(&cut, 16_384)), ServerName::Absent);
    }
}
