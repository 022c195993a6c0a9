//! What the kernel half tells of a process.

use crate::{Bytes, ProcessId};

/// Which file an executable is, and in which state (`struct file_identity`): the kernel's own numbers, which stat(2)
/// does not always show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileIdentity {
    /// Inode number; 0 when the file is unknown.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Last modification (mtime): seconds, nanoseconds.
    pub modified: (i64, u32),
    /// Last change of the inode (ctime): seconds, nanoseconds.
    pub changed: (i64, u32),
    /// Differs when an inode number is used again; 0 where the file system has no generations.
    pub generation: u32,
    /// Device in the kernel's encoding (major << 20 | minor).
    pub device: u32,
}

/// A process as the kernel described it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessEvent {
    /// The process.
    pub id: ProcessId,
    /// Its parent (`real_parent`, so not a tracer); `tgid` 0 for none.
    pub parent: ProcessId,
    /// The parent's parent.
    pub grandparent: ProcessId,
    /// Id of its version 2 cgroup.
    pub cgroup: u64,
    /// The executable.
    pub executable: FileIdentity,
    /// Real user id.
    pub uid: u32,
    /// Mount namespace (`ns_common.inum`).
    pub mount_namespace: u32,
    /// Name of the thread-group leader.
    pub name: Bytes,
    /// Path of the executable from the root of its mount namespace; empty when unknown.
    pub path: Bytes,
    /// Arguments, separated by single spaces.
    pub command_line: Bytes,
    /// A kernel thread.
    pub kernel: bool,
    /// fanotify hands over what is executed from the executable's file system; never so for a memfd.
    pub watched: bool,
}
