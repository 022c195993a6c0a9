//! Plain data that all rooms share. No input or output happens here.
//!
//! Paths, names and command lines are bytes from strangers ([`Bytes`]): any byte may occur. They become
//! text in one place only, `ui::format`.

use std::{net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

mod observation;
mod process_event;
pub mod text;

pub use observation::{Heard, Said};
pub use process_event::{FileIdentity, ProcessEvent};

/// Bytes that a stranger chose: a path, a process name, a command line.
pub type Bytes = Vec<u8>;

/// The SHA-256 digest of an executable file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// The digest in lower-case hexadecimal.
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads 64 hexadecimal digits of either case.
    pub fn from_hex(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 64 {
            return None;
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(text.chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            *byte = (high * 16 + low) as u8;
        }
        Some(Self(digest))
    }
}

/// A program as one process ran it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Program {
    /// Path of the executable in the mount namespace of its process; empty when unknown.
    pub path: Bytes,
    /// `comm` of the thread-group leader, at most 15 bytes.
    pub name: Bytes,
    /// Arguments, separated by single spaces.
    pub command_line: Bytes,
    /// Digest of the executable file; `None` when it could not be read (or not yet).
    pub sha256: Option<Sha256>,
}

/// The first address of the network that `address` and the number of leading bits `prefix_length` name.
pub fn first_address(address: IpAddr, prefix_length: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix_length.min(32))).unwrap_or(0);
            IpAddr::V4((u32::from(address) & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix_length.min(128))).unwrap_or(0);
            IpAddr::V6((u128::from(address) & mask).into())
        }
    }
}

/// The last address of that network.
pub fn last_address(address: IpAddr, prefix_length: u8) -> IpAddr {
    match first_address(address, prefix_length) {
        IpAddr::V4(first) => {
            IpAddr::V4((u32::from(first) | u32::MAX.checked_shr(prefix_length.into()).unwrap_or(0)).into())
        }
        IpAddr::V6(first) => {
            IpAddr::V6((u128::from(first) | u128::MAX.checked_shr(prefix_length.into()).unwrap_or(0)).into())
        }
    }
}

/// Who talked: a process, those who started it, and where it ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Talker {
    /// The process that moved the bytes.
    pub program: Program,
    /// The process that started it; empty for the first process of the machine.
    pub parent: Program,
    /// The process that started the parent.
    pub grandparent: Program,
    /// Real user id.
    pub uid: u32,
    /// Network namespace of the socket: its inode number (`ns_common.inum`), 0 when unknown.
    pub network_namespace: u32,
    /// Where it ran.
    pub place: Place,
}

/// Where a process ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Path of the process's cgroup (version 2), for example `/system.slice/nginx.service`; empty when unknown.
    pub cgroup: Bytes,
    /// systemd unit; empty without one.
    pub unit: Bytes,
    /// Engine and name of the container, for example `docker web-1`; empty outside of one.
    pub container: Bytes,
    /// Application: `Flatpak org.mozilla.firefox`, `Snap firefox`, or the id of a desktop application; empty when unknown.
    pub app: Bytes,
}

/// Where the other end of the traffic is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    /// Country (two letters, ISO 3166-1), or the purpose of an address that is in none (`private`); empty when unknown.
    pub country: Arc<str>,
    /// Number of the autonomous system; 0 when unknown.
    pub network_number: u32,
    /// Name of the autonomous system; empty when unknown.
    pub network: Arc<str>,
}

/// How the domain of a peer is known. The numbers are stored: never change one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum DomainSource {
    /// No domain is known.
    #[default]
    None = 0,
    /// The process asked its C library for it and got this address.
    Asked = 1,
    /// The process got this address from a name server.
    Dns = 2,
    /// The process named it when it opened this TLS connection (RFC 6066, section 3).
    Tls = 3,
    /// The same for QUIC (RFC 9001).
    Quic = 4,
    /// The process named it in the first request of this HTTP connection.
    Http = 5,
    /// Another process of the same user, or of root, in the same network namespace got this address for it.
    Namespace = 6,
    /// The owner of the address says so (PTR record).
    Reverse = 7,
}

/// The other end of the traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Peer {
    /// Address family of the traffic: `AF_INET` 2, `AF_INET6` 10, `AF_PACKET` 17. IPv4 over an IPv6 socket is
    /// `AF_INET`. 0 for a record that is not about traffic (`monitor.every_exe`).
    pub family: u16,
    /// IP protocol number (TCP 6, UDP 17, MPTCP 262); for `AF_PACKET` the EtherType, 0 when unknown.
    pub protocol: u16,
    /// Local address; `None` when unknown.
    pub local_address: Option<IpAddr>,
    /// Remote address; `None` when unknown or without one (`AF_PACKET`).
    pub remote_address: Option<IpAddr>,
    /// Local port; 0 when the protocol has none; -1 for a record of `monitor.every_exe`.
    pub local_port: i32,
    /// Remote port; 0 when the protocol has none; -1 for a record of `monitor.every_exe`.
    pub remote_port: i32,
    /// Domain of the peer; empty when unknown.
    pub domain: Bytes,
    /// How the domain is known.
    pub domain_source: DomainSource,
}

