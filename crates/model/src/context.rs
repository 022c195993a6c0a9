//! The program behind traffic, its ancestors, and its surroundings.

use serde::{Deserialize, Serialize};

use crate::{bytes::Bytes, digest::Sha256};

/// A program as one process ran it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Program {
    /// Path of the executable in the mount namespace of its process; empty when unknown.
    pub path: Bytes,
    /// `comm` of the thread-group leader, at most 15 bytes.
    pub name: Bytes,
    /// The command line: argv, joined by NUL ([`crate::text::command_line`]).
    pub command_line: Bytes,
    /// Digest of the executable file; `None` when it could not be read, or not yet.
    pub sha256: Option<Sha256>,
}

/// The context of traffic: the program that moved the bytes, its ancestors, user, network namespace and cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessContext {
    /// The program that moved the bytes.
    pub program: Program,
    /// The program that started it; empty for the first process of the machine.
    pub parent: Program,
    /// The program that started the parent; empty if there is none.
    pub grandparent: Program,
    /// Real user id at the time of the traffic.
    pub uid: u32,
    /// Network namespace of the socket: its inode number (`ns_common.inum`), 0 when unknown.
    pub network_namespace: u32,
    /// The cgroup to which the process belongs.
    pub cgroup: CgroupInfo,
}

/// A cgroup (version 2), and the unit, container and application to which its path belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CgroupInfo {
    /// Path, for example `/system.slice/nginx.service`; empty when unknown.
    pub path: Bytes,
    /// systemd unit; empty without one.
    pub unit: Bytes,
    /// Engine and name of the container, for example `docker web-1`; empty outside of one.
    pub container: Bytes,
    /// Application: `Flatpak org.mozilla.firefox`, `Snap firefox`, `AppImage Firefox`, or the id of a desktop application; empty when unknown.
    pub app: Bytes,
}

/// One program run by one process (`struct process_id` of the kernel half). A process id alone is used again, and `execve`
/// replaces the program of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessId {
    /// Start of the thread-group leader, nanoseconds of boot time.
    pub start: u64,
    /// Thread-group id in the initial pid namespace.
    pub tgid: u32,
    /// Number of `execve` calls of the process and its ancestors before this program (`task_struct.self_exec_id`).
    pub exec: u32,
}
