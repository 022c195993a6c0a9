//! Flows, which are a process's use of a socket with one peer, and the records that are made of them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    address::Address,
    bytes::Bytes,
    context::{ProcessContext, ProcessId},
    event::Event,
    loss::Loss,
    many::MANY,
};

/// A port: 0 when the protocol has none, at most `u32::MAX` (ports of vsock have 32 bits), or [`PORT_EXECUTION`] or
/// [`PORT_MANY`].
pub type Port = i64;

/// The ports of a record that is about an executed program and not about traffic (`monitor.every_exe`).
pub const PORT_EXECUTION: Port = -1;

/// The port of a folded record whose groups have more than one.
pub const PORT_MANY: Port = -2;

/// How the domain of a flow is known. The log stores the numbers, so they must never change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum DomainSource {
    /// No domain of the remote end is known.
    #[default]
    None = 0,
    /// The process resolved it with its C library (getaddrinfo(3) and its kin) and got this address.
    Resolver = 1,
    /// The process got this address in a DNS answer.
    Dns = 2,
    /// The process named it in the handshake of this TLS connection (SNI: RFC 6066, section 3).
    Tls = 3,
    /// The process named it in the handshake of this QUIC connection (RFC 9001).
    Quic = 4,
    /// The process named it in the first request of this HTTP connection (`Host`: RFC 9112, section 3.2).
    Http = 5,
    /// Another process of the same user, or of root, in the same network namespace got this address for it.
    Namespace = 6,
    /// The owner of the address gave it this name (PTR record).
    Reverse = 7,
    /// The record is folded, and its groups have more than one domain.
    Many = 8,
}

impl DomainSource {
    /// Every source with its name in output and input.
    pub const NAMES: [(&str, Self); 9] = [
        ("unknown", Self::None),
        ("resolver", Self::Resolver),
        ("dns", Self::Dns),
        ("tls", Self::Tls),
        ("quic", Self::Quic),
        ("http", Self::Http),
        ("namespace", Self::Namespace),
        ("reverse", Self::Reverse),
        (MANY, Self::Many),
    ];

    /// The name of this source, for example `dns`.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].0
    }
}

/// The 5-tuple of a flow, and the domain of its remote end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FlowTuple {
    /// Address family of the traffic: `AF_INET` 2, `AF_INET6` 10, `AF_PACKET` 17, `AF_VSOCK` 40. IPv4 over an IPv6 socket is
    /// `AF_INET`. 0 for a record that is not about traffic (`monitor.every_exe`).
    pub family: u16,
    /// IP protocol number (TCP 6, UDP 17, MPTCP 262); for `AF_PACKET` the EtherType, 0 when unknown.
    pub protocol: u16,
    /// Local address; `None` when unknown.
    pub local_address: Option<Address>,
    /// Remote address; `None` when unknown, or if the family has none (`AF_PACKET`).
    pub remote_address: Option<Address>,
    /// Local port, 0 if there is none; see [`Port`].
    pub local_port: Port,
    /// Remote port, 0 if there is none; see [`Port`].
    pub remote_port: Port,
    /// Domain of the remote end; empty when unknown, and when there is more than one ([`DomainSource::Many`]).
    pub domain: Bytes,
    /// How the domain of the remote end is known.
    pub domain_source: DomainSource,
}

impl FlowTuple {
    /// Makes the tuple stand for both: what differs becomes "many". Both have the same family and protocol.
    pub fn fold(&mut self, other: &Self) {
        let fold_port = |port: &mut Port, other| {
            if *port != other {
                *port = PORT_MANY;
            }
        };
        let fold_address = |address: &mut Option<Address>, other| {
            if *address != other {
                *address = Some(Address::Many);
            }
        };
        fold_port(&mut self.local_port, other.local_port);
        fold_port(&mut self.remote_port, other.remote_port);
        fold_address(&mut self.local_address, other.local_address);
        fold_address(&mut self.remote_address, other.remote_address);
        if (&self.domain, self.domain_source) != (&other.domain, other.domain_source) {
            (self.domain, self.domain_source) = (Bytes::new(), DomainSource::Many);
        }
    }
}

