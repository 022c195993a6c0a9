//! Turns the input of one drain (events, entries of the flow table, samples of open sockets) into differences of flows and
//! entries to remove. It remembers the input of earlier drains, and makes no system calls.
//!
//! The counters in the flow table only grow, and user space never writes them. An entry is removed only when no hook can
//! add to it any more: after its socket was released, or, for a flow without an end of its own, after it was idle for so
//! long that the kernel half stopped to use it (`flow_find` in bpf/flow.h). So no byte falls between two drains.

mod endpoints;
mod expiry;
mod first_flows;
mod hold_back;
mod input;
mod loss_counters;
mod released_sockets;
mod stream_sockets;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

pub(crate) use self::{
    endpoints::{Endpoints, datagram_remotes, socket_tuple},
    input::{DrainInput, DrainOutcome},
    loss_counters::LossCounters,
};
use self::{
    expiry::Expiry, first_flows::FirstFlows, hold_back::is_young, released_sockets::ReleasedSockets,
    stream_sockets::StreamSockets,
};
use crate::{
    abi::FlowKey,
    event::{Event, SocketEvent},
    event_batch::EventBatch,
    flow::{FlowCounters, FlowDelta, FlowEntry, TableSlot},
    hand_over::{Change, ReconcilerState, SavedSocket},
};
use model::{Counters, FlowId, LossKind, ProcessId, ShrinkAfterBurst as _};

/// Remote ends of datagram sockets that are remembered as counted.
const MAX_COUNTED_REMOTES: usize = 16_384;

/// Everything that is kept from one drain to the next.
#[derive(Debug)]
pub(crate) struct Reconciler {
    /// The counters of each entry as the last drain read them.
    previous: HashMap<FlowKey, FlowCounters>,
    /// Remote ends of datagram sockets that were counted as connections and may come again in another entry.
    counted_remotes: HashSet<FlowKey>,
    sockets: StreamSockets,
    first_flows: FirstFlows,
    expiry: Expiry,
    losses: LossCounters,
    /// Some release events were lost: sockets may be closed without one.
    lost_releases: bool,
    /// The changes by the last drain, for the journal; `None` without one.
    changes: Option<Vec<Change>>,
    /// Releases, and flows that came with them, that were read after the flow table: their flows are final in the next
    /// drain.
    deferred: EventBatch,
}

