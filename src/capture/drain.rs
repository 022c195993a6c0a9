//! Draining the kernel half: events from the ring buffer, differences of the flow table's counters.
//!
//! The counters in the table only grow and are never written from here. An entry is removed only when nothing can
//! add to it any more: after its socket was released, or, for flows that have no end of their own, after it was idle
//! for so long that the kernel half stopped using it (`flow_find` in bpf/flow.h). So no byte falls between two drains.

use std::{
    cell::RefCell,
    collections::HashMap,
    os::fd::{AsFd, AsRawFd},
    rc::Rc,
};

use libbpf_rs::{MapCore, MapHandle, RingBuffer, RingBufferBuilder};

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
/// `expire_ticks` while there is room, and when the table is more than half full.
const RELAXED_EXPIRY: u32 = 120;
const PRESSED_EXPIRY: u32 = 8;
const TABLE_ENTRIES: usize = 131_072;

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
    sockets: Sockets,
    tick: u32,
    expiry: u32,
    /// The tick at which `expiry` may be relied on: the one at which it was raised, or lowered, plus the grace.
    expiry_since: u32,
    losses: [u64; 4],
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
            sockets: Sockets::default(),
            tick: 0,
            expiry: RELAXED_EXPIRY,
            expiry_since: 0,
            losses: [0; 4],
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
        for socket in self.sockets()? {
            self.drain.sockets.add_earlier(&socket);
        }
        Ok(())
    }

    /// Everything since the last drain. With `complete`, open sockets are asked for bytes that passed no hook too.
    ///
    /// # Errors
    /// When the flow table or an iterator cannot be read; nothing is lost by that, the next drain brings it.
    pub fn drain(&mut self, complete: bool) -> Result<Drained, CaptureError> {
        self.advance_tick();
        // First the ring, then the table: a released socket's flows are final when its event is here.
        let consumed = self.drain.ring.consume();
        let events = std::mem::take(&mut *self.drain.events.borrow_mut());
        consumed.map_err(CaptureError::bpf("the ring buffer for events cannot be read"))?;
        let released: HashMap<u64, SocketEvent> = events
            .iter()
            .filter_map(|event| {
                if let Event::Released(socket) = event { Some((socket.socket, *socket)) } else { None }
            })
            .collect();
        let entries = match self.read_table() {
            Ok(entries) => entries,
            Err(error) => {
                // Keep the events for the next time.
                self.drain.events.borrow_mut().splice(0..0, events);
                return Err(error);
            }
        };
        let mut drained = Drained { table_entries: entries.len(), ..Drained::default() };
        let mut last_of_socket: HashMap<u64, FlowDelta> = HashMap::new();
        let mut finished = Vec::new();
        for (entry, new_connections) in self.order(entries) {
            let ended = released.contains_key(&entry.key.socket) || self.is_expired(&entry.flow);
            let delta = self.delta(&entry, new_connections);
            if released.contains_key(&entry.key.socket) || complete {
                last_of_socket
                    .entry(entry.key.socket)
                    .or_insert_with(|| FlowDelta { amounts: Amounts::default(), ..delta.clone() });
                if delta.amounts.received > 0 {
                    last_of_socket
                        .insert(entry.key.socket, FlowDelta { amounts: Amounts::default(), ..delta.clone() });
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
        let sampled = if complete { self.sockets()? } else { Vec::new() };
        for socket in released.values().chain(&sampled) {
            if let Some((process, bytes)) = self.drain.sockets.unseen(socket)
                && let Some(delta) = last_of_socket.get(&socket.socket)
            {
                let amounts = Amounts { received: bytes, ..Amounts::default() };
                let process = if delta.process == process { delta.process } else { process };
                drained.flows.push(FlowDelta { process, amounts, ..delta.clone() });
            }
        }
        for socket in released.keys() {
            self.drain.sockets.closed(*socket);
        }
        drained.losses = self.losses();
        if sampled.iter().any(|socket| socket.receive_ring) {
            for socket in sampled.iter().filter(|socket| socket.receive_ring) {
                drained.events.push(Event::ReceiveRing(socket.process));
            }
        }
        drained.events.splice(0..0, events);
        self.set_expiry(drained.table_entries);
        Ok(drained)
    }

    /// Whether open sockets have to be asked now and then, because bytes or rings pass no hook on this kernel.
    pub fn needs_sampling(&self) -> bool {
        let hooks = ["received_splice", "received_zero_copy", "ring_set"];
        self.blind_spots().iter().any(|spot| hooks.contains(&spot.hook))
    }

    fn advance_tick(&mut self) {
        self.drain.tick = self.drain.tick.wrapping_add(1);
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
    fn order(&mut self, mut entries: Vec<Entry>) -> Vec<(Entry, u64)> {
        let drain = &mut self.drain;
        let mut fresh: Vec<usize> =
            (0..entries.len()).filter(|at| !drain.seen.contains_key(&entries[*at].key)).collect();
        // Within a socket the flow with a connect() is the first one by definition.
        fresh.sort_by_key(|at| (entries[*at].flow.connects == 0, entries[*at].flow.first));
        let mut opened = vec![0; entries.len()];
        for at in fresh {
            let Entry { key, flow, .. } = &entries[at];
            opened[at] = if flow.stream == 0 {
                1 // a new peer of a datagram socket
            } else if key.socket == 0 {
                0
            } else {
                drain.sockets.flow_began(key.socket, flow.connects, key.process)
            };
        }
        entries.drain(..).zip(opened).collect()
    }

    fn delta(&mut self, entry: &Entry, opened: u64) -> FlowDelta {
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
            peer: peer(key, flow),
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
        if count > 0
            && flows
                .delete_batch(keys, count as u32, libbpf_rs::MapFlags::ANY, libbpf_rs::MapFlags::ANY)
                .is_err()
        {
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
            ]
        };
        let before = std::mem::replace(&mut self.drain.losses, now);
        let kinds = [
            LossKind::ProcessEvents,
            LossKind::ReleaseEvents,
            LossKind::FlowTableFull,
            LossKind::FlowTableBytes,
        ];
        kinds
            .into_iter()
            .zip(now.into_iter().zip(before))
            .map(|(kind, (now, before))| Loss { kind, count: now.wrapping_sub(before) })
            .filter(|loss| loss.count > 0)
            .collect()
    }
}

fn peer(key: &FlowKey, flow: &types::flow) -> Peer {
    let remote_address = abi::address(key.peer);
    let local_address = abi::address(flow.local).filter(|address| !address.is_unspecified());
    let family = match remote_address.or(local_address) {
        // IPv4 over an IPv6 socket.
        Some(address) if flow.family == libc::AF_INET6 as u16 && address.is_ipv4() => libc::AF_INET as u16,
        _ => flow.family,
    };
    Peer {
        family,
        protocol: key.protocol as u16,
        local_address,
        remote_address,
        local_port: i32::from(flow.local_port),
        remote_port: i32::from(key.peer_port),
        ..Peer::default()
    }
}
