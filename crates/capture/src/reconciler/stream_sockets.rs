//! Open stream sockets: which process opened each, and how its own counter of received bytes compares with the hooks'.

use std::collections::{HashMap, hash_map::Entry};

use crate::event::SocketEvent;
use model::ProcessId;

/// One open socket with connections.
#[derive(Clone, Copy, Debug)]
struct StreamSocket {
    /// Received bytes that hooks counted.
    counted: u64,
    /// Bytes that the socket had handed out when counting began; `None` when that is unknown.
    baseline: Option<u64>,
    /// Bytes beyond `counted` that were charged already.
    charged: u64,
    /// The process that received last.
    receiver: ProcessId,
}

/// The open stream sockets by inode number.
#[derive(Debug, Default)]
pub(crate) struct StreamSockets {
    open: HashMap<u64, StreamSocket>,
}

impl StreamSockets {
    /// Adds a socket that was open before the hooks were attached.
    pub(crate) fn add_existing(&mut self, socket: &SocketEvent) {
        let existing =
            StreamSocket { counted: 0, baseline: socket.consumed, charged: 0, receiver: socket.process };
        self.open.entry(socket.socket).or_insert(existing);
    }

    /// Adds the socket of a flow that is read for the first time. Returns how many connections the flow opens by being
    /// accepted (0 or 1).
    ///
    /// Flows must come in the order in which they began: the first process that uses an accepted connection is the one
    /// that accepted it.
    pub(crate) fn add_flow(&mut self, socket: u64, connects: u64, process: ProcessId) -> u64 {
        match self.open.entry(socket) {
            Entry::Occupied(_) => 0,
            Entry::Vacant(entry) => {
                entry.insert(StreamSocket { counted: 0, baseline: Some(0), charged: 0, receiver: process });
                u64::from(connects == 0)
            }
        }
    }

    /// Adds received bytes that hooks counted. Returns how many of them are to be recorded: bytes that
    /// [`StreamSockets::charge_uncounted`] charged while they were on their way to a hook are recorded already.
    pub(crate) fn count_received(&mut self, socket: u64, bytes: u64, process: ProcessId) -> u64 {
        let Some(socket) = self.open.get_mut(&socket).filter(|_| bytes > 0) else { return bytes };
        let settled = bytes.min(socket.charged);
        socket.charged -= settled;
        socket.counted = socket.counted.saturating_add(bytes);
        socket.receiver = process;
        bytes - settled
    }

    /// Compares the socket's own counter with what was recorded. Returns the bytes that passed no hook (splice and
    /// zero-copy receive, where the kernel's functions cannot be watched) and the process to charge.
    ///
    /// The recorded total, `counted + charged`, never exceeds the socket's own total, and equals it after this.
    pub(crate) fn charge_uncounted(&mut self, event: &SocketEvent) -> Option<(ProcessId, u64)> {
        let socket = self.open.get_mut(&event.socket)?;
        let total = event.consumed?.checked_sub(socket.baseline?)?;
        let uncounted =
            total.checked_sub(socket.counted)?.checked_sub(socket.charged).filter(|bytes| *bytes > 0)?;
        socket.charged += uncounted;
        Some((socket.receiver, uncounted))
    }

    /// Bytes that are charged to this process though no hook has counted them.
    pub(crate) fn charged(&self, socket: u64, process: ProcessId) -> u64 {
        self.open.get(&socket).filter(|socket| socket.receiver == process).map_or(0, |socket| socket.charged)
    }

    /// Removes a socket that is closed and whose flows were all read.
    pub(crate) fn remove(&mut self, socket: u64) {
        self.open.remove(&socket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: ProcessId = ProcessId { start: 1, tgid: 1, exec: 0 };

    fn sample(consumed: u64) -> SocketEvent {
        SocketEvent { socket: 7, consumed: Some(consumed), process: ME, ..SocketEvent::default() }
    }

    #[test]
    fn an_accepted_connection_is_counted_once() {
        let mut sockets = StreamSockets::default();
        assert_eq!(sockets.add_flow(7, 0, ME), 1);
        assert_eq!(sockets.add_flow(7, 0, ME), 0);
        sockets.remove(7);
        assert_eq!(sockets.add_flow(7, 1, ME), 0, "a connect is counted by its hook");
        assert_eq!(sockets.add_flow(7, 0, ME), 0, "another process with the same socket did not accept it");
    }

    #[test]
    fn a_socket_from_before_the_start_opens_no_connection() {
        let mut sockets = StreamSockets::default();
        sockets.add_existing(&sample(1000));
        assert_eq!(sockets.add_flow(7, 0, ME), 0);
        assert_eq!(sockets.charge_uncounted(&sample(1500)), Some((ME, 500)));
    }

    #[test]
    fn bytes_without_a_hook_are_charged_once() {
        let mut sockets = StreamSockets::default();
        sockets.add_flow(7, 0, ME);
        assert_eq!(sockets.count_received(7, 100, ME), 100);
        assert_eq!(sockets.charge_uncounted(&sample(400)), Some((ME, 300)));
        assert_eq!(sockets.charge_uncounted(&sample(400)), None);
        assert_eq!(sockets.charge_uncounted(&sample(450)), Some((ME, 50)));
    }

    #[test]
    fn bytes_on_their_way_to_a_hook_are_not_counted_twice() {
        let mut sockets = StreamSockets::default();
        sockets.add_flow(7, 0, ME);
        // The socket has counted a receive whose hook has not run yet.
        let charged = sockets.charge_uncounted(&sample(1000)).unwrap().1;
        let counted = sockets.count_received(7, 1000, ME);
        let late = sockets.charge_uncounted(&sample(1000)).map_or(0, |(_, bytes)| bytes);
        assert_eq!(charged + counted + late, 1000);
    }

    #[test]
    fn splice_and_receive_on_one_socket_add_up() {
        let mut sockets = StreamSockets::default();
        sockets.add_flow(7, 0, ME);
        let mut recorded = sockets.charge_uncounted(&sample(500)).unwrap().1; // spliced
        recorded += sockets.count_received(7, 200, ME);
        recorded += sockets.charge_uncounted(&sample(700)).map_or(0, |(_, bytes)| bytes);
        assert_eq!(recorded, 700);
    }
}