/// One program run by one process (`struct process_id`): a process id alone is used again, and `execve` makes
/// another program of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessId {
    /// Start of the thread-group leader, nanoseconds of boot time.
    pub start: u64,
    /// Thread-group id in the initial pid namespace.
    pub tgid: u32,
    /// Number of `execve` calls of the process and its ancestors before it (`task_struct.self_exec_id`).
    pub exec: u32,
}

/// One process's use of one socket with one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Connection {
    /// Who moves the bytes.
    pub process: ProcessId,
    /// Inode number of the socket, which no other socket has before the machine is started again; 0 for one of the
    /// kernel's own.
    pub socket: u64,
    /// Network namespace of the socket (`ns_common.inum`).
    pub network_namespace: u32,
    /// Its first use by this process, nanoseconds of boot time.
    pub began: u64,
    /// Real user id when it began.
    pub uid: u32,
    /// This process called `connect()`, or sent the first datagram; false for an accepted connection, and for one that
    /// another process opened.
    pub opened: bool,
    /// Nothing more will come.
    pub ended: bool,
}

/// Nanoseconds since the boot, the clock of `bpf_ktime_get_boot_ns`.
pub fn boot_time() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
    now.map_or(0, |now| std::time::Duration::from(now).as_nanos() as u64)
}

/// What one connection moved between two drains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Id of the talker.
    pub talker: u32,
    /// Which connection it is.
    pub connection: Connection,
    /// With whom; the domain is not known here.
    pub peer: Peer,
    /// How much; nothing when only its end is news.
    pub amounts: Amounts,
}

/// What was moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amounts {
    /// Connections opened: connects (also failed ones), accepts, and for datagrams new peers of a socket.
    pub connections: u64,
    /// Application bytes that the process gave to its sockets.
    pub sent: u64,
    /// Application bytes that the process took from its sockets.
    pub received: u64,
}

impl std::ops::AddAssign for Amounts {
    fn add_assign(&mut self, other: Self) {
        self.connections = self.connections.saturating_add(other.connections);
        self.sent = self.sent.saturating_add(other.sent);
        self.received = self.received.saturating_add(other.received);
    }
}

/// One group of traffic in one time window: a row of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// End of the window, unix seconds UTC.
    pub time: i64,
    /// Who talked; shared, since one program makes many records.
    pub talker: Arc<Talker>,
    /// Where the peer is.
    pub location: Location,
    /// With whom.
    pub peer: Peer,
    /// How much.
    pub amounts: Amounts,
}

/// Something that was not seen or not kept. Every loss has a count and a sentence; silence means nothing was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LossKind {
    /// Process events (exec, fork, exit) that did not fit into the ring buffer.
    ProcessEvents,
    /// Sends, receives and connects that found the kernel's flow table full: their bytes are not in any record.
    FlowTableFull,
    /// The bytes of those.
    FlowTableBytes,
    /// Closed sockets whose event did not fit into the ring buffer. Their traffic is recorded all the same.
    ReleaseEvents,
    /// Hook calls that the kernel skipped, because the same hook was interrupted on that CPU.
    SkippedCalls,
    /// Flows that the monitor could not hand to the recorder.
    Channel,
    /// Records that could not be written to the log.
    Log,
    /// Answers of name servers, and greetings of connections, that were not taken: peers may lack their domain.
    Names,
    /// Sockets whose bytes this kernel does not show (for example an `AF_PACKET` ring).
    UncountableSocket,
}

impl LossKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::SkippedCalls,
        Self::ProcessEvents,
        Self::FlowTableFull,
        Self::FlowTableBytes,
        Self::ReleaseEvents,
        Self::Channel,
        Self::Log,
        Self::Names,
        Self::UncountableSocket,
    ];
}

/// A number of things lost in one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// What was lost.
    pub kind: LossKind,
    /// How many (events, flows, records or sockets, as `kind` says).
    pub count: u64,
}

impl Loss {
    /// What was lost, and what that means, in words.
    pub fn sentence(&self) -> String {
        let count = self.count;
        match self.kind {
            LossKind::ProcessEvents => format!(
                "{count} process events were lost because the ring buffer was full: traffic may lack the name of its \
                 program. A larger monitor.ring_buffer_pages helps."
            ),
            LossKind::FlowTableFull => format!(
                "{count} sends, receives or connects are in no record because the kernel's flow table was full."
            ),
            LossKind::FlowTableBytes => format!("{count} bytes are in no record because of that."),
            LossKind::ReleaseEvents => format!(
                "{count} closed sockets were noticed late because the ring buffer was full; their traffic is recorded."
            ),
            LossKind::SkippedCalls => format!(
                "{count} events were skipped by the kernel because picosnitch's hook was interrupted on that CPU: a send, \
                 a receive or the name of a program may be missing."
            ),
            LossKind::Channel => format!("{count} flows are in no record because the recorder was too slow."),
            LossKind::Log => format!("{count} records could not be written to the log and are lost."),
            LossKind::Names => format!(
                "{count} answers of name servers or greetings of connections came too fast: peers may lack their domain."
            ),
            LossKind::UncountableSocket => {
                format!("{count} sockets moved bytes that this kernel does not show; they are in no record.")
            }
        }
    }
}

/// All that one time window brings to the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// End of the window, unix seconds UTC; the `time` of each of its records.
    pub time: i64,
    /// What was recorded.
    pub records: Vec<Record>,
    /// What was lost.
    pub losses: Vec<Loss>,
}

/// An error with all its causes, in one line.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}
