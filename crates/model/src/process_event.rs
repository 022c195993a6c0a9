//! The description of a process that the kernel half sends with each exec and fork.

use serde::{Deserialize, Serialize};

use crate::{bytes::Bytes, context::ProcessId};

/// Identifies a file and the state of its content (`struct file_identity`). These are the numbers in the kernel's inode, which
/// stat(2) does not show on every file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileIdentity {
    /// Inode number; 0 if the file is unknown.
    pub inode: u64,
    /// Size of the file in bytes.
    pub size: u64,
    /// Time of the last modification (mtime): seconds and nanoseconds.
    pub modified: (i64, u32),
    /// Time of the last change of the inode (ctime): seconds and nanoseconds.
    pub changed: (i64, u32),
    /// Generation of the inode, which differs when its number is used again; 0 if the file system has none.
    pub generation: u32,
    /// Device number of the file system in the kernel's encoding (major << 20 | minor).
    pub device: u32,
}

/// A process as the kernel half described it at an exec or a fork.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessEvent {
    /// Id of the process with this program.
    pub id: ProcessId,
    /// Its parent (`task_struct.real_parent`, so never a tracer); `tgid` is 0 if there is none.
    pub parent: ProcessId,
    /// The parent of the parent; `tgid` is 0 if there is none.
    pub grandparent: ProcessId,
    /// Id of the cgroup (version 2) of the process.
    pub cgroup: u64,
    /// The executable file of the program.
    pub executable: FileIdentity,
    /// Real user id of the process.
    pub uid: u32,
    /// Mount namespace of the process (`ns_common.inum`).
    pub mount_namespace: u32,
    /// Name (`comm`) of the thread-group leader.
    pub name: Bytes,
    /// Path of the executable from the root of its mount namespace; empty if unknown.
    pub path: Bytes,
    /// Arguments (argv), joined by NUL ([`crate::text::command_line`]).
    pub command_line: Bytes,
    /// Whether the process is a kernel thread.
    pub kernel: bool,
    /// Whether fanotify reports executions on the file system of the executable; always false for a memfd.
    pub watched: bool,
}
