//! What systemd-resolved finds out for anybody on the machine: its varlink interface io.systemd.Resolve.Monitor. Answers that
//! it got encrypted, or that programs got by D-Bus, are heard nowhere else.

use std::net::IpAddr;

use serde_json::Value;

use super::domain;
use model::Bytes;

/// Where it listens; only root may connect.
pub const SOCKET: &str = "/run/systemd/resolve/io.systemd.Resolve.Monitor";
/// Asks for all answers from now on. A message ends with a zero byte (varlink.org).
pub const SUBSCRIBE: &[u8] =
    b"{\"method\":\"io.systemd.Resolve.Monitor.SubscribeQueryResults\",\"more\":true}\0";
/// Bytes of one message at most; a longer one is skipped.
const MAX_BYTES: usize = 256 * 1024;
/// Addresses taken from one answer.
const MAX_ADDRESSES: usize = 64;

/// An answer: the name that was asked for, and its addresses.
pub type Answer = (Bytes, Vec<IpAddr>);

/// The stream of answers.
#[derive(Debug, Default)]
pub struct Answers {
    buffer: Vec<u8>,
    /// The message is too long: the rest of it is skipped.
    skips: bool,
}

impl Answers {
    /// The next bytes of the stream. Returns the answers that are complete.
    pub fn add(&mut self, bytes: &[u8]) -> Vec<Answer> {
        let mut answers = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == 0) {
            let (piece, ends) = match piece.split_last() {
                Some((0, piece)) => (piece, true),
                _ => (piece, false),
            };
            self.skips |= self.buffer.len() + piece.len() > MAX_BYTES;
            if self.skips {
                self.buffer = Vec::new();
            } else {
                self.buffer.extend_from_slice(piece);
            }
            if ends {
                answers.extend(serde_json::from_slice(&self.buffer).ok().and_then(|message| read(&message)));
                self.buffer.clear();
                self.skips = false;
            }
        }
        answers
    }
}

fn read(message: &Value) -> Option<Answer> {
    let result = message.get("parameters")?;
    let name = domain(result.get("question")?.get(0)?.get("name")?.as_str()?.as_bytes())?;
    let records = result.get("answer")?.as_array()?.iter();
    let addresses: Vec<IpAddr> = records.filter_map(address).take(MAX_ADDRESSES).collect();
    (!addresses.is_empty()).then_some((name, addresses))
}

/// The address of a record of type A or AAAA: an array of its bytes.
fn address(record: &Value) -> Option<IpAddr> {
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
    fn answers_are_read_however_the_stream_is_cut() {
        let stream = concat!(
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
        let expected = (b"a.example".to_vec(), vec!["192.0.2.1".parse().unwrap(), "1::9".parse().unwrap()]);
        for size in [1, 10, 10_000] {
            let mut answers = Answers::default();
            let found: Vec<_> = stream.as_bytes().chunks(size).flat_map(|piece| answers.add(piece)).collect();
            assert_eq!(found, std::slice::from_ref(&expected), "pieces of {size}");
        }
    }

    #[test]
    fn a_message_without_end_takes_no_memory() {
        let mut answers = Answers::default();
        for _ in 0..1000 {
            answers.add(&[b'['; 4096]);
        }
        assert!(answers.buffer.is_empty());
        let next = br#"{"parameters":{"question":[{"name":"a.example"}],"answer":[{"rr":{"address":[192,0,2,1]}}]}}"#;
        assert!(answers.add(b"\0").is_empty());
        assert_eq!(answers.add(next).len() + answers.add(b"\0").len(), 1);
    }
}
