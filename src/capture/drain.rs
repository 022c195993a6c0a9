//! Draining the kernel half: events from the ring buffer, differences of the flow table's counters.
//!
//! The counters in the table only grow and are never written from here. An entry is removed only when nothing can
//! add to it any more: after its socket was released, or, for flows that have no end of their own, after it was idle
//! for so long that the kernel half stopped using it (`flow_find` in bpf/flow.h). So no byte falls between two drains.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    os::fd::{AsFd, AsRawFd, RawFd},
    rc::Rc,
    time::{Duration, Instant},
};

use libbpf_rs::{MapCore, MapFlags, MapHandle, RingBuffer, RingBufferBuilder};

use super::{
    Capture, CaptureError,
    abi::{self, FlowKey, ProcessId, types},
    event::{Event, SocketEvent},
    sockets::Sockets,
};
use crate::model::{Amounts, Loss, LossKind, Peer};

/// Flow table entries that are read with one system call.
const BATCH: usize = 2048;
/// Ticks between the moment at which the kernel half stops to use an idle entry and its removal: longer than any
/// program can hold a pointer into the table.
const GRACE_TICKS: u32 = 4;
/// Ticks follow each other no faster than this.
const SHORTEST_TICK: Duration = Duration::from_millis(400);
/// How long a flow waits for its local end or its peer to become known.
const HOLD_BACK_NANOSECONDS: u64 = 1_500_000_000;
/// Peers that are remembered as opened.
const MOST_OPENED: usize = 16_384;
/// `expire_ticks` while there is room, and when the table is more than half full.
const RELAXED_EXPIRY: u32 = 120;
const PRESSED_EXPIRY: u32 = 8;
const TABLE_ENTRIES: usize = 65_536;

/// What one flow moved since the last drain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowDelta {
    /// Who.
    pub process: ProcessId,
    /// Real user id when the flow began.
    pub uid: u32,
    /// Network namespace of the socket.
    pub network_namespace: u32,
    /// Id of the process's version 2 cgroup when the flow began.
    pub cgroup: u64,
    /// With whom; the domain is not known here.
    pub peer: Peer,
    /// How much.
    pub amounts: Amounts,
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
    /// Entries in the flow table.
    pub table_entries: usize,
}

/// How much a drain looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thoroughness {
    /// Events and flows.
    Usual,
    /// Open sockets too: bytes that passed no hook, and `AF_PACKET` rings.
    Sockets,
    /// That, and nothing is held back: there will be no other drain.
    Last,
}

/// What the entries of one socket tell about each other.
#[derive(Debug, Default)]
struct Known {
    locals: HashMap<u64, ([u8; 16], u16)>,
    peers: HashMap<u64, ([u8; 16], u16)>,
}

/// What was read of a flow last time.
#[derive(Clone, Copy, Debug)]
struct Seen {
    sent: u64,
    received: u64,
    connects: u64,
}

/// The state between drains.
pub(super) struct Drain {
    ring: RingBuffer<'static>,
    events: Rc<RefCell<Vec<Event>>>,
    seen: HashMap<FlowKey, Seen>,
    /// Peers of datagram sockets that were counted as opened and may come again in another entry.
    opened: HashSet<FlowKey>,
    sockets: Sockets,
    tick: u32,
    ticked: Instant,
    expiry: u32,
    /// The tick at which `expiry` may be relied on: the one at which it was raised, or lowered, plus the grace.
    expiry_since: u32,
    losses: [u64; 5],
    keys: Vec<u8>,
    values: Vec<u8>,
}

const KEY_BYTES: usize = size_of::<types::flow_key>();
const VALUE_BYTES: usize = size_of::<types::flow>();

/// One entry of the flow table.
struct Entry {
    raw_key: [u8; KEY_BYTES],
    key: FlowKey,
    flow: types::flow,
}

impl Drain {
    pub(super) fn new(ring: MapHandle) -> Result<Self, CaptureError> {
        let events = Rc::new(RefCell::new(Vec::new()));
        let into = Rc::clone(&events);
        // Lives as long as the process.
        let ring: &'static MapHandle = Box::leak(Box::new(ring));
        let mut builder = RingBufferBuilder::new();
        builder
            .add(ring, move |bytes| {
                if let Some((event, _)) = Event::decode(bytes) {
                    into.borrow_mut().push(event);
                }
                0
            })
            .map_err(CaptureError::bpf("the ring buffer for events cannot be read"))?;
        let ring = builder.build().map_err(CaptureError::bpf("the ring buffer for events cannot be read"))?;
        Ok(Self {
            ring,
            events,
            seen: HashMap::new(),
            opened: HashSet::new(),
            ticked: Instant::now(),
            sockets: Sockets::default(),
            tick: 0,
            expiry: RELAXED_EXPIRY,
            expiry_since: 0,
            losses: [0; 5],
            keys: vec![0; BATCH * KEY_BYTES],
            values: vec![0; BATCH * VALUE_BYTES],
        })
    }
}

