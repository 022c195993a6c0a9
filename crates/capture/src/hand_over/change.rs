//! What the reconciler remembers from one drain to the next, and how a drain changes it.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::{abi::FlowKey, flow::FlowCounters, reconciler::LossCounters};
use model::ProcessId;

/// What a run remembers of a stream socket that its flows do not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedSocket {
    /// Bytes that the socket had handed out when counting began; `None` when that is unknown.
    pub baseline: Option<u64>,
    /// The same of sent bytes, as [`OpenSocket::sent`](crate::event::OpenSocket::sent) counts them.
    pub sent_baseline: Option<u64>,
    /// Bytes that passed no hook and are recorded.
    pub charged: u64,
    /// The process that received last.
    pub receiver: ProcessId,
}

/// A change by one drain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    /// A flow is recorded up to these counters.
    Counted(FlowKey, FlowCounters),
    /// A flow that began at this time (nanoseconds of boot time) is recorded to its end.
    Ended(FlowKey, u64),
    /// A socket that was open before the hooks were attached, or has bytes that passed no hook.
    Socket(u64, SavedSocket),
    SocketClosed(u64),
    /// The remote end of a datagram socket was counted as a connection.
    RemoteCounted(FlowKey),
    RemotesForgotten,
    Losses(LossCounters),
    /// What the monitor knows of a process with flows.
    Process(ProcessId, Vec<u8>),
}

/// What a run remembers after some drain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReconcilerState {
    pub flows: HashMap<FlowKey, FlowCounters>,
    /// The flows that the last drain has recorded to their end, and when they began. They may still be in the table.
    pub ended: HashMap<FlowKey, u64>,
    pub sockets: HashMap<u64, SavedSocket>,
    pub counted_remotes: HashSet<FlowKey>,
    pub losses: LossCounters,
    pub processes: HashMap<ProcessId, Vec<u8>>,
}

impl ReconcilerState {
    /// Applies the changes of one drain.
    pub fn apply(&mut self, changes: Vec<Change>) {
        self.ended.clear();
        for change in changes {
            match change {
                Change::Counted(key, counters) => drop(self.flows.insert(key, counters)),
                Change::Ended(key, began) => {
                    self.flows.remove(&key);
                    self.ended.insert(key, began);
                }
                Change::Socket(number, socket) => drop(self.sockets.insert(number, socket)),
                Change::SocketClosed(number) => drop(self.sockets.remove(&number)),
                Change::RemoteCounted(key) => drop(self.counted_remotes.insert(key)),
                Change::RemotesForgotten => self.counted_remotes.clear(),
                Change::Losses(losses) => self.losses = losses,
                Change::Process(id, process) => drop(self.processes.insert(id, process)),
            }
        }
    }

    /// All that is remembered, as changes of nothing.
    pub fn into_changes(self) -> Vec<Change> {
        let mut changes = vec![Change::Losses(self.losses)];
        changes.extend(self.flows.into_iter().map(|(key, counters)| Change::Counted(key, counters)));
        changes.extend(self.ended.into_iter().map(|(key, began)| Change::Ended(key, began)));
        changes.extend(self.sockets.into_iter().map(|(number, socket)| Change::Socket(number, socket)));
        changes.extend(self.counted_remotes.into_iter().map(Change::RemoteCounted));
        changes.extend(self.processes.into_iter().map(|(id, process)| Change::Process(id, process)));
        changes
    }

    /// The bytes of the flows that end with these changes, of which only this state is recorded. `counters`: those of the flows in
    /// the changes before, since the state.
    pub fn ended_bytes(&self, changes: Vec<Change>, counters: &mut HashMap<FlowKey, FlowCounters>) -> u64 {
        let mut bytes = 0_u64;
        for change in changes {
            match change {
                Change::Counted(key, now) => drop(counters.insert(key, now)),
                Change::Ended(key, _) => {
                    let recorded = self.flows.get(&key).copied().unwrap_or_default();
                    let end = counters.remove(&key).unwrap_or(recorded);
                    bytes += end.sent.saturating_sub(recorded.sent)
                        + end.received.saturating_sub(recorded.received);
                }
                _ => {}
            }
        }
        bytes
    }
}
