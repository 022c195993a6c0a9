//! The ends of a flow that its own hook could not see: the local end of a connection, the remote end of a datagram.

use std::collections::HashMap;

use crate::{
    abi,
    event::{OpenSocket, SocketEvent},
    flow::{FlowEntry, SocketAddress},
};
use model::{Address, FlowTuple, Port};

/// Ends by the inode number of their socket, as other flows of the socket, the packet hooks and samples show them.
#[derive(Debug, Default)]
pub(crate) struct Endpoints {
    locals: HashMap<u64, SocketAddress>,
    remotes: HashMap<u64, SocketAddress>,
}

impl Endpoints {
    /// Collects the ends. A process that only connects never learns its local end, and a datagram whose remote end no
    /// hook saw probably has the same one as the datagrams around it. `remotes` are the ends that the packet hooks saw:
    /// they are more reliable than the ends of other flows.
    pub(crate) fn new(
        entries: &[FlowEntry],
        samples: &[SocketEvent],
        remotes: &HashMap<u64, SocketAddress>,
    ) -> Self {
        let mut endpoints = Self::default();
        for socket in samples.iter().filter(|socket| socket.local.1 != 0) {
            endpoints.locals.insert(socket.socket, socket.local);
        }
        for entry in entries {
            let key = &entry.key;
            if entry.is_stream && entry.local.1 != 0 {
                endpoints.locals.insert(key.socket, entry.local);
            }
            if !entry.is_stream && key.peer != [0; 16] {
                endpoints.remotes.entry(key.socket).or_insert((key.peer, key.peer_port));
            }
        }
        endpoints.remotes.extend(remotes);
        endpoints
    }

    /// Whether an end of the flow is unknown that the next drain may know.
    pub(crate) fn is_incomplete(&self, entry: &FlowEntry) -> bool {
        if entry.is_stream {
            entry.lacks_local() && !self.locals.contains_key(&entry.key.socket)
        } else {
            entry.lacks_remote() && !self.remotes.contains_key(&entry.key.socket)
        }
    }

    pub(crate) fn remote(&self, entry: &FlowEntry) -> SocketAddress {
        let own = (entry.key.peer, entry.key.peer_port);
        if entry.lacks_remote() { self.remotes.get(&entry.key.socket).copied().unwrap_or(own) } else { own }
    }

    pub(crate) fn tuple(&self, entry: &FlowEntry) -> FlowTuple {
        let known = if entry.lacks_local() { self.locals.get(&entry.key.socket) } else { None };
        let local = known.copied().unwrap_or(entry.local);
        tuple(local, self.remote(entry), entry.family, entry.key.protocol as u16)
    }
}

/// The remote ends that the packet hooks saw for datagram flows whose own hook saw none. `sent_to` and `received_from`
/// look a socket up by inode number.
pub(crate) fn datagram_remotes(
    entries: &[FlowEntry],
    sent_to: impl Fn(u64) -> Option<SocketAddress>,
    received_from: impl Fn(u64) -> Option<SocketAddress>,
) -> HashMap<u64, SocketAddress> {
    let remote = |entry: &FlowEntry| {
        let socket = entry.key.socket;
        // The end of the flow's own direction comes first, then that of the other direction: a program that answers a
        // peer has received from it, and a peer that answers was sent to.
        let remote = match entry.counters.received > 0 {
            true => received_from(socket).or_else(|| sent_to(socket)),
            false => sent_to(socket).or_else(|| received_from(socket)),
        };
        Some((socket, remote?))
    };
    entries.iter().filter(|entry| entry.lacks_remote()).filter_map(remote).collect()
}

/// Both ends of an open socket, as the socket iterator shows them.
pub(crate) fn socket_tuple(open: &OpenSocket) -> FlowTuple {
    let remote = if open.peer.1 == 0 { SocketAddress::default() } else { open.peer };
    tuple(open.socket.local, remote, open.family, open.protocol)
}

fn tuple(local: SocketAddress, remote: SocketAddress, family: u16, protocol: u16) -> FlowTuple {
    let remote_address = abi::address(remote.0);
    let local_address = abi::address(local.0).filter(|address| !address.is_unspecified());
    let family = match remote_address.or(local_address) {
        // The socket is IPv6, the address IPv4-mapped.
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
