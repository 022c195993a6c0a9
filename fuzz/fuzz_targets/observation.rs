//! Turns the input of a fuzzer into observations.

use model::{NameObservation, ObservedPayload, ProcessId};
use names::Domains;

/// Observes payloads that one process sent and received through one socket connected to `port`. The input is a sequence of
/// payloads, each after a byte whose highest bit means that it was received, and whose other bits are its length; 64 or more
/// mean the rest of the input.
pub fn observe(bytes: &[u8], protocol: u16, port: u16) {
    let mut domains = Domains::default();
    let mut rest = bytes;
    let mut time = 0;
    while let Some((head, after)) = rest.split_first() {
        let is_received = head & 0x80 != 0;
        let length = if head & 0x7f < 64 { usize::from(head & 0x7f) } else { after.len() };
        let (piece, after) = after.split_at(length.min(after.len()));
        rest = after;
        time += 1;
        let payload = if is_received {
            ObservedPayload::Received(piece.to_vec(), 0)
        } else {
            ObservedPayload::Sent(piece.to_vec(), 0)
        };
        domains.observe(&NameObservation {
            time,
            process: ProcessId::default(),
            network_namespace: 1,
            uid: 0,
            socket: 1,
            remote: Some([192, 0, 2, 1].into()),
            remote_port: port,
            protocol,
            payload,
        });
    }
}
