//! The key under which the domain of a connection becomes known.

use model::{Address, FlowTuple, Port};

/// A socket and the remote end with which it exchanges bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketPeer {
    socket: u64,
    remote_address: Address,
    remote_port: Port,
}

impl SocketPeer {
    /// The peer of the socket with this inode number; `None` if the remote end has no address.
    pub fn new(socket: u64, tuple: &FlowTuple) -> Option<Self> {
        Some(Self { socket, remote_address: tuple.remote_address?, remote_port: tuple.remote_port })
    }
}