impl Reconciler {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            previous: HashMap::new(),
            counted_remotes: HashSet::new(),
            sockets: StreamSockets::default(),
            first_flows: FirstFlows::default(),
            expiry: Expiry::new(now),
            losses: LossCounters::default(),
            lost_releases: false,
            changes: None,
            deferred: EventBatch::default(),
        }
    }

    /// Collects changes from now on, see [`Reconciler::take_changes`].
    pub(crate) fn keep_changes(&mut self) {
        self.changes = Some(Vec::new());
    }

    /// The changes by the last drain.
    pub(crate) fn take_changes(&mut self) -> Vec<Change> {
        self.changes.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn note(&mut self, change: Change) {
        if let Some(changes) = &mut self.changes {
            changes.push(change);
        }
    }

    /// All that is remembered.
    pub(crate) fn state(&self) -> ReconcilerState {
        ReconcilerState {
            flows: self.previous.clone(),
            sockets: self.sockets.saved().collect(),
            counted_remotes: self.counted_remotes.clone(),
            losses: self.losses,
            ..ReconcilerState::default()
        }
    }

    /// Goes on where an earlier run has ended: `entries` are the flow table, `open` all open sockets, `clock` the tick and the
    /// idle ticks of the kernel half. Returns the entries that are recorded to their end.
    pub(crate) fn resume(
        &mut self,
        state: &ReconcilerState,
        entries: &[FlowEntry],
        open: &HashSet<u64>,
        clock: (u32, u32),
    ) -> Vec<TableSlot> {
        self.expiry.resume(clock);
        self.losses = state.losses;
        self.counted_remotes.clone_from(&state.counted_remotes);
        // A socket that was closed meanwhile may still have flows to be read, of which bytes are recorded already.
        let with_flows: HashSet<u64> = entries.iter().map(|entry| entry.key.socket).collect();
        for (number, socket) in &state.sockets {
            if open.contains(number) || with_flows.contains(number) {
                self.sockets.resume(*number, *socket);
            }
        }
        let mut ended = Vec::new();
        for entry in entries {
            if state.ended.get(&entry.key) == Some(&entry.began) {
                ended.extend(entry.slot);
            } else if let Some(counters) = state.flows.get(&entry.key) {
                self.previous.insert(entry.key, *counters);
                if entry.is_stream {
                    self.sockets.resume_flow(entry.key.socket, entry.key.process, counters.received);
                }
            }
        }
        // Sockets may have been closed without a release that anybody has read.
        self.lost_releases = true;
        ended
    }

    /// Adds a socket that was open before the hooks were attached: its connection is not new.
    pub(crate) fn add_existing_socket(&mut self, number: u64, socket: SavedSocket) {
        self.sockets.add_existing(number, socket);
    }

    /// Advances the clock if it is time, and returns the tick.
    pub(crate) fn advance_tick(&mut self, now: Instant) -> u32 {
        self.expiry.advance(now)
    }

    /// Adds processes whose first flow was just made.
    pub(crate) fn add_first_flows(&mut self, processes: Vec<ProcessId>) {
        self.first_flows.add(processes);
    }

    /// Whether sockets may have been closed without a release event, so that the next drain needs the list of the open
    /// ones.
    pub(crate) fn has_lost_releases(&self) -> bool {
        self.lost_releases
    }

    /// Whether a connection is to be recorded now (it is too old to wait) though no hook has seen its local end, which a
    /// sample of its socket shows.
    pub(crate) fn needs_samples(&self, entries: &[FlowEntry], now: u64) -> bool {
        entries.iter().any(|entry| self.is_new_without_local(entry) && !is_young(entry, now))
    }

    /// Whether the first flow of a process waits for its local end alone, and it is time to sample for it.
    pub(crate) fn needs_first_flow_samples(&self, entries: &[FlowEntry], now: Instant) -> bool {
        let waits = |entry: &FlowEntry| {
            self.is_new_without_local(entry) && self.first_flows.contains(entry.key.process)
        };
        entries.iter().any(waits) && self.first_flows.may_sample(now)
    }

    /// Remembers when the open sockets were sampled for a first flow, and how long that took.
    pub(crate) fn set_first_flows_sampled(&mut self, begin: Instant, took: Duration) {
        self.first_flows.set_sampled(begin, took);
    }

    /// Compares the input of a drain with the input of earlier drains, and remembers it.
    pub(crate) fn reconcile(&mut self, input: DrainInput) -> DrainOutcome {
        let DrainInput { samples, now, events: mut before_table, later_events: mut after_table, .. } = input;
        let table_entries = input.entries.len();
        let mut entries = input.entries;
        if input.is_final {
            // No other drain would deliver what is deferred now.
            before_table.append(std::mem::take(&mut after_table));
        }
        let EventBatch { mut events, mut ended, .. } = self.take_final(before_table);
        entries.append(&mut ended);
        let later_events = self.defer_releases(after_table);
        let mut released = ReleasedSockets::new(&events);
        let mut has_young = false;
        if let Some(open) = input.open_sockets {
            has_young = released.add_closed(&entries, &open, now);
        }

        let endpoints = Endpoints::new(&entries, &samples, &input.datagram_remotes);
        let is_held_back = |entry: &FlowEntry| {
            !input.is_final
                && !released.contains(entry.key.socket)
                && self.is_held_back(entry, &endpoints, now)
        };
        entries.retain(|entry| !is_held_back(entry));
        let mut outcome =
            DrainOutcome { drain_soon: self.first_flows.settle(&entries), ..DrainOutcome::default() };
        let mut receivers = LastReceivers::default();
        let opened = self.count_opened(&entries, &endpoints);
        for (entry, opened) in entries.iter().zip(opened) {
            let ended = released.contains(entry.key.socket) || self.expiry.is_expired(entry);
            let delta = self.delta(entry, News { opened, ended }, &endpoints);
            if entry.is_stream && (ended || !samples.is_empty()) {
                receivers.add(entry.key.socket, &delta);
            }
            if delta.counters != Counters::default() || ended {
                outcome.flows.push(delta);
            }
            if ended {
                self.previous.remove(&entry.key);
                if entry.slot.is_some() {
                    self.note(Change::Ended(entry.key, entry.began));
                }
                outcome.removals.extend(entry.slot);
            }
        }
        self.previous.shrink_after_burst();
        outcome.flows.extend(self.charge_uncounted(released.iter().chain(&samples), &receivers));
        outcome.flows.sort_by_key(|flow| flow.id.began);
        for socket in released.iter() {
            if self.sockets.remove(socket.socket) {
                self.note(Change::SocketClosed(socket.socket));
            }
        }
        for (number, socket) in self.sockets.take_changed() {
            self.note(Change::Socket(number, socket));
        }

        let rings = samples.iter().filter(|socket| socket.receive_ring);
        events.extend(rings.map(|socket| Event::ReceiveRing(socket.process)));
        events.extend(later_events);
        outcome.events = events;
        outcome.losses = self.losses.advance(input.loss_counters);
        if !outcome.losses.is_empty() {
            self.note(Change::Losses(self.losses));
        }
        self.lost_releases =
            has_young || outcome.losses.iter().any(|loss| loss.kind == LossKind::ReleaseEvents);
        outcome.expire_ticks = self.expiry.adapt(table_entries);
        outcome
    }

    /// The events that were read before the flow table, with the releases that the last drain has deferred: the flows
    /// of the sockets that are released in them are final.
    fn take_final(&mut self, before_table: EventBatch) -> EventBatch {
        let mut batch = std::mem::take(&mut self.deferred);
        batch.append(before_table);
        batch
    }

    /// Keeps the releases among the events that were read after the flow table for the next drain, and returns the other
    /// events.
    fn defer_releases(&mut self, after_table: EventBatch) -> Vec<Event> {
        let (releases, others) =
            after_table.events.into_iter().partition(|event| matches!(event, Event::Released(_)));
        self.deferred = EventBatch { events: releases, ended: after_table.ended, ..EventBatch::default() };
        others
    }

    /// The traffic of every flow in the table since it began, as far as it was recorded. A flow that was not recorded yet
    /// comes with the next drain.
    pub(crate) fn recorded_flows(&self, entries: &[FlowEntry], endpoints: &Endpoints) -> Vec<FlowDelta> {
        let mut charged_sockets = HashSet::new();
        let recorded = |entry: &FlowEntry| {
            let previous = self.previous.get(&entry.key)?;
            let charged =
                if entry.is_stream { self.sockets.charged(entry.key.socket, entry.key.process) } else { 0 };
            // Several flows of a process on one socket share the charged bytes.
            let is_first = charged > 0 && charged_sockets.insert(entry.key.socket);
            Some(FlowDelta {
                id: entry.id(false),
                cgroup: entry.cgroup,
                tuple: endpoints.tuple(entry),
                counters: Counters {
                    connections: 0,
                    sent: previous.sent,
                    received: previous.received + if is_first { charged } else { 0 },
                },
            })
        };
        entries.iter().filter_map(recorded).collect()
    }

    fn is_new_without_local(&self, entry: &FlowEntry) -> bool {
        entry.lacks_local() && !self.previous.contains_key(&entry.key)
    }

    /// Whether a young flow waits for the next drain, which may know its local or remote end.
    fn is_held_back(&self, entry: &FlowEntry, endpoints: &Endpoints, now: u64) -> bool {
        is_young(entry, now) && endpoints.is_incomplete(entry) && !self.previous.contains_key(&entry.key)
    }

    /// The number of connections that each entry opens besides its connects. Within a socket, entries that are read for the
    /// first time are counted in the order in which they began.
    fn count_opened(&mut self, entries: &[FlowEntry], endpoints: &Endpoints) -> Vec<u64> {
        let mut new: Vec<usize> =
            (0..entries.len()).filter(|at| !self.previous.contains_key(&entries[*at].key)).collect();
        // The flow with a connect() is the first one of its socket by definition.
        new.sort_by_key(|at| (entries[*at].counters.connects == 0, entries[*at].began));
        let mut opened = vec![0; entries.len()];
        if self.counted_remotes.len() > MAX_COUNTED_REMOTES {
            self.counted_remotes.clear();
            self.note(Change::RemotesForgotten);
        }
        for at in new {
            let entry = &entries[at];
            let key = &entry.key;
            opened[at] = if !entry.is_stream {
                // A new remote end of a datagram socket, once, even if no hook saw it for the first datagrams.
                let (peer, peer_port) = endpoints.remote(entry);
                let plain = FlowKey { peer, peer_port, generation: 0, ..*key };
                let is_new = self.counted_remotes.insert(plain);
                if is_new {
                    self.note(Change::RemoteCounted(plain));
                }
                u64::from(is_new)
            } else if key.socket == 0 {
                0
            } else {
                self.sockets.add_flow(key.socket, entry.counters.connects, key.process)
            };
        }
        opened
    }

    fn delta(&mut self, entry: &FlowEntry, news: News, endpoints: &Endpoints) -> FlowDelta {
        let known = self.previous.get(&entry.key).copied();
        let before = known.unwrap_or_default();
        // The kernel copies entries byte by byte on some machines: a counter that is read while it changes may seem to
        // go back. It never does, and the next drain reads it right.
        let now = FlowCounters {
            sent: entry.counters.sent.max(before.sent),
            received: entry.counters.received.max(before.received),
            connects: entry.counters.connects.max(before.connects),
        };
        self.previous.insert(entry.key, now);
        if entry.slot.is_some() && known != Some(now) {
            self.note(Change::Counted(entry.key, now));
        }
        let received = now.received - before.received;
        let received = if entry.is_stream {
            self.sockets.count_received(entry.key.socket, received, entry.key.process)
        } else {
            received
        };
        FlowDelta {
            id: entry.id(news.ended),
            cgroup: entry.cgroup,
            tuple: endpoints.tuple(entry),
            counters: Counters {
                connections: news.opened + now.connects - before.connects,
                sent: now.sent - before.sent,
                received,
            },
        }
    }

    /// Charges the bytes that sockets count themselves and that passed no hook.
    fn charge_uncounted<'a>(
        &mut self,
        sockets: impl Iterator<Item = &'a SocketEvent>,
        receivers: &LastReceivers,
    ) -> Vec<FlowDelta> {
        let mut flows = Vec::new();
        for socket in sockets {
            if let Some(delta) = receivers.flows.get(&socket.socket)
                && let Some((process, received)) = self.sockets.charge_uncounted(socket)
            {
                let counters = Counters { received, ..Counters::default() };
                let id = FlowId { process, ..delta.id };
                flows.push(FlowDelta { id, counters, ..delta.clone() });
            }
        }
        flows
    }
}

/// The news about a flow that its counters do not show.
#[derive(Clone, Copy)]
struct News {
    /// Connections that the flow opens besides its connects.
    opened: u64,
    ended: bool,
}

/// For each stream socket, the flow that received last, with empty counters; any flow if none received.
#[derive(Default)]
struct LastReceivers {
    flows: HashMap<u64, FlowDelta>,
}

impl LastReceivers {
    fn add(&mut self, socket: u64, delta: &FlowDelta) {
        let empty = FlowDelta { counters: Counters::default(), ..delta.clone() };
        if delta.counters.received > 0 {
            self.flows.insert(socket, empty);
        } else {
            self.flows.entry(socket).or_insert(empty);
        }
    }
}
