//! Messages of name servers out of a TCP stream: each comes after two bytes that say its length (RFC 1035, section 4.2.2).

/// Bytes of one message that are waited for; of a longer one the rest is skipped.
const MAX_BYTES: usize = 16 * 1024;

/// One direction of a stream.
#[derive(Debug, Default)]
pub struct Framing {
    buffer: Vec<u8>,
    /// Bytes of a message that is too long, still to come.
    skip: usize,
    broken: bool,
}

impl Framing {
    /// The next bytes of the stream, and so many after them that are not known. Returns the messages that are complete.
    pub fn add(&mut self, bytes: &[u8], left_out: usize) -> Vec<Vec<u8>> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        self.buffer.extend_from_slice(&bytes[skipped..]);
        let mut messages = Vec::new();
        while !self.broken
            && let Some((length, rest)) = self.buffer.split_first_chunk::<2>()
        {
            let length = usize::from(u16::from_be_bytes(*length));
            if let Some(message) = rest.get(..length) {
                messages.push(message.to_vec());
                self.buffer.drain(..2 + length);
            } else if length > MAX_BYTES {
                self.skip = length - rest.len();
                self.buffer.clear();
            } else {
                break;
            }
        }
        // Where the next message begins is not known any more, unless all that is missing was to be skipped.
        if left_out > 0 && (self.skip < left_out || !self.buffer.is_empty()) {
            self.broken = true;
        }
        self.skip = self.skip.saturating_sub(left_out);
        if self.broken {
            self.buffer = Vec::new();
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(messages: &[&[u8]]) -> Vec<u8> {
        let frame = |message: &&[u8]| [&(message.len() as u16).to_be_bytes()[..], message].concat();
        messages.iter().flat_map(frame).collect()
    }

    #[test]
    fn messages_come_out_however_the_stream_is_cut() {
        let stream = framed(&[b"one", b"", &[7; 300], b"four"]);
        for size in [1, 2, 3, 7, 1000] {
            let mut framing = Framing::default();
            let messages: Vec<_> = stream.chunks(size).flat_map(|piece| framing.add(piece, 0)).collect();
            assert_eq!(
                messages,
                [b"one".to_vec(), vec![], vec![7; 300], b"four".to_vec()],
                "pieces of {size}"
            );
        }
    }

    #[test]
    fn what_is_too_long_is_skipped() {
        let stream = framed(&[&[1; 20_000], b"next"]);
        let mut framing = Framing::default();
        let messages: Vec<_> = stream.chunks(999).flat_map(|piece| framing.add(piece, 0)).collect();
        assert_eq!(messages, [b"next".to_vec()]);
        // Bytes that are missing from it do no harm.
        let mut framing = Framing::default();
        assert!(framing.add(&stream[..4000], 16_002).is_empty());
        assert_eq!(framing.add(&stream[20_002..], 0), [b"next".to_vec()]);
    }

    #[test]
    fn after_a_gap_nothing_is_believed() {
        let mut framing = Framing::default();
        assert_eq!(framing.add(&framed(&[b"one"]), 10), [b"one".to_vec()]);
        assert!(framing.add(&framed(&[b"two"]), 0).is_empty());
    }
}
