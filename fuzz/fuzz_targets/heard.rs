//! What the kernel half would have heard.

use picosnitch::{
    capture::{Heard, Said},
    model::ProcessId,
    names::Domains,
};

/// Bytes that a process sent, or received, through a socket to `port`, in pieces: each begins with a byte that is its length.
pub fn hear(bytes: &[u8], protocol: u16, port: u16, received: bool) {
    let mut domains = Domains::default();
    let mut rest = bytes;
    let mut time = 0;
    while let Some((length, after)) = rest.split_first() {
        // Mostly large pieces.
        let length = if *length < 16 { usize::from(*length) } else { after.len() };
        let (piece, after) = after.split_at(length.min(after.len()));
        rest = after;
        time += 1;
        let said = if received { Said::Received(piece.to_vec(), 0) } else { Said::Sent(piece.to_vec(), 0) };
        domains.hear(&Heard {
            time,
            process: ProcessId::default(),
            network_namespace: 1,
            socket: 1,
            remote: Some([192, 0, 2, 1].into()),
            remote_port: port,
            protocol,
            said,
        });
    }
}
