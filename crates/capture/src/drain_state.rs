//! The state of a [`Capture`](crate::Capture) between two drains.

use std::time::Instant;

use crate::{
    event_batch::EventBatch,
    flow::{FlowDelta, TableSlot},
    flow_table::FlowTable,
    reconciler::Reconciler,
    ring::EventRing,
};

pub(crate) struct DrainState {
    pub ring: EventRing,
    pub table: FlowTable,
    /// Events that were read from the ring and are not reconciled yet.
    pub unreconciled: EventBatch,
    pub reconciler: Reconciler,
    /// The flows that the last drain has read to their end. They leave the table when that drain is sent.
    pub removals: Vec<TableSlot>,
    /// What sockets have moved since an earlier run, until the first drain returns it.
    pub recovered: Vec<FlowDelta>,
    /// Sentences that no drain has returned yet.
    pub problems: Vec<String>,
}

impl DrainState {
    pub(crate) fn new(ring: EventRing, table: FlowTable) -> Self {
        Self {
            ring,
            table,
            unreconciled: EventBatch::default(),
            reconciler: Reconciler::new(Instant::now()),
            removals: Vec::new(),
            recovered: Vec::new(),
            problems: Vec::new(),
        }
    }
}
