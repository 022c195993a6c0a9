//! The sockets that are open when the hooks are attached: what they have moved before, by their own counters.

use std::collections::{HashMap, HashSet};

use super::change::{ReconcilerState, SavedSocket};
use crate::{
    Capture, CaptureError,
    event::OpenSocket,
    flow::{FlowCounters, FlowDelta, FlowEntry},
    reconciler::socket_tuple,
};
use model::{Counters, FlowId, ProcessId, boot_time};

/// How often the counters of sockets and of hooks are read, so that both belong to one moment.
const MAX_READS: usize = 8;

/// An open socket, and what the hooks have counted on it at the same moment.
pub(super) struct CountedSocket {
    pub open: OpenSocket,
    pub counted: FlowCounters,
}

impl CountedSocket {
    /// What the socket has moved before the hooks counted.
    pub fn saved(&self) -> SavedSocket {
        let before = |total: Option<u64>, counted: u64| total.map(|total| total.saturating_sub(counted));
        SavedSocket {
            baseline: before(self.open.socket.consumed, self.counted.received),
            sent_baseline: before(self.open.sent, self.counted.sent),
            charged: 0,
            receiver: self.open.socket.process,
        }
    }

    /// What the socket has moved since an earlier run, as far as it knew the socket: in `state` is what that run has recorded.
    fn since(&self, state: &ReconcilerState) -> Option<FlowDelta> {
        let number = self.open.socket.socket;
        let flows: Vec<_> = state.flows.iter().filter(|(key, _)| key.socket == number).collect();
        let saved = state.sockets.get(&number);
        if flows.is_empty() && saved.is_none() {
            return None;
        }
        let connects = flows.iter().any(|(_, counters)| counters.connects > 0);
        let (baseline, sent_baseline, charged) = match saved {
            Some(saved) if saved.sent_baseline.is_some() => {
                (saved.baseline, saved.sent_baseline, saved.charged)
            }
            saved => (Some(0), Some(u64::from(connects)), saved.map_or(0, |saved| saved.charged)),
        };
        let recorded: FlowCounters = sum(flows.iter().map(|(_, counters)| **counters));
        let now = self.saved();
        let missing = |total: Option<u64>, before: Option<u64>, recorded: u64| {
            total
                .zip(before)
                .map_or(0, |(total, before)| total.saturating_sub(before).saturating_sub(recorded))
        };
        let counters = Counters {
            connections: 0,
            sent: missing(now.sent_baseline, sent_baseline, recorded.sent),
            received: missing(now.baseline, baseline, recorded.received + charged),
        };
        let id = FlowId {
            process: self.open.socket.process,
            socket: number,
            network_namespace: self.open.network_namespace,
            uid: self.open.uid,
            began: boot_time(),
            opened: connects,
            ended: false,
        };
        let tuple = socket_tuple(&self.open);
        (counters != Counters::default()).then_some(FlowDelta {
            id,
            cgroup: self.open.cgroup,
            tuple,
            counters,
        })
    }
}

impl Capture {
    /// Reads the open sockets, each once, and what the hooks have counted on them.
    ///
    /// # Errors
    /// When the flow table or the iterator cannot be read.
    pub(super) fn counted_sockets(
        &mut self,
        users: &HashSet<ProcessId>,
    ) -> Result<Vec<CountedSocket>, CaptureError> {
        let mut settled: HashMap<u64, CountedSocket> = HashMap::new();
        let mut before = by_socket(&self.drain.table.read()?);
        for read in 1..=MAX_READS {
            let sockets = self.open_sockets()?;
            let after = by_socket(&self.drain.table.read()?);
            let mut is_settled = true;
            for open in sockets {
                let number = open.socket.socket;
                let counted = after.get(&number).copied().unwrap_or_default();
                if before.get(&number).copied().unwrap_or_default() != counted && read < MAX_READS {
                    is_settled = false;
                    continue;
                }
                // Of several processes that hold it, one that has used it.
                let is_user = users.contains(&open.socket.process);
                match settled.get_mut(&number) {
                    Some(known) if is_user => known.open.socket.process = open.socket.process,
                    Some(_) => {}
                    None => drop(settled.insert(number, CountedSocket { open, counted })),
                }
            }
            if is_settled {
                break;
            }
            before = after;
        }
        Ok(settled.into_values().collect())
    }
}

/// What an earlier run has not recorded of sockets that are still open.
pub(super) fn since(state: &ReconcilerState, sockets: &[CountedSocket]) -> Vec<FlowDelta> {
    sockets.iter().filter_map(|socket| socket.since(state)).collect()
}

fn by_socket(entries: &[FlowEntry]) -> HashMap<u64, FlowCounters> {
    let mut sums: HashMap<u64, FlowCounters> = HashMap::new();
    for entry in entries.iter().filter(|entry| entry.is_stream) {
        let known = sums.entry(entry.key.socket).or_default();
        *known = sum([*known, entry.counters].into_iter());
    }
    sums
}

fn sum(counters: impl Iterator<Item = FlowCounters>) -> FlowCounters {
    counters.fold(FlowCounters::default(), |sum, counters| FlowCounters {
        sent: sum.sent + counters.sent,
        received: sum.received + counters.received,
        connects: sum.connects + counters.connects,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{abi::FlowKey, event::SocketEvent};

    fn socket(sent: u64, consumed: u64, counted: (u64, u64)) -> CountedSocket {
        let socket = SocketEvent { socket: 7, consumed: Some(consumed), ..SocketEvent::default() };
        let open = OpenSocket { socket, sent: Some(sent), ..OpenSocket::default() };
        CountedSocket { open, counted: FlowCounters { sent: counted.0, received: counted.1, connects: 0 } }
    }

    fn moved(state: &ReconcilerState, socket: &CountedSocket) -> Option<(u64, u64)> {
        socket.since(state).map(|flow| (flow.counters.sent, flow.counters.received))
    }

    #[test]
    fn a_socket_tells_what_it_moved_since() {
        let flow = |connects| {
            let key = FlowKey { socket: 7, ..FlowKey::default() };
            let flows = HashMap::from([(key, FlowCounters { sent: 100, received: 50, connects })]);
            ReconcilerState { flows, ..ReconcilerState::default() }
        };
        // The SYN of a connection that was opened counts as a byte.
        assert_eq!(moved(&flow(1), &socket(131, 55, (10, 1))), Some((20, 4)));
        assert_eq!(moved(&flow(0), &socket(130, 55, (10, 1))), Some((20, 4)));
        assert_eq!(moved(&flow(0), &socket(100, 50, (0, 0))), None, "nothing");
        assert_eq!(moved(&ReconcilerState::default(), &socket(100, 50, (0, 0))), None, "not known before");
        // One that was open before the earlier run.
        let mut state = flow(0);
        let saved = SavedSocket {
            baseline: Some(1000),
            sent_baseline: Some(2001),
            charged: 5,
            ..socket(0, 0, (0, 0)).saved()
        };
        state.sockets.insert(7, saved);
        assert_eq!(moved(&state, &socket(2111, 1060, (0, 0))), Some((10, 5)));
    }
}