impl Capture {
    /// A descriptor that becomes readable when the ring buffer fills up and a drain cannot wait for its time.
    pub fn urgent_fd(&self) -> i32 {
        self.drain.ring.epoll_fd()
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
    pub fn drain(&mut self, thoroughness: Thoroughness) -> Result<Drained, CaptureError> {
        self.advance_tick();
        // First the ring, then the table: a released socket's flows are final when its event is here.
        self.drain.ring.consume().map_err(CaptureError::bpf("the ring buffer for events cannot be read"))?;
        let wanted = self.drain.events.borrow().contains(&Event::PacketsWanted);
        if wanted {
            self.watch_packets();
        }
        let sampled = if thoroughness == Thoroughness::Usual { Vec::new() } else { self.sockets()? };
        let entries = self.read_table()?;
        let mut events = std::mem::take(&mut *self.drain.events.borrow_mut());
        let released: HashMap<u64, SocketEvent> = events
            .iter()
            .filter_map(|event| {
                if let Event::Released(socket) = event { Some((socket.socket, *socket)) } else { None }
            })
            .collect();
        let mut drained = Drained { table_entries: entries.len(), ..Drained::default() };
        let known = self.known_of_sockets(&entries);
        let settled: Vec<Entry> = entries
            .into_iter()
            .filter(|entry| {
                thoroughness == Thoroughness::Last
                    || released.contains_key(&entry.key.socket)
                    || !self.is_held_back(entry, &known)
            })
            .collect();
        let mut last_of_socket: HashMap<u64, FlowDelta> = HashMap::new();
        let mut finished = Vec::new();
        for (entry, opened) in self.order(settled, &known) {
            let ended = released.contains_key(&entry.key.socket) || self.is_expired(&entry.flow);
            let delta = self.delta(&entry, opened, &known);
            if entry.flow.stream != 0 && (ended || !sampled.is_empty()) {
                let empty = FlowDelta { amounts: Amounts::default(), ..delta.clone() };
                if delta.amounts.received > 0 {
                    last_of_socket.insert(entry.key.socket, empty);
                } else {
                    last_of_socket.entry(entry.key.socket).or_insert(empty);
                }
            }
            if delta.amounts != Amounts::default() {
                drained.flows.push(delta);
            }
            if ended {
                self.drain.seen.remove(&entry.key);
                finished.extend_from_slice(&entry.raw_key);
            }
        }
        self.remove(&finished);
        for socket in released.values().chain(&sampled) {
            if let Some((process, bytes)) = self.drain.sockets.unseen(socket)
                && let Some(delta) = last_of_socket.get(&socket.socket)
            {
                let amounts = Amounts { received: bytes, ..Amounts::default() };
                drained.flows.push(FlowDelta { process, amounts, ..delta.clone() });
            }
        }
        for socket in released.keys() {
            self.drain.sockets.closed(*socket);
        }
        let rings = sampled.iter().filter(|socket| socket.receive_ring);
        events.extend(rings.map(|socket| Event::ReceiveRing(socket.process)));
        drained.events = events;
        drained.losses = self.losses();
        self.set_expiry(drained.table_entries);
        Ok(drained)
    }

    /// What other entries of the same socket know: a process that only connects never learns its local end, and a
    /// datagram whose sender was not told has it from the ones around it.
    fn known_of_sockets(&self, entries: &[Entry]) -> Known {
        let mut known = Known::default();
        for Entry { key, flow, .. } in entries {
            if flow.local_port != 0 && flow.stream != 0 {
                known.locals.insert(key.socket, (flow.local, flow.local_port));
            }
            if flow.stream == 0 && key.peer != [0; 16] {
                known.peers.entry(key.socket).or_insert((key.peer, key.peer_port));
            }
        }
        // What the hooks on each packet heard is surer than what another entry says.
        for Entry { key, flow, .. } in entries.iter().filter(|entry| lacks_peer(entry)) {
            let map = if flow.received > 0 {
                &self.skeleton.maps.heard_from
            } else {
                &self.skeleton.maps.talked_to
            };
            if let Ok(Some(bytes)) = map.lookup(&key.socket.to_ne_bytes(), MapFlags::ANY)
                && let Some(heard) = abi::read::<types::pending_peer>(&bytes)
            {
                known.peers.insert(key.socket, (heard.address, heard.port));
            }
        }
        known
    }

    /// Whether a young flow had better wait for the next drain, which may know its local end or its peer.
    fn is_held_back(&self, entry: &Entry, known: &Known) -> bool {
        let Entry { key, flow, .. } = entry;
        let young = boot_time().saturating_sub(flow.first) < HOLD_BACK_NANOSECONDS;
        let waits = if flow.stream != 0 {
            flow.local_port == 0 && !known.locals.contains_key(&key.socket)
        } else {
            lacks_peer(entry) && !known.peers.contains_key(&key.socket)
        };
        young && waits && !self.drain.seen.contains_key(key)
    }

    /// Whether open sockets have to be asked now and then, because bytes or rings pass no hook on this kernel.
    pub fn needs_sampling(&self) -> bool {
        let hooks = ["received_splice", "received_zero_copy", "ring_set"];
        self.blind_spots().iter().any(|spot| hooks.contains(&spot.hook))
    }

    fn advance_tick(&mut self) {
        // A drain that was called for does not count: the clock is to go no faster than usual.
        let due = self.drain.ticked.elapsed() >= SHORTEST_TICK;
        if due {
            self.drain.tick = self.drain.tick.wrapping_add(1);
            self.drain.ticked = Instant::now();
        }
        if let Some(bss) = self.skeleton.maps.bss_data.as_deref_mut() {
            // SAFETY: valid, aligned references; volatile because the kernel half reads them meanwhile.
            unsafe {
                std::ptr::write_volatile(&mut bss.tick, self.drain.tick);
                // Before the ring is read: what comes after that may wake again.
                std::ptr::write_volatile(&mut bss.woken, false);
            }
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

    fn read_table(&mut self) -> Result<Vec<Entry>, CaptureError> {
        let map = self.skeleton.maps.flows.as_fd().as_raw_fd();
        let drain = &mut self.drain;
        let mut entries = Vec::new();
        let mut position = [0_u64; 6]; // the kernel keeps a bucket number in it, at most a key
        let mut first = true;
        loop {
            let mut count = BATCH as u32;
            let from = if first { std::ptr::null_mut() } else { position.as_mut_ptr().cast() };
            let mut next = [0_u64; 6];
            // SAFETY: keys and values have room for BATCH entries of the map's sizes, the positions for a key, and
            // `count` says so; the kernel writes no more than that.
            let result = unsafe {
                libbpf_sys::bpf_map_lookup_batch(
                    map,
                    from,
                    next.as_mut_ptr().cast(),
                    drain.keys.as_mut_ptr().cast(),
                    drain.values.as_mut_ptr().cast(),
                    &mut count,
                    std::ptr::null(),
                )
            };
            if result != 0 && result != -libc::ENOENT {
                return Err(CaptureError::io("the flow table cannot be read")(
                    std::io::Error::from_raw_os_error(-result),
                ));
            }
            let count = count as usize;
            let keys = drain.keys.chunks_exact(KEY_BYTES).take(count);
            for (key, value) in keys.zip(drain.values.chunks_exact(VALUE_BYTES)) {
                let Ok(raw_key) = <[u8; KEY_BYTES]>::try_from(key) else { continue };
                if let (Some(key), Some(flow)) =
                    (abi::read::<types::flow_key>(key), abi::read::<types::flow>(value))
                {
                    entries.push(Entry { raw_key, key: key.into(), flow });
                }
            }
            if result == -libc::ENOENT {
                return Ok(entries);
            }
            first = false;
            position = next;
        }
    }

    /// Puts flows that are seen for the first time in the order in which they began, and finds out what they open.
    fn order(&mut self, entries: Vec<Entry>, known: &Known) -> Vec<(Entry, u64)> {
        let drain = &mut self.drain;
        let mut fresh: Vec<usize> =
            (0..entries.len()).filter(|at| !drain.seen.contains_key(&entries[*at].key)).collect();
        // Within a socket the flow with a connect() is the first one by definition.
        fresh.sort_by_key(|at| (entries[*at].flow.connects == 0, entries[*at].flow.first));
        let mut opened = vec![0; entries.len()];
        if drain.opened.len() > MOST_OPENED {
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

    fn delta(&mut self, entry: &Entry, opened: u64, known: &Known) -> FlowDelta {
        let Entry { key, flow, .. } = entry;
        let now = Seen { sent: flow.sent, received: flow.received, connects: flow.connects };
        let before = self.drain.seen.insert(*key, now).unwrap_or(Seen { sent: 0, received: 0, connects: 0 });
        let received = now.received.wrapping_sub(before.received);
        let received = if flow.stream != 0 {
            self.drain.sockets.received(key.socket, received, key.process)
        } else {
            received
        };
        FlowDelta {
            process: key.process,
            uid: flow.uid,
            network_namespace: flow.netns,
            cgroup: flow.cgroup,
            peer: peer(entry, known),
            amounts: Amounts {
                connections: opened + now.connects.wrapping_sub(before.connects),
                sent: now.sent.wrapping_sub(before.sent),
                received,
            },
        }
    }

    fn remove(&self, keys: &[u8]) {
        let flows = &self.skeleton.maps.flows;
        let count = keys.len() / KEY_BYTES;
        if count > 0 && flows.delete_batch(keys, count as u32, MapFlags::ANY, MapFlags::ANY).is_err() {
            // The batch stops at a key that is not there (it cannot be): go on one by one.
            for key in keys.chunks_exact(KEY_BYTES) {
                let _ = flows.delete(key);
            }
        }
    }

    fn losses(&mut self) -> Vec<Loss> {
        let Some(bss) = self.skeleton.maps.bss_data.as_deref() else { return Vec::new() };
        // SAFETY: valid, aligned references; volatile because the kernel half writes them meanwhile.
        let now = unsafe {
            [
                std::ptr::read_volatile(&bss.lost_process_events),
                std::ptr::read_volatile(&bss.lost_release_events),
                std::ptr::read_volatile(&bss.lost_flow_operations),
                std::ptr::read_volatile(&bss.lost_flow_bytes),
                std::ptr::read_volatile(&bss.done_by_second),
            ]
        };
        let [events, releases, operations, bytes, repaired] = now;
        // What the second programs did is not lost; neither number is of exactly the same moment.
        let skipped = self.skipped_calls().saturating_sub(repaired).max(self.drain.losses[4]);
        let now = [events, releases, operations, bytes, skipped];
        let before = std::mem::replace(&mut self.drain.losses, now);
        let kinds = [
            LossKind::ProcessEvents,
            LossKind::ReleaseEvents,
            LossKind::FlowTableFull,
            LossKind::FlowTableBytes,
            LossKind::SkippedCalls,
        ];
        kinds
            .into_iter()
            .zip(now.into_iter().zip(before))
            .map(|(kind, (now, before))| Loss { kind, count: now.wrapping_sub(before) })
            .filter(|loss| loss.count > 0)
            .collect()
    }

    /// How often the kernel skipped a tracing program, because it was running on that CPU already
    /// (`bpf_prog_info.recursion_misses`, 5.12 and later).
    fn skipped_calls(&self) -> u64 {
        self.guarded.iter().map(|program| recursion_misses(program.as_raw_fd())).sum()
    }
}

fn recursion_misses(program: RawFd) -> u64 {
    let mut info = libbpf_sys::bpf_prog_info::default();
    let mut bytes = size_of_val(&info) as u32;
    // SAFETY: the kernel writes at most `bytes` bytes into a structure of that size; zeroed, it asks for no array.
    let result =
        unsafe { libbpf_sys::bpf_obj_get_info_by_fd(program, (&raw mut info).cast(), &raw mut bytes) };
    if result == 0 { info.recursion_misses } else { 0 }
}

/// An IP datagram flow whose hook could not tell the peer.
fn lacks_peer(Entry { key, flow, .. }: &Entry) -> bool {
    flow.stream == 0 && i32::from(flow.family) != libc::AF_PACKET && key.peer == [0; 16]
}

fn peer_of(entry: &Entry, known: &Known) -> ([u8; 16], u16) {
    let told = (entry.key.peer, entry.key.peer_port);
    if lacks_peer(entry) { known.peers.get(&entry.key.socket).copied().unwrap_or(told) } else { told }
}

fn peer(entry: &Entry, known: &Known) -> Peer {
    let Entry { key, flow, .. } = entry;
    let (remote, remote_port) = peer_of(entry, known);
    let mut local = (flow.local, flow.local_port);
    if flow.stream != 0 && flow.local_port == 0 {
        local = known.locals.get(&key.socket).copied().unwrap_or(local);
    }
    let remote_address = abi::address(remote);
    let local_address = abi::address(local.0).filter(|address| !address.is_unspecified());
    let family = match remote_address.or(local_address) {
        // IPv4 over an IPv6 socket.
        Some(address) if i32::from(flow.family) == libc::AF_INET6 && address.is_ipv4() => {
            libc::AF_INET as u16
        }
        _ => flow.family,
    };
    Peer {
        family,
        protocol: key.protocol as u16,
        local_address,
        remote_address,
        local_port: i32::from(local.1),
        remote_port: i32::from(remote_port),
        ..Peer::default()
    }
}

/// Nanoseconds since the boot, the clock of `bpf_ktime_get_boot_ns`.
fn boot_time() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
    now.map_or(0, |now| Duration::from(now).as_nanos() as u64)
}
