//! The connections that are open, for the live view: the flow table has those that moved something, and the socket
//! iterator shows the rest. Nothing is kept for it.

use std::collections::HashSet;

use crate::{
    abi::types,
    capture::Capture,
    error::CaptureError,
    event::OpenSocket,
    flow::{FlowDelta, FlowEntry},
    reconciler::{Endpoints, socket_tuple},
};
use model::{Counters, FlowId};

/// States of sockets, include/net/tcp_states.h.
const ESTABLISHED: u8 = types::tcp_state::TCP_ESTABLISHED.0 as u8;
const CLOSE: u8 = types::tcp_state::TCP_CLOSE.0 as u8;
const LISTEN: u8 = types::tcp_state::TCP_LISTEN.0 as u8;

/// All connections that are open.
#[derive(Debug, Default)]
pub struct OpenFlows {
    /// Flows that have moved something, with everything that was recorded of them so far.
    pub flows: Vec<FlowDelta>,
    /// Sockets that have moved nothing: idle connections, and listening sockets (without a remote port).
    pub idle: Vec<FlowDelta>,
}

impl Capture {
    /// The open connections as of the last drain. Each call reads the flow table and all open sockets.
    ///
    /// # Errors
    /// When the flow table or the iterator cannot be read.
    pub fn open_flows(&mut self) -> Result<OpenFlows, CaptureError> {
        let sockets = self.open_sockets()?;
        let entries = self.drain.table.read()?;
        let samples: Vec<_> = sockets.iter().map(|open| open.socket).collect();
        let endpoints = Endpoints::new(&entries, &samples, &self.datagram_remotes(&entries));
        let flows = self.drain.reconciler.recorded_flows(&entries, &endpoints);
        Ok(OpenFlows { flows, idle: idle_sockets(&sockets, &entries) })
    }
}

/// The sockets without an entry in the flow table that are worth showing.
fn idle_sockets(sockets: &[OpenSocket], entries: &[FlowEntry]) -> Vec<FlowDelta> {
    let busy: HashSet<u64> = entries.iter().map(|entry| entry.key.socket).collect();
    let mut held = HashSet::new();
    let mut idle = Vec::new();
    for open in sockets {
        // If several processes hold a connection, the first one is taken: nothing shows which one will use it.
        let is_idle_connection = open.state == ESTABLISHED
            && i32::from(open.protocol) == libc::IPPROTO_TCP
            && !busy.contains(&open.socket.socket)
            && held.insert(open.socket.socket);
        if is_listening(open) || is_idle_connection {
            idle.push(FlowDelta {
                id: FlowId {
                    process: open.socket.process,
                    socket: open.socket.socket,
                    network_namespace: open.network_namespace,
                    uid: open.uid,
                    ..FlowId::default()
                },
                cgroup: open.cgroup,
                tuple: socket_tuple(open),
                counters: Counters::default(),
            });
        }
    }
    idle
}

/// Whether the program waits for peers: a TCP socket that listens, or an unconnected datagram socket that is bound to a
/// port of the program's choice.
fn is_listening(open: &OpenSocket) -> bool {
    let is_datagram = [libc::IPPROTO_UDP, libc::IPPROTO_UDPLITE].contains(&open.protocol.into());
    open.socket.local.1 != 0
        && ((open.state == LISTEN && !is_datagram)
            || (is_datagram && open.state == CLOSE && open.bound && open.peer.1 == 0))
}
