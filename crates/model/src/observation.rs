//! Observations from which the domain of an address may follow.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{bytes::Bytes, context::ProcessId};

/// One observation from which the domain of an address may follow: captured bytes of DNS or of a handshake, or the result of
/// the C library's resolver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameObservation {
    /// Time of the observation, nanoseconds of boot time.
    pub time: u64,
    /// The process that was observed.
    pub process: ProcessId,
    /// Network namespace of the process (`ns_common.inum`).
    pub network_namespace: u32,
    /// Real user id of the process.
    pub uid: u32,
    /// Inode number of the socket; 0 for the C library's resolver.
    pub socket: u64,
    /// Remote address of the socket; `None` when unknown.
    pub remote: Option<IpAddr>,
    /// Remote port of the socket.
    pub remote_port: u16,
    /// IP protocol number of the socket.
    pub protocol: u16,
    /// The captured bytes, or the result of the resolver.
    pub payload: ObservedPayload,
}

/// The payload of an observation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ObservedPayload {
    /// The first bytes of what the process sent, and the number of bytes after them that were not captured.
    Sent(Bytes, u32),
    /// The first bytes of what the process received, and the number of bytes after them that were not captured.
    Received(Bytes, u32),
    /// A name that the process resolved with its C library, and the addresses that it got.
    Resolved(Bytes, Vec<IpAddr>),
}
