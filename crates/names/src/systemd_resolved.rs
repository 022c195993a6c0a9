//! Answers of systemd-resolved to any program, from its varlink interface io.systemd.Resolve.Monitor. This is the only source
//! for answers that it received encrypted, or that it gave to programs through D-Bus.

use std::net::IpAddr;

use serde_json::Value;

use crate::domain_name::normalize_domain;
use model::Bytes;

/// The socket on which systemd-resolved listens. Only root may connect.
pub const SOCKET: &str = "/run/systemd/resolve/io.systemd.Resolve.Monitor";
/// The request for all answers from now on. A message ends with a zero byte (varlink.org).
pub const SUBSCRIBE: &[u8] =
    b"{\"method\":\"io.systemd.Resolve.Monitor.SubscribeQueryResults\",\"more\":true}\0";
/// The longest message that is buffered; a longer one is skipped.
const MAX_MESSAGE_BYTES: usize = 256 * 1024;
/// Number of addresses taken from one answer.
const MAX_ADDRESSES: usize = 64;

/// One successful answer of systemd-resolved to a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedAnswer {
    /// The name in the question.
    pub name: Bytes,
    /// Its addresses, at least one.
    pub addresses: Vec<IpAddr>,
}

/// A parser for the stream of answers.
#[derive(Debug, Default)]
pub struct ResolvedStream {
    buffer: Vec<u8>,
    /// The current message is too long, and the rest of it is skipped.
    is_skipping: bool,
}

impl ResolvedStream {
    /// Adds the next bytes of the stream. Returns the answers that are complete.
    pub fn add(&mut self, bytes: &[u8]) -> Vec<ResolvedAnswer> {
        let mut answers = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == 0) {
            let (piece, is_last) = match piece.split_last() {
                Some((0, piece)) => (piece, true),
                _ => (piece, false),
            };
            self.is_skipping |= self.buffer.len() + piece.len() > MAX_MESSAGE_BYTES;
            if self.is_skipping {
                self.buffer = Vec::new();
            } else {
                self.buffer.extend_from_slice(piece);
            }
            if is_last {
                answers.extend(
                    serde_json::from_slice(&self.buffer).ok().and_then(|message| read_message(&message)),
                );
                self.buffer.clear();
                self.is_skipping = false;
            }
        }
        answers
    }
}

fn read_message(message: &Value) -> Option<ResolvedAnswer> {
    let result = message.get("parameters")?;
    let name = normalize_domain(result.get("question")?.get(0)?.get("name")?.as_str()?.as_bytes())?;
    let records = result.get("answer")?.as_array()?.iter();
    let addresses: Vec<IpAddr> = records.filter_map(read_address).take(MAX_ADDRESSES).collect();
    (!addresses.is_empty()).then_some(ResolvedAnswer { name, addresses })
}

/// Reads the address of a record of type A or AAAA, which is an array of its bytes.
fn read_address(record: &Value) -> Option<IpAddr> {
    let bytes = record.get("rr")?.get("address")?.as_array()?;
    let bytes: Vec<u8> = bytes
        .iter()
        .map(|byte| byte.as_u64().and_then(|byte| byte.try_into().ok()))
        .collect::<Option<_>>()?;
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_complete_for_any_size_of_pieces() {
        let bytes = concat!(
            r#"{"parameters":{"ready":true},"continues":true}"#,
            "\0",
            r#"{"parameters":{"state":"success","question":[{"class":1,"type":1,"name":"A.Example"}],"answer":["#,
            r#"{"rr":{"key":{"class":1,"type":5,"name":"a.example"},"name":"b.example"},"raw":"AQ==","ifindex":2},"#,
            r#"{"rr":{"key":{"class":1,"type":1,"name":"b.example"},"address":[192,0,2,1]},"raw":"AQ==","ifindex":2},"#,
            r#"{"rr":{"key":{"class":1,"type":28,"name":"b.example"},"address":[0,1,0,0,0,0,0,0,0,0,0,0,0,0,0,9]}}]}}"#,
            "\0",
            r#"{"parameters":{"state":"rcode-failure","rcode":3,"question":[{"class":1,"type":1,"name":"no.example"}]}}"#,
            "\0not JSON\0\0",
            r#"{"parameters":{"question":[{"name":"c.example"}],"answer":[{"rr":{"address":[1,2,3]}},{"rr":{"address":[1,2,3,400]}}]}}"#,
            "\0"
        );
        let expected = ResolvedAnswer {
            name: b"a.example".to_vec(),
            addresses: vec!["192.0.2.1".parse().unwrap(), "1::9".parse().unwrap()],
        };
        for size in [1, 10, 10_000] {
            let mut stream = ResolvedStream::default();
            let found: Vec<_> = bytes.as_bytes().chunks(size).flat_map(|piece| stream.add(piece)).collect();
            assert_eq!(found, std::slice::from_ref(&expected), "pieces of {size}");
        }
    }

    #[test]
    fn an_endless_message_takes_no_memory() {
        let mut stream = ResolvedStream::default();
        for _ in 0..1000 {
            stream.add(&[b'['; 4096]);
        }
        assert!(stream.buffer.is_empty());
        let next = br#"{"parameters":{"question":[{"name":"a.example"}],"answer":[{"rr":{"address":[192,0,2,1]}}]}}"#;
        assert!(stream.add(b"\0").is_empty());
        assert_eq!(stream.add(next).len() + stream.add(b"\0").len(), 1);
    }
}
