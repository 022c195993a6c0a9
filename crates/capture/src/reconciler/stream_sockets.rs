//! Open stream sockets: which process opened each, and how its own counter of received bytes compares with the hooks'.

use std::collections::{HashMap, hash_map::Entry};

use crate::{event::SocketEvent, hand_over::SavedSocket};
use model::{ProcessId, ShrinkAfterBurst as _};

/// One open socket with connections.
#[derive(Clone, Copy, Debug)]
struct StreamSocket {
    /// Received bytes that hooks counted.
    counted: u64,
    /// Bytes that the socket had handed out when counting began; `None` when that is unknown.
    baseline: Option<u64>,
    /// The same of sent bytes, for a socket that was open before; only a later run needs it.
    sent_baseline: Option<u64>,
    /// Bytes beyond `counted` that were charged already.
    charged: u64,
    /// The process that received last.
    receiver: ProcessId,
}

impl StreamSocket {
    fn saved(&self) -> SavedSocket {
        let Self { baseline, sent_baseline, charged, receiver, .. } = *self;
        SavedSocket { baseline, sent_baseline, charged, receiver }
    }

    /// Whether flows show everything that is known of it.
    fn is_plain(&self) -> bool {
        self.baseline == Some(0) && self.sent_baseline.is_none() && self.charged == 0
    }
}

/// The open stream sockets by inode number.
#[derive(Debug, Default)]
pub(crate) struct StreamSockets {
    open: HashMap<u64, StreamSocket>,
    /// Sockets of which flows do not show everything, and that have changed.
    changed: Vec<u64>,
}

impl StreamSockets {
    /// Adds a socket that was open before the hooks were attached.
    pub(crate) fn add_existing(&mut self, number: u64, saved: SavedSocket) {
        self.resume(number, saved);
        self.changed.push(number);
    }

    /// Adds a socket of an earlier run.
    pub(crate) fn resume(&mut self, number: u64, saved: SavedSocket) {
        let SavedSocket { baseline, sent_baseline, charged, receiver } = saved;
        self.open.insert(number, StreamSocket { counted: 0, baseline, sent_baseline, charged, receiver });
    }

    /// Adds a flow of an earlier run with its received bytes.
    pub(crate) fn resume_flow(&mut self, number: u64, process: ProcessId, received: u64) {
        let socket = self.open.entry(number).or_insert(StreamSocket {
            counted: 0,
            baseline: Some(0),
            sent_baseline: None,
            charged: 0,
            receiver: process,
        });
        socket.counted = socket.counted.saturating_add(received);
    }

    /// The sockets of which flows do not show everything.
    pub(crate) fn saved(&self) -> impl Iterator<Item = (u64, SavedSocket)> {
        let saved = self.open.iter().filter(|(_, socket)| !socket.is_plain());
        saved.map(|(number, socket)| (*number, socket.saved()))
    }

    /// Those that have changed since the last call.
    pub(crate) fn take_changed(&mut self) -> Vec<(u64, SavedSocket)> {
        self.open.shrink_after_burst();
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().filter_map(|number| Some((number, self.open.get(&number)?.saved()))).collect()
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
                entry.insert(StreamSocket {
                    counted: 0,
                    baseline: Some(0),
                    sent_baseline: None,
                    charged: 0,
                    receiver: process,
                });
                u64::from(connects == 0)
            }
        }
    }

    /// Adds received bytes that hooks counted. Returns how many of them are to be recorded: bytes that
    /// [`StreamSockets::charge_uncounted`] charged while they were on their way to a hook are recorded already.
    pub(crate) fn count_received(&mut self, number: u64, bytes: u64, process: ProcessId) -> u64 {
        let Some(socket) = self.open.get_mut(&number).filter(|_| bytes > 0) else { return bytes };
        let settled = bytes.min(socket.charged);
        socket.charged -= settled;
        socket.counted = socket.counted.saturating_add(bytes);
        socket.receiver = process;
        if settled > 0 {
            self.changed.push(number);
        }
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
        self.changed.push(event.socket);
        Some((socket.receiver, uncounted))
    }

    /// Bytes that are charged to this process though no hook has counted them.
    pub(crate) fn charged(&self, socket: u64, process: ProcessId) -> u64 {
        self.open.get(&socket).filter(|socket| socket.receiver == process).map_or(0, |socket| socket.charged)
    }

    /// Removes a socket that is closed and whose flows were all read. Returns whether it is among [`StreamSockets::saved`].
    pub(crate) fn remove(&mut self, socket: u64) -> bool {
        self.open.remove(&socket).is_some_and(|socket| !socket.is_plain())
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
        let saved = SavedSocket { baseline: Some(1000), sent_baseline: None, charged: 0, receiver: ME };
        sockets.add_existing(7, saved);
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
