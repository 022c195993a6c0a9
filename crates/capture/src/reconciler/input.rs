//! The input of the reconciler, and its outcome.

use std::collections::{HashMap, HashSet};

use super::loss_counters::LossCounters;
use crate::{
    event::{Event, SocketEvent},
    event_batch::EventBatch,
    flow::{FlowDelta, FlowEntry, SocketAddress, TableSlot},
};
use model::Loss;

/// Everything that one drain has read.
#[derive(Debug, Default)]
pub(crate) struct DrainInput {
    /// Events that were read before the flow table.
    pub events: EventBatch,
    /// Events that were read after the flow table.
    pub later_events: EventBatch,
    /// Every entry of the flow table.
    pub entries: Vec<FlowEntry>,
    /// Open sockets, if they were sampled.
    pub samples: Vec<SocketEvent>,
    /// Inode numbers of all open sockets, read before the flow table, if release events were lost.
    pub open_sockets: Option<HashSet<u64>>,
    /// Remote ends of datagram sockets that the packet hooks saw, by inode number.
    pub datagram_remotes: HashMap<u64, SocketAddress>,
    pub loss_counters: LossCounters,
    /// The time of the drain, nanoseconds of boot time.
    pub now: u64,
    /// No other drain follows, so no flow may wait for it.
    pub is_final: bool,
}

/// The differences to the earlier drains.
#[derive(Debug, Default)]
pub(crate) struct DrainOutcome {
    pub events: Vec<Event>,
    /// The traffic of the flows, in the order in which they began: domain attribution depends on it.
    pub flows: Vec<FlowDelta>,
    pub losses: Vec<Loss>,
    /// Entries to remove from the flow table.
    pub removals: Vec<TableSlot>,
    /// The new number of idle ticks after which the kernel half stops to use a flow, if it changed.
    pub expire_ticks: Option<u32>,
    /// The first flow of a process waits for what the next drain will know.
    pub drain_soon: bool,
}
