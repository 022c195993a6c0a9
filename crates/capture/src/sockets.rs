//! What is known about each socket while it is open: who opened it, and what it says about itself.

use std::collections::HashMap;

use super::event::SocketEvent;
use model::ProcessId;

/// One open socket with connections.
#[derive(Clone, Copy, Debug)]
struct Socket {
    /// Received bytes that hooks counted.
    counted: u64,
    /// What the socket had handed out when counting began; `None` when that is unknown.
    baseline: Option<u64>,
    /// Bytes beyond `counted` that were charged already.
    charged: u64,
    /// The process that received last.
    user: ProcessId,
}

/// The table of open sockets.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    open: HashMap<u64, Socket>,
}

impl Sockets {
    /// A socket that was open before the hooks were.
    pub(super) fn add_earlier(&mut self, socket: &SocketEvent) {
        let earlier = Socket { counted: 0, baseline: socket.consumed, charged: 0, user: socket.process };
        self.open.entry(socket.socket).or_insert(earlier);
    }

    /// A flow of a socket was seen for the first time. Returns how many connections it opens by being accepted.
    ///
    /// Flows must come in the order in which they began: the first process that touches an accepted connection is
    /// the one that accepted it.
    pub(super) fn flow_began(&mut self, socket: u64, connects: u64, process: ProcessId) -> u64 {
        use std::collections::hash_map::Entry;

        match self.open.entry(socket) {
            Entry::Occupied(_) => 0,
            Entry::Vacant(entry) => {
                entry.insert(Socket { counted: 0, baseline: Some(0), charged: 0, user: process });
                u64::from(connects == 0)
            }
        }
    }

    /// Hooks counted received bytes. Returns how many of them are to be recorded: bytes that [`Sockets::unseen`]
    /// charged while they were still on their way to a hook are recorded already.
    pub(super) fn received(&mut self, socket: u64, bytes: u64, process: ProcessId) -> u64 {
        let Some(socket) = self.open.get_mut(&socket).filter(|_| bytes > 0) else { return bytes };
        let settled = bytes.min(socket.charged);
        socket.charged -= settled;
        socket.counted = socket.counted.saturating_add(bytes);
        socket.user = process;
        bytes - settled
    }

    /// Compares what the socket says it handed out with what was recorded. Returns bytes that passed no hook (splice
    /// and zero-copy receive, where the kernel's functions cannot be watched) and the process to charge.
    ///
    /// What is recorded, `counted + charged`, never exceeds the socket's own total, and equals it after this.
    pub(super) fn unseen(&mut self, event: &SocketEvent) -> Option<(ProcessId, u64)> {
        let socket = self.open.get_mut(&event.socket)?;
        let total = event.consumed?.checked_sub(socket.baseline?)?;
        let unseen =
            total.checked_sub(socket.counted)?.checked_sub(socket.charged).filter(|bytes| *bytes > 0)?;
        socket.charged += unseen;
        Some((socket.user, unseen))
    }

    /// Bytes that were charged to this process though no hook has counted them.
    pub(super) fn charged(&self, socket: u64, process: ProcessId) -> u64 {
        self.open.get(&socket).filter(|socket| socket.user == process).map_or(0, |socket| socket.charged)
    }

    /// The socket is closed and all of its flows are read.
    pub(super) fn closed(&mut self, socket: u64) {
        self.open.remove(&socket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: ProcessId = ProcessId { start: 1, tgid: 1, exec: 0 };

    fn says(consumed: u64) -> SocketEvent {
        SocketEvent { socket: 7, consumed: Some(consumed), process: ME, ..SocketEvent::default() }
    }

    #[test]
    fn an_accepted_connection_is_counted_once() {
        let mut sockets = Sockets::default();
        assert_eq!(sockets.flow_began(7, 0, ME), 1);
        assert_eq!(sockets.flow_began(7, 0, ME), 0);
        sockets.closed(7);
        assert_eq!(sockets.flow_began(7, 1, ME), 0, "a connect is counted by its hook");
        assert_eq!(sockets.flow_began(7, 0, ME), 0, "another process with the same socket did not accept it");
    }

    #[test]
    fn a_socket_from_before_the_start_opens_no_connection() {
        let mut sockets = Sockets::default();
        sockets.add_earlier(&says(1000));
        assert_eq!(sockets.flow_began(7, 0, ME), 0);
        assert_eq!(sockets.unseen(&says(1500)), Some((ME, 500)));
    }

    #[test]
    fn bytes_without_a_hook_are_charged_once() {
        let mut sockets = Sockets::default();
        sockets.flow_began(7, 0, ME);
        assert_eq!(sockets.received(7, 100, ME), 100);
        assert_eq!(sockets.unseen(&says(400)), Some((ME, 300)));
        assert_eq!(sockets.unseen(&says(400)), None);
        assert_eq!(sockets.unseen(&says(450)), Some((ME, 50)));
    }

    #[test]
    fn bytes_on_their_way_to_a_hook_are_not_counted_twice() {
        let mut sockets = Sockets::default();
        sockets.flow_began(7, 0, ME);
        let charged = sockets.unseen(&says(1000)).unwrap().1; // a receive that has not come to its hook
        let counted = sockets.received(7, 1000, ME);
        let late = sockets.unseen(&says(1000)).map_or(0, |(_, bytes)| bytes);
        assert_eq!(charged + counted + late, 1000);
    }

    #[test]
    fn splice_and_receive_on_one_socket_add_up() {
        let mut sockets = Sockets::default();
        sockets.flow_began(7, 0, ME);
        let mut recorded = sockets.unseen(&says(500)).unwrap().1; // spliced
        recorded += sockets.received(7, 200, ME);
        recorded += sockets.unseen(&says(700)).map_or(0, |(_, bytes)| bytes);
        assert_eq!(recorded, 700);
    }
}
