//! The server name in the first message of a TLS connection (RFC 8446, section 4.1.2; RFC 6066, section 3).

use tls_parser::{
    SNIType, TlsExtension, parse_tls_client_hello_extensions, parse_tls_handshake_client_hello,
    parse_tls_record_header,
};

use super::{domain, greeting::Outcome};
use model::DomainSource;

/// The content type of handshake records (RFC 8446, section 5.1).
pub const HANDSHAKE: u8 = 22;
/// Bytes of the header of a record, and of a handshake message.
const RECORD_HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;
/// The type of the first message (RFC 8446, section 4).
const CLIENT_HELLO: u8 = 1;

/// Reads the records with which a connection begins.
pub fn read(mut records: &[u8]) -> Outcome {
    // The message may be spread over records, and records over sends.
    let mut message = Vec::new();
    loop {
        match records.first() {
            Some(&HANDSHAKE) => {}
            Some(_) => return Outcome::Nothing,
            None => return Outcome::More,
        }
        let Ok((_, header)) = parse_tls_record_header(records) else { return Outcome::More };
        let end = RECORD_HEADER + usize::from(header.len);
        message.extend_from_slice(records.get(RECORD_HEADER..end.min(records.len())).unwrap_or_default());
        match client_hello(&message, DomainSource::Tls) {
            Outcome::More if end <= records.len() => records = &records[end..],
            outcome => return outcome,
        }
    }
}

/// Reads the message itself, as far as it is there.
pub fn client_hello(message: &[u8], source: DomainSource) -> Outcome {
    let Some((header, rest)) = message.split_first_chunk::<MESSAGE_HEADER>() else { return Outcome::More };
    if header[0] != CLIENT_HELLO {
        return Outcome::Nothing;
    }
    let length = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
    if rest.len() < length {
        return Outcome::More;
    }
    let Ok((_, hello)) = parse_tls_handshake_client_hello(&rest[..length]) else {
        return Outcome::Nothing;
    };
    let Ok((_, extensions)) = parse_tls_client_hello_extensions(hello.ext.unwrap_or_default()) else {
        return Outcome::Nothing;
    };
    let names = extensions.iter().filter_map(|extension| match extension {
        TlsExtension::SNI(names) => Some(names),
        _ => None,
    });
    let host = names.flatten().find(|(kind, _)| *kind == SNIType::HostName);
    match host.and_then(|(_, name)| domain(name)) {
        Some(name) => Outcome::Named(name, source),
        None => Outcome::Nothing,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A message that names `host`, with so many bytes of another extension before it.
    pub fn message(host: &str, padding: usize) -> Vec<u8> {
        let mut extensions = Vec::new();
        let mut extension = |kind: u16, content: &[u8]| {
            extensions.extend(kind.to_be_bytes());
            extensions.extend((content.len() as u16).to_be_bytes());
            extensions.extend(content);
        };
        extension(21, &vec![0; padding]); // RFC 7685
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
            let mut record = vec![HANDSHAKE, 3, 1];
            record.extend((piece.len() as u16).to_be_bytes());
            record.extend(piece);
            record
        };
        message.chunks(size).flat_map(record).collect()
    }

    fn named(host: &str) -> Outcome {
        Outcome::Named(host.into(), DomainSource::Tls)
    }

    #[test]
    fn the_server_name_is_found_however_it_is_cut() {
        let message = message("Www.Example.com", 1500);
        for size in [1, 100, 16_384] {
            let records = records(&message, size);
            assert_eq!(read(&records), named("www.example.com"), "records of {size}");
            for length in 0..records.len() {
                assert_eq!(read(&records[..length]), Outcome::More, "{length} bytes of records of {size}");
            }
        }
    }

    #[test]
    fn what_names_nobody_is_nothing() {
        for host in ["192.0.2.1", "", "a b", "x\u{1b}[2J"] {
            assert_eq!(read(&records(&message(host, 0), 16_384)), Outcome::Nothing, "{host:?}");
        }
        assert_eq!(read(&[HANDSHAKE, 3, 3, 0, 4, 2, 0, 0, 0]), Outcome::Nothing, "a server's message");
        assert_eq!(read(b"GET / HTTP/1.1"), Outcome::Nothing);
        let mut cut = message("example.com", 0);
        cut.truncate(60);
        cut[1..4].copy_from_slice(&[0, 0, 56]);
        assert_eq!(read(&records(&cut, 16_384)), Outcome::Nothing);
    }
}
