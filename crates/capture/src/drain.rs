//! Draining the kernel half: events from the ring buffer, differences of the flow table's counters.
//!
//! The counters in the table only grow and are never written from here. An entry is removed only when nothing can
//! add to it any more: after its socket was released, or, for flows that have no end of their own, after it was idle
//! for so long that the kernel half stopped using it (`flow_find` in bpf/flow.h). So no byte falls between two drains.

use std::{
    collections::{HashMap, HashSet},
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use libbpf_rs::MapHandle;

use super::{
    Capture, CaptureError,
    abi::{FlowKey, types},
    event::{Event, SocketEvent},
    known::{Known, flow_id, flow_tuple, is_young, peer_of},
    newcomers::{EXECVE_WAIT, EXECVE_WAITS, MAX_NEWCOMERS, is_within_execve},
    ring::{Ring, Taken},
    sockets::Sockets,
    table::{Buffers, Entry, Flows},
};
use model::{Counters, FlowId, FlowTuple, Loss, LossKind, ProcessId};

/// Ticks between the moment at which the kernel half stops to use an idle entry and its removal: longer than any
/// program can hold a pointer into the table.
const GRACE_TICKS: u32 = 4;
/// Ticks follow each other no faster than this.
const SHORTEST_TICK: Duration = Duration::from_millis(400);
/// Peers that are remembered as opened.
const MAX_OPENED: usize = 16_384;
/// `expire_ticks` while there is room, and when the table is more than half full.
const RELAXED_EXPIRY: u32 = 120;
const PRESSED_EXPIRY: u32 = 8;
const TABLE_ENTRIES: usize = 65_536;

/// What one flow moved since the last drain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowDelta {
    /// Which connection it is.
    pub id: FlowId,
    /// Id of the process's version 2 cgroup when the flow began.
    pub cgroup: u64,
    /// With whom; the domain is not known here.
    pub tuple: FlowTuple,
    /// How much.
    pub counters: Counters,
}

/// All that happened since the last drain.
#[derive(Debug, Default)]
pub struct Drained {
    /// Processes and sockets, in order.
    pub events: Vec<Event>,
    /// Traffic.
    pub flows: Vec<FlowDelta>,
    /// What was lost.
    pub losses: Vec<Loss>,
    /// What could not be attached when it was needed.
    pub problems: Vec<String>,
    /// Entries in the flow table.
    pub table_entries: usize,
    /// The first flow of a process waits for what the next drain will know: it should come soon.
    pub hurry: bool,
}

/// How much a drain looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainMode {
    /// Events and flows.
    Regular,
    /// Open sockets too: bytes that passed no hook, and `AF_PACKET` rings.
    SampleSockets,
    /// That, and nothing is held back: there will be no other drain.
    Final,
}

/// What was read of a flow last time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) sent: u64,
    pub(super) received: u64,
    connects: u64,
}

/// The state between drains.
pub(super) struct Drain {
    ring: Ring,
    /// Taken from the ring, and not told yet.
    events: Vec<Event>,
    /// Flows of sockets whose release is among those events.
    ended: Vec<types::flow>,
    /// Processes that have just begun to talk, and how many drains have not delivered their flow.
    pub(super) newcomers: HashMap<ProcessId, u8>,
    /// When open sockets were asked last for such a flow, and how long it took.
    pub(super) asked: Option<(Instant, Duration)>,
    pub(super) seen: HashMap<FlowKey, Seen>,
    /// Peers of datagram sockets that were counted as opened and may come again in another entry.
    opened: HashSet<FlowKey>,
    pub(super) sockets: Sockets,
    tick: u32,
    ticked: Instant,
    expiry: u32,
    /// The tick at which `expiry` may be relied on: the one at which it was raised, or lowered, plus the grace.
    expiry_since: u32,
    pub(super) losses: [u64; 6],
    /// Releases did not fit into the ring buffer.
    missed_releases: bool,
    pub(super) buffers: Buffers,
    pub(super) flows: Flows,
}

