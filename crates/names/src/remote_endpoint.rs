//! The key under which the state of a connection is kept.

use std::net::IpAddr;

use model::{Address, Flow};

/// The remote end of one socket. A domain is decided once for each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RemoteEndpoint {
    /// Inode number of the socket; 0 for a socket of the kernel's own.
    pub socket: u64,
    /// IP address of the remote host.
    pub address: IpAddr,
    /// Remote port of TCP, UDP or another protocol with ports of 16 bits.
    pub port: u16,
}

impl RemoteEndpoint {
    /// `None` for a flow that has no domain: without an IP address, or with a port that has more than 16 bits.
    pub(crate) fn of_flow(flow: &Flow) -> Option<Self> {
        Some(Self {
            socket: flow.id.socket,
            address: flow.tuple.remote_address.and_then(Address::ip)?,
            port: u16::try_from(flow.tuple.remote_port).ok()?,
        })
    }
}
