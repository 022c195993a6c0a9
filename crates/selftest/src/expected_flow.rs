//! The flows that the log must contain for the traffic of an actor.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The bytes and connections of one socket with one peer, as the actor itself counted them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ExpectedFlow {
    /// Path of the executable; if `is_partial`, a unique part of the path.
    pub(crate) exe: String,
    /// Whether `exe`, `name` and `command_line` are only parts of what is recorded, because the whole is not valid UTF-8.
    #[serde(default)]
    pub(crate) is_partial: bool,
    /// SHA-256 of the executable, hexadecimal; `None` for that of the picosnitch executable.
    #[serde(default)]
    pub(crate) sha256: Option<String>,
    /// `comm` of the thread-group leader.
    pub(crate) name: String,
    /// The command line, its arguments separated by single spaces.
    pub(crate) command_line: String,
    /// Paths of the executables of parent and grandparent, for each process that took part; empty if the actor cannot read
    /// them.
    #[serde(default)]
    pub(crate) ancestors: Vec<[String; 2]>,
    pub(crate) uid: u32,
    /// Inode number of the network namespace.
    pub(crate) network_namespace: u64,
    /// Address family of the traffic: IPv4 over an IPv6 socket is `AF_INET`.
    pub(crate) family: u16,
    /// IP protocol number; not compared for `AF_PACKET`.
    pub(crate) protocol: u16,
    /// `None` for a flow without a remote address (`AF_PACKET`).
    pub(crate) remote_address: Option<IpAddr>,
    /// 0 for a protocol without ports.
    pub(crate) remote_port: u16,
    /// `None` if the actor cannot know it; then it is not compared.
    pub(crate) local_address: Option<IpAddr>,
    /// `None` if the actor cannot know it; then it is not compared.
    pub(crate) local_port: Option<u16>,
    /// Number of connections that were opened or accepted, failed attempts included.
    pub(crate) connections: u64,
    /// Bytes that the kernel accepted.
    pub(crate) sent: u64,
    /// Bytes that the kernel returned.
    pub(crate) received: u64,
}