impl Drain {
    pub(super) fn new(ring: MapHandle, flows: Flows) -> Result<Self, CaptureError> {
        Ok(Self {
            ring: Ring::new(ring)?,
            events: Vec::new(),
            ended: Vec::new(),
            newcomers: HashMap::new(),
            asked: None,
            seen: HashMap::new(),
            opened: HashSet::new(),
            ticked: Instant::now(),
            sockets: Sockets::default(),
            tick: 0,
            expiry: RELAXED_EXPIRY,
            expiry_since: 0,
            losses: [0; 6],
            missed_releases: false,
            buffers: Buffers::default(),
            flows,
        })
    }
}

impl Capture {
    /// A descriptor that becomes readable when the ring buffer fills up and a drain cannot wait for its time.
    pub fn urgent_fd(&self) -> BorrowedFd<'_> {
        self.drain.ring.as_fd()
    }

    /// Reads which sockets are open already, once, right after the start: their connections are not new.
    ///
    /// # Errors
    /// When the iterator cannot be read.
    pub fn learn_earlier_sockets(&mut self) -> Result<(), CaptureError> {
        let sockets = self.sockets()?;
        for socket in &sockets {
            self.drain.sockets.add_earlier(socket);
        }
        if sockets.iter().any(|socket| socket.needs_packets) {
            self.watch_packets();
        }
        Ok(())
    }

    /// Everything since the last drain.
    ///
    /// # Errors
    /// When the flow table or an iterator cannot be read; nothing is lost by that, the next drain brings it.
    pub fn drain(&mut self, thoroughness: DrainMode) -> Result<Drained, CaptureError> {
        self.advance_tick();
        // First the ring, then the table: a released socket's flows are final when its event is here.
        self.take_events()?;
        let mut problems = Vec::new();
        if self.skeleton.maps.bss_data.as_deref().is_some_and(|bss| bss.packet_hooks_requested) {
            let known = self.blind_spots().len();
            self.watch_packets();
            let missing = self.blind_spots().get(known..).unwrap_or_default();
            problems.extend(
                missing.iter().map(|spot| format!("Not seen from now on: {} ({}).", spot.unseen, spot.why)),
            );
        }
        let mut sampled = if thoroughness == DrainMode::Regular { Vec::new() } else { self.sockets()? };
        // Some sockets closed without a word: those that no process has open any more. Looked for before the table is
        // read, so that their flows are final.
        let can_look = !self.blind_spots().iter().any(|spot| spot.hook == "iter_task_file");
        let open: Option<HashSet<u64>> = match std::mem::take(&mut self.drain.missed_releases) && can_look {
            true => Some(self.sockets()?.iter().map(|socket| socket.socket).collect()),
            false => None,
        };
        let mut entries = self.read_table()?;
        if sampled.is_empty() && entries.iter().any(|entry| self.lacks_local_end(entry, true)) {
            sampled = self.sockets()?;
        }
        if sampled.is_empty() && entries.iter().any(|entry| self.waits_as_newcomer(entry)) && self.may_ask() {
            let begin = Instant::now();
            sampled = self.sockets()?;
            self.drain.asked = Some((begin, begin.elapsed()));
        }
        let mut events = std::mem::take(&mut self.drain.events);
        let table_entries = entries.len();
        entries.extend(std::mem::take(&mut self.drain.ended).into_iter().map(Entry::ended));
        // Then the ring again: whoever is in the table by now has been announced by now.
        self.take_events()?;
        for _ in 0..EXECVE_WAITS {
            if !is_within_execve(events.iter().chain(&self.drain.events)) {
                break;
            }
            std::thread::sleep(EXECVE_WAIT);
            self.take_events()?;
        }
        // Of a socket that was released while the table was read, the next drain knows that its flows are final.
        let (later, announced) = std::mem::take(&mut self.drain.events)
            .into_iter()
            .partition(|event| matches!(event, Event::Released(_)));
        self.drain.events = later;
        let mut released: HashMap<u64, SocketEvent> = events
            .iter()
            .filter_map(|event| {
                if let Event::Released(socket) = event { Some((socket.socket, *socket)) } else { None }
            })
            .collect();
        let mut again = false;
        if let Some(open) = open {
            let gone: Vec<&Entry> = entries
                .iter()
                .filter(|Entry { key, flow, .. }| {
                    flow.stream != 0 && key.socket != 0 && !open.contains(&key.socket)
                })
                .collect();
            // A young one may be on its way into a process: look again.
            again = gone.iter().any(|entry| is_young(&entry.flow));
            let gone = gone.into_iter().filter(|entry| !is_young(&entry.flow));
            released.extend(gone.map(|entry| {
                (entry.key.socket, SocketEvent { socket: entry.key.socket, ..SocketEvent::default() })
            }));
        }
        let mut drained = Drained { table_entries, problems, ..Drained::default() };
        let known = self.known_of_sockets(&entries, &sampled);
        let settled: Vec<Entry> = entries
            .into_iter()
            .filter(|entry| {
                thoroughness == DrainMode::Final
                    || released.contains_key(&entry.key.socket)
                    || !self.is_held_back(entry, &known)
            })
            .collect();
        drained.hurry = self.newcomers_wait(&settled);
        let mut last_of_socket: HashMap<u64, FlowDelta> = HashMap::new();
        let mut finished = Vec::new();
        for (entry, opened) in self.order(settled, &known) {
            let ended = released.contains_key(&entry.key.socket) || self.is_expired(&entry.flow);
            let delta = self.delta(&entry, opened, ended, &known);
            if entry.flow.stream != 0 && (ended || !sampled.is_empty()) {
                let empty = FlowDelta { counters: Counters::default(), ..delta.clone() };
                if delta.counters.received > 0 {
                    last_of_socket.insert(entry.key.socket, empty);
                } else {
                    last_of_socket.entry(entry.key.socket).or_insert(empty);
                }
            }
            if delta.counters != Counters::default() || ended {
                drained.flows.push(delta);
            }
            if ended {
                self.drain.seen.remove(&entry.key);
                finished.extend(entry.slot);
            }
        }
        self.remove(&finished);
        // After a burst.
        if self.drain.seen.len() < self.drain.seen.capacity() / 16 {
            self.drain.seen.shrink_to(self.drain.seen.len() * 2);
        }
        for socket in released.values().chain(&sampled) {
            if let Some(delta) = last_of_socket.get(&socket.socket)
                && let Some((process, bytes)) = self.drain.sockets.unseen(socket)
            {
                let counters = Counters { received: bytes, ..Counters::default() };
                let id = FlowId { process, ..delta.id };
                drained.flows.push(FlowDelta { id, counters, ..delta.clone() });
            }
        }
        // What a name was asked for is found out by what came first.
        drained.flows.sort_by_key(|flow| flow.id.began);
        for socket in released.keys() {
            self.drain.sockets.closed(*socket);
        }
        let rings = sampled.iter().filter(|socket| socket.receive_ring);
        events.extend(rings.map(|socket| Event::ReceiveRing(socket.process)));
        events.extend::<Vec<Event>>(announced);
        drained.events = events;
        drained.losses = self.losses();
        self.drain.missed_releases =
            drained.losses.iter().any(|loss| loss.kind == LossKind::ReleaseEvents) || again;
        self.set_expiry(drained.table_entries);
        Ok(drained)
    }

    /// Whether open sockets have to be asked now and then, because bytes or rings pass no hook on this kernel.
    pub fn needs_sampling(&self) -> bool {
        let hooks = ["tcp_splice_read", "tcp_zerocopy_receive", "packet_set_ring"];
        self.blind_spots().iter().any(|spot| hooks.contains(&spot.hook))
    }

    /// Takes what has come since the last call.
    fn take_events(&mut self) -> Result<(), CaptureError> {
        let Taken { events, newcomers, ended } = self.drain.ring.take()?;
        self.drain.events.extend(events);
        self.drain.ended.extend(ended);
        let room = MAX_NEWCOMERS.saturating_sub(self.drain.newcomers.len());
        self.drain.newcomers.extend(newcomers.into_iter().take(room).map(|process| (process, 0)));
        Ok(())
    }

    fn advance_tick(&mut self) {
        // A drain that was called for does not count: the clock is to go no faster than usual.
        let due = self.drain.ticked.elapsed() >= SHORTEST_TICK;
        if due {
            self.drain.tick = self.drain.tick.wrapping_add(1);
            self.drain.ticked = Instant::now();
        }
        if let Some(bss) = self.skeleton.maps.bss_data.as_deref_mut() {
            // SAFETY: a valid, aligned reference; volatile because the kernel half reads it meanwhile.
            unsafe { std::ptr::write_volatile(&mut bss.tick, self.drain.tick) };
        }
    }

    /// A fuller table forgets idle flows earlier. An entry that the kernel half still used under the old limit may be
    /// in use for a moment after a change.
    fn set_expiry(&mut self, entries: usize) {
        let expiry = if entries > TABLE_ENTRIES / 2 { PRESSED_EXPIRY } else { RELAXED_EXPIRY };
        if expiry != self.drain.expiry {
            self.drain.expiry = expiry;
            self.drain.expiry_since = self.drain.tick;
            if let Some(data) = self.skeleton.maps.data_data.as_deref_mut() {
                // SAFETY: a valid, aligned reference; volatile because the kernel half reads it meanwhile.
                unsafe { std::ptr::write_volatile(&mut data.expire_ticks, expiry) };
            }
        }
    }

    fn is_expired(&self, flow: &types::flow) -> bool {
        let settled = self.drain.tick.wrapping_sub(self.drain.expiry_since) >= GRACE_TICKS;
        let idle = self.drain.tick.wrapping_sub(flow.last_tick);
        // After the limit was raised, entries that the kernel half had given up may come back to life.
        flow.expires != 0 && settled && idle > self.drain.expiry + GRACE_TICKS
    }

    /// Puts flows that are seen for the first time in the order in which they began, and finds out what they open.
    fn order(&mut self, entries: Vec<Entry>, known: &Known) -> Vec<(Entry, u64)> {
        let drain = &mut self.drain;
        let mut fresh: Vec<usize> =
            (0..entries.len()).filter(|at| !drain.seen.contains_key(&entries[*at].key)).collect();
        // Within a socket the flow with a connect() is the first one by definition.
        fresh.sort_by_key(|at| (entries[*at].flow.connects == 0, entries[*at].flow.first));
        let mut opened = vec![0; entries.len()];
        if drain.opened.len() > MAX_OPENED {
            drain.opened.clear();
        }
        for at in fresh {
            let entry = &entries[at];
            let Entry { key, flow, .. } = entry;
            opened[at] = if flow.stream == 0 {
                // A new peer of a datagram socket, once, even if its first datagrams did not tell the peer.
                let (peer, peer_port) = peer_of(entry, known);
                let plain = FlowKey { peer, peer_port, generation: 0, ..*key };
                u64::from(drain.opened.insert(plain))
            } else if key.socket == 0 {
                0
            } else {
                drain.sockets.flow_began(key.socket, flow.connects, key.process)
            };
        }
        entries.into_iter().zip(opened).collect()
    }

    fn delta(&mut self, entry: &Entry, opened: u64, ended: bool, known: &Known) -> FlowDelta {
        let Entry { key, flow, .. } = entry;
        let before = self.drain.seen.get(key).copied().unwrap_or(Seen { sent: 0, received: 0, connects: 0 });
        // The kernel copies entries byte by byte on some machines: a counter that is read while it changes may seem to
        // go back. It never does, and the next drain reads it right.
        let now = Seen {
            sent: flow.sent.max(before.sent),
            received: flow.received.max(before.received),
            connects: flow.connects.max(before.connects),
        };
        self.drain.seen.insert(*key, now);
        let received = now.received - before.received;
        let received = if flow.stream != 0 {
            self.drain.sockets.received(key.socket, received, key.process)
        } else {
            received
        };
        FlowDelta {
            id: flow_id(entry, ended),
            cgroup: flow.cgroup,
            tuple: flow_tuple(entry, known),
            counters: Counters {
                connections: opened + now.connects - before.connects,
                sent: now.sent - before.sent,
                received,
            },
        }
    }
}
