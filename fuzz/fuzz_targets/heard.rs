//! What the kernel half would have heard.

use model::{NameObservation, ProcessId, ObservedPayload};
use names::Domains;

/// Bytes that a process sent and received through a socket to `port`, in pieces: each begins with a byte that tells its
/// length, and, with its highest bit, that it was received.
pub fn hear(bytes: &[u8], protocol: u16, port: u16) {
    let mut domains = Domains::default();
    let mut rest = bytes;
    let mut time = 0;
    while let Some((length, after)) = rest.split_first() {
        let received = length & 0x80 != 0;
        // Mostly the whole rest.
        let length = if length & 0x7f < 64 { usize::from(length & 0x7f) } else { after.len() };
        let (piece, after) = after.split_at(length.min(after.len()));
        rest = after;
        time += 1;
        let said = if received { ObservedPayload::Received(piece.to_vec(), 0) } else { ObservedPayload::Sent(piece.to_vec(), 0) };
        domains.hear(&NameObservation {
            time,
            process: ProcessId::default(),
            network_namespace: 1,
            uid: 0,
            socket: 1,
            remote: Some([192, 0, 2, 1].into()),
            remote_port: port,
            protocol,
            said,
        });
    }
}
