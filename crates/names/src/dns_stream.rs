//! DNS messages in a TCP stream: each follows two bytes that hold its length (RFC 1035, section 4.2.2).

/// The longest message that is buffered; a longer one is skipped.
const MAX_MESSAGE_BYTES: usize = 16 * 1024;

/// One direction of a stream between a process and a name server.
#[derive(Debug, Default)]
pub(crate) struct DnsStream {
    buffer: Vec<u8>,
    /// Bytes still to come of a message that is too long.
    skip: usize,
    /// The beginning of the next message cannot be found, because bytes before it were not captured.
    is_desynchronized: bool,
}

impl DnsStream {
    /// Adds the next captured bytes of the stream, and the number of bytes after them that were not captured. Returns the
    /// messages that are complete.
    pub(crate) fn add(&mut self, bytes: &[u8], uncaptured: usize) -> Vec<Vec<u8>> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        self.buffer.extend_from_slice(&bytes[skipped..]);
        let mut messages = Vec::new();
        while !self.is_desynchronized
            && let Some((length, rest)) = self.buffer.split_first_chunk::<2>()
        {
            let length = usize::from(u16::from_be_bytes(*length));
            if let Some(message) = rest.get(..length) {
                messages.push(message.to_vec());
                self.buffer.drain(..2 + length);
            } else if length > MAX_MESSAGE_BYTES {
                self.skip = length - rest.len();
                self.buffer.clear();
            } else {
                break;
            }
        }
        // A gap does no harm only if all of its bytes would have been skipped.
        if uncaptured > 0 && (self.skip < uncaptured || !self.buffer.is_empty()) {
            self.is_desynchronized = true;
        }
        self.skip = self.skip.saturating_sub(uncaptured);
        if self.is_desynchronized {
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
    fn messages_are_complete_for_any_size_of_pieces() {
        let bytes = framed(&[b"one", b"", &[7; 300], b"four"]);
        for size in [1, 2, 3, 7, 1000] {
            let mut stream = DnsStream::default();
            let messages: Vec<_> = bytes.chunks(size).flat_map(|piece| stream.add(piece, 0)).collect();
            assert_eq!(
                messages,
                [b"one".to_vec(), vec![], vec![7; 300], b"four".to_vec()],
                "pieces of {size}"
            );
        }
    }

    #[test]
    fn a_message_that_is_too_long_is_skipped() {
        let bytes = framed(&[&[1; 20_000], b"next"]);
        let mut stream = DnsStream::default();
        let messages: Vec<_> = bytes.chunks(999).flat_map(|piece| stream.add(piece, 0)).collect();
        assert_eq!(messages, [b"next".to_vec()]);
        // A gap within the skipped message does no harm.
        let mut stream = DnsStream::default();
        assert!(stream.add(&bytes[..4000], 16_002).is_empty());
        assert_eq!(stream.add(&bytes[20_002..], 0), [b"next".to_vec()]);
    }

    #[test]
    fn no_message_is_read_after_a_gap() {
        let mut stream = DnsStream::default();
        assert_eq!(stream.add(&framed(&[b"one"]), 10), [b"one".to_vec()]);
        assert!(stream.add(&framed(&[b"two"]), 0).is_empty());
    }
}
