//! What is open, for who wants to see it live: the flow table has it already, and sockets that never moved a byte say
//! it themselves. Nothing is kept for this.

use std::collections::HashSet;

use super::{
    Capture, CaptureError,
    drain::FlowDelta,
    event::OpenSocket,
    known::{flow_id, flow_tuple, socket_tuple},
};
use model::{Counters, FlowId};

/// States of sockets, include/net/tcp_states.h.
const ESTABLISHED: u8 = 1;
const CLOSE: u8 = 7;
const LISTEN: u8 = 10;

/// All connections that are open.
#[derive(Debug, Default)]
pub struct Open {
    /// Those that have moved something, with all that was told of them so far: the next drain goes on from there.
    pub flows: Vec<FlowDelta>,
    /// Sockets that have moved nothing: connections that wait, and where programs listen (no remote port).
    pub quiet: Vec<FlowDelta>,
}

impl Capture {
    /// What is open, as of the last drain. To be asked for seldom: it reads the flow table and all open sockets.
    ///
    /// # Errors
    /// When the flow table or the iterator cannot be read.
    pub fn open(&mut self) -> Result<Open, CaptureError> {
        let sockets = self.open_sockets()?;
        let entries = self.read_table()?;
        let events: Vec<_> = sockets.iter().map(|open| open.socket).collect();
        let known = self.known_of_sockets(&entries, &events);
        let busy: HashSet<u64> = entries.iter().map(|entry| entry.key.socket).collect();
        let mut open = Open::default();
        let mut charged = HashSet::new();
        for entry in &entries {
            // What was not told yet comes with the next drain.
            let Some(seen) = self.drain.seen.get(&entry.key) else { continue };
            let (key, flow) = (&entry.key, &entry.flow);
            let more = self.drain.sockets.charged(key.socket, key.process);
            let more = if flow.stream != 0 && more > 0 && charged.insert(key.socket) { more } else { 0 };
            open.flows.push(FlowDelta {
                id: flow_id(entry, false),
                cgroup: flow.cgroup,
                tuple: flow_tuple(entry, &known),
                counters: Counters { connections: 0, sent: seen.sent, received: seen.received + more },
            });
        }
        let mut held = HashSet::new();
        for socket in sockets {
            let listens = listens(&socket);
            // Of several processes that hold a connection the first one is taken: which of them will use it is not known.
            let waits = socket.state == ESTABLISHED
                && i32::from(socket.protocol) == libc::IPPROTO_TCP
                && !busy.contains(&socket.socket.socket)
                && held.insert(socket.socket.socket);
            if listens || waits {
                open.quiet.push(FlowDelta {
                    id: FlowId {
                        process: socket.socket.process,
                        socket: socket.socket.socket,
                        network_namespace: socket.network_namespace,
                        uid: socket.uid,
                        ..FlowId::default()
                    },
                    cgroup: socket.cgroup,
                    tuple: socket_tuple(&socket),
                    counters: Counters::default(),
                });
            }
        }
        Ok(open)
    }
}

/// Whether the program waits for others here: TCP that listens, and datagram sockets that are bound to a port of the
/// program's choice and talk to nobody in particular.
fn listens(open: &OpenSocket) -> bool {
    let datagrams = [libc::IPPROTO_UDP, libc::IPPROTO_UDPLITE].contains(&open.protocol.into());
    open.socket.local.1 != 0
        && ((open.state == LISTEN && !datagrams)
            || (datagrams && open.state == CLOSE && open.bound && open.peer.1 == 0))
}
