//! What the hook that saw a flow could not know, and others do: the peer of a datagram, the local end of a connection.

use std::collections::HashMap;

use libbpf_rs::{MapCore, MapFlags};

use super::{
    Capture,
    abi::{self, types},
    event::{OpenSocket, SocketEvent},
    table::Entry,
};
use model::{Address, FlowId, FlowTuple, Port, boot_time};

/// How long a flow waits for its local end or its peer to become known.
const HOLD_BACK_NANOSECONDS: u64 = 1_500_000_000;
/// What the entries of one socket tell about each other.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub locals: HashMap<u64, ([u8; 16], u16)>,
    pub peers: HashMap<u64, ([u8; 16], u16)>,
}

impl Capture {
    /// What other entries of the same socket know: a process that only connects never learns its local end, and a
    /// datagram whose sender was not told has it from the ones around it.
    pub(super) fn known_of_sockets(&self, entries: &[Entry], sampled: &[SocketEvent]) -> Known {
        let mut known = Known::default();
        for socket in sampled.iter().filter(|socket| socket.local.1 != 0) {
            known.locals.insert(socket.socket, socket.local);
        }
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
            // The one that fits the direction, or else the other: who is answered was heard, who answers was asked.
            let mut maps = [&self.skeleton.maps.last_sent_peers, &self.skeleton.maps.last_received_peers];
            if flow.received > 0 {
                maps.reverse();
            }
            let told = maps.into_iter().find_map(|map| {
                let bytes = map.lookup(&key.socket.to_ne_bytes(), MapFlags::ANY).ok()??;
                abi::read::<types::pending_peer>(&bytes)
            });
            if let Some(told) = told {
                known.peers.insert(key.socket, (told.address, told.port));
            }
        }
        known
    }

    /// Whether a young flow had better wait for the next drain, which may know its local end or its peer.
    pub(super) fn is_held_back(&self, entry: &Entry, known: &Known) -> bool {
        let Entry { key, flow, .. } = entry;
        let young = is_young(flow);
        let waits = if flow.stream != 0 {
            flow.local_port == 0 && !known.locals.contains_key(&key.socket)
        } else {
            lacks_peer(entry) && !known.peers.contains_key(&key.socket)
        };
        young && waits && !self.drain.seen.contains_key(key)
    }

    /// A connection that is to be recorded now (young ones can wait), though no hook has seen its local end: the socket
    /// itself knows it.
    pub(super) fn lacks_local_end(&self, Entry { key, flow, .. }: &Entry, unless_young: bool) -> bool {
        flow.stream != 0
            && flow.local_port == 0
            && !(unless_young && is_young(flow))
            && !self.drain.seen.contains_key(key)
    }
}

/// An IP datagram flow whose hook could not tell the peer.
fn lacks_peer(Entry { key, flow, .. }: &Entry) -> bool {
    flow.stream == 0 && i32::from(flow.family) != libc::AF_PACKET && key.peer == [0; 16]
}

pub(super) fn peer_of(entry: &Entry, known: &Known) -> ([u8; 16], u16) {
    let told = (entry.key.peer, entry.key.peer_port);
    if lacks_peer(entry) { known.peers.get(&entry.key.socket).copied().unwrap_or(told) } else { told }
}

/// The other end of a flow, and this one.
pub(super) fn flow_tuple(entry: &Entry, known: &Known) -> FlowTuple {
    let Entry { key, flow, .. } = entry;
    let mut local = (flow.local, flow.local_port);
    if flow.stream != 0 && flow.local_port == 0 {
        local = known.locals.get(&key.socket).copied().unwrap_or(local);
    }
    between(local, peer_of(entry, known), flow.family, key.protocol as u16)
}

/// Both ends of a socket, as it tells them itself.
pub(super) fn socket_tuple(open: &OpenSocket) -> FlowTuple {
    let peer = if open.peer.1 == 0 { Default::default() } else { open.peer };
    between(open.socket.local, peer, open.family, open.protocol)
}

fn between(local: ([u8; 16], u16), remote: ([u8; 16], u16), family: u16, protocol: u16) -> FlowTuple {
    let remote_address = abi::address(remote.0);
    let local_address = abi::address(local.0).filter(|address| !address.is_unspecified());
    let family = match remote_address.or(local_address) {
        // IPv4 over an IPv6 socket.
        Some(address) if i32::from(family) == libc::AF_INET6 && address.is_ipv4() => libc::AF_INET as u16,
        _ => family,
    };
    FlowTuple {
        family,
        protocol,
        local_address: local_address.map(Address::from),
        remote_address: remote_address.map(Address::from),
        local_port: Port::from(local.1),
        remote_port: Port::from(remote.1),
        ..FlowTuple::default()
    }
}

/// Bit of `flow.expires`: the other end spoke first (bpf/abi.h).
const ADDRESSED: u8 = 2;

/// Which connection a flow is.
pub(super) fn flow_id(Entry { key, flow, .. }: &Entry, ended: bool) -> FlowId {
    FlowId {
        process: key.process,
        socket: key.socket,
        network_namespace: flow.netns,
        uid: flow.uid,
        began: flow.first,
        opened: flow.connects > 0 || flow.stream == 0 && flow.expires & ADDRESSED == 0,
        ended,
    }
}

/// Whether a flow is so young that it may wait for the next drain.
pub(super) fn is_young(flow: &types::flow) -> bool {
    boot_time().saturating_sub(flow.first) < HOLD_BACK_NANOSECONDS
}
