//! The sockets that are closed, so that the counters of their flows are final.

use std::collections::{HashMap, HashSet};

use super::hold_back::is_young;
use crate::{
    event::{Event, SocketEvent},
    flow::FlowEntry,
};

/// The release event of each closed socket, by inode number.
#[derive(Debug, Default)]
pub(crate) struct ReleasedSockets {
    released: HashMap<u64, SocketEvent>,
}

impl ReleasedSockets {
    pub(crate) fn new(events: &[Event]) -> Self {
        let released = |event: &Event| match event {
            Event::Released(socket) => Some((socket.socket, *socket)),
            _ => None,
        };
        Self { released: events.iter().filter_map(released).collect() }
    }

    /// Adds the stream sockets with entries that no process has open. Returns whether young ones without a release event
    /// are among them, which are not added: they may be on their way into a process.
    pub(crate) fn add_closed(&mut self, entries: &[FlowEntry], open: &HashSet<u64>, now: u64) -> bool {
        let mut has_young = false;
        for entry in entries {
            let socket = entry.key.socket;
            if !entry.is_stream || socket == 0 || open.contains(&socket) || self.contains(socket) {
                continue;
            }
            if is_young(entry, now) {
                has_young = true;
            } else {
                self.released.insert(socket, SocketEvent { socket, ..SocketEvent::default() });
            }
        }
        has_young
    }

    pub(crate) fn contains(&self, socket: u64) -> bool {
        self.released.contains_key(&socket)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &SocketEvent> {
        self.released.values()
    }
}
