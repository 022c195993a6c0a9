//! The key under which the state of a connection is kept.

use std::net::IpAddr;

use model::{Address, FlowTuple};

/// The remote end of one socket. A domain is decided once for each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RemoteEndpoint {
    /// Inode number of the socket; 0 for a socket of the kernel's own.
    pub(crate) socket: u64,
    /// IP address of the remote host.
    pub(crate) address: IpAddr,
    /// Remote port of TCP, UDP or another protocol with ports of 16 bits.
    pub(crate) port: u16,
}

impl RemoteEndpoint {
    /// `None` for a tuple that has no domain: without an IP address, or with a port that has more than 16 bits.
    pub fn new(socket: u64, tuple: &FlowTuple) -> Option<Self> {
        Some(Self {
            socket,
            address: tuple.remote_address.and_then(Address::ip)?,
            port: u16::try_from(tuple.remote_port).ok()?,
        })
    }

    /// IP address of the remote host.
    pub fn address(&self) -> IpAddr {
        self.address
    }
}