/// The id of one process's use of one socket with one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FlowId {
    /// The process that moves the bytes.
    pub process: ProcessId,
    /// Inode number of the socket, which is not used again before the machine restarts; 0 for a socket of the kernel's own.
    pub socket: u64,
    /// Network namespace of the socket (`ns_common.inum`).
    pub network_namespace: u32,
    /// First use of the socket by this process, nanoseconds of boot time; 0 if it has moved nothing.
    pub began: u64,
    /// Real user id at that time.
    pub uid: u32,
    /// This process called `connect()` or sent the first datagram; false for an accepted connection, and for one that
    /// another process opened.
    pub opened: bool,
    /// The socket is closed: no more bytes will follow.
    pub ended: bool,
}

/// The traffic of one flow between two drains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Id of the flow's context.
    pub context: u32,
    /// Id of the flow itself.
    pub id: FlowId,
    /// Its two ends; the domain is not known here.
    pub tuple: FlowTuple,
    /// Its traffic since the last drain; all zero if the flow has only ended.
    pub counters: Counters,
}

/// Counters of connections and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Connections opened: connects (also failed ones), accepts, and for datagrams new peers of a socket.
    pub connections: u64,
    /// Application bytes that the process gave to its sockets.
    pub sent: u64,
    /// Application bytes that the process took from its sockets.
    pub received: u64,
}

impl std::ops::AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.connections = self.connections.saturating_add(other.connections);
        self.sent = self.sent.saturating_add(other.sent);
        self.received = self.received.saturating_add(other.received);
    }
}

/// Country and network of a remote address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GeoInfo {
    /// Country (two letters, ISO 3166-1), or the purpose of an address that is in none (`private`); empty when unknown.
    pub country: Arc<str>,
    /// Number of the autonomous system; 0 when unknown.
    pub network_number: u32,
    /// Name of the autonomous system; empty when unknown.
    pub network: Arc<str>,
}

/// One group of traffic in one time window: a row of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The context, which many records share.
    pub context: Arc<ProcessContext>,
    /// Country and network of the remote address.
    pub geo: GeoInfo,
    /// The two ends of the traffic.
    pub tuple: FlowTuple,
    /// The connections and bytes of the group.
    pub counters: Counters,
    /// The process opened a connection of the group itself ([`FlowId::opened`]).
    pub opened: bool,
    /// The number of groups that are summed in the record: a context has too many in this window. 0 for a group of its own.
    pub folded: u64,
}

/// The data of one time window for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// End of the window, unix seconds UTC.
    pub time: i64,
    /// The same moment, seconds since the machine started (`CLOCK_BOOTTIME`).
    pub uptime: i64,
    /// The records of the window.
    pub records: Vec<Record>,
    /// The losses of the window.
    pub losses: Vec<Loss>,
    /// What else happened in the window.
    pub events: Vec<Event>,
    /// The last drain of the kernel whose flows are in the window or in one before it; `None` if it is not known.
    pub last_drain: Option<DrainId>,
}

/// What was recorded of the time in which picosnitch did not run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Continuity {
    /// Nothing.
    #[default]
    Gap,
    /// The bytes of TCP connections that stayed open, from the counters of their sockets.
    OpenConnections,
    /// Everything: the BPF programs went on counting.
    Whole,
}

/// A drain: one reading of what the kernel has counted. The next run of picosnitch goes on behind the last one in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainId {
    /// A random number for all drains since the hooks were attached.
    pub series: u64,
    /// The drains of a series are numbered from 1 on.
    pub number: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_tuples_share_stays() {
        let tuple = |remote: &str, port, domain: &str| FlowTuple {
            family: 2,
            protocol: 6,
            remote_address: Some(remote.parse().unwrap()),
            remote_port: port,
            domain: domain.into(),
            domain_source: DomainSource::Dns,
            ..FlowTuple::default()
        };
        let mut folded = tuple("192.0.2.1", 443, "a.example");
        folded.fold(&tuple("192.0.2.1", 443, "a.example"));
        assert_eq!(folded, tuple("192.0.2.1", 443, "a.example"));
        folded.fold(&tuple("192.0.2.2", 443, "b.example"));
        assert_eq!((folded.remote_address, folded.remote_port), (Some(Address::Many), 443));
        assert_eq!((folded.domain.as_slice(), folded.domain_source), (&b""[..], DomainSource::Many));
        assert_eq!((folded.local_address, folded.local_port), (None, 0));
        folded.fold(&tuple("192.0.2.2", 80, "b.example"));
        folded.fold(&tuple("192.0.2.2", 80, "b.example"));
        assert_eq!((folded.remote_address, folded.remote_port), (Some(Address::Many), PORT_MANY));
    }
}
