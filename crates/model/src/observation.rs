//! What may tell the name of an address.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{Bytes, ProcessId};

/// Something that may tell the name of an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// When, nanoseconds of boot time.
    pub time: u64,
    /// Who said or asked it.
    pub process: ProcessId,
    /// Network namespace (`ns_common.inum`).
    pub network_namespace: u32,
    /// Real user id of the process.
    pub uid: u32,
    /// Inode number of the socket; 0 for a question to the C library.
    pub socket: u64,
    /// The other end; `None` when unknown.
    pub remote: Option<IpAddr>,
    /// Its port.
    pub remote_port: u16,
    /// IP protocol number.
    pub protocol: u16,
    /// What it was.
    pub said: Said,
}

/// What was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// The process gave these bytes to its socket, and then so many more that are not known.
    Sent(Bytes, u32),
    /// The process took these bytes from its socket, and then so many more that are not known.
    Received(Bytes, u32),
    /// The process asked its C library for this name and got these addresses.
    Asked(Bytes, Vec<IpAddr>),
}
