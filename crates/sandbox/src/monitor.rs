//! The rights that the monitor keeps, and what it takes from itself and all processes that it starts.

use std::{fs, io};

use nix::sys::prctl;

use crate::{capabilities, file_access, system_calls, web_server::require_one_thread};

/// The capabilities of the monitor (linux/capability.h), each with what it is for.
const CAPABILITIES: [u32; 13] = [
    CAP_CHOWN,
    CAP_DAC_OVERRIDE,
    CAP_DAC_READ_SEARCH,
    CAP_FOWNER,
    CAP_KILL,
    CAP_SETGID,
    CAP_SETUID,
    CAP_SETPCAP,
    CAP_SYS_PTRACE,
    CAP_SYS_ADMIN,
    CAP_SYS_RESOURCE,
    CAP_PERFMON,
    CAP_BPF,
];

/// Gives the files of the log to the user who writes it.
const CAP_CHOWN: u32 = 0;
/// Writes error.log, which belongs to that user, when the recorder is stuck; makes files in directories of that user.
const CAP_DAC_OVERRIDE: u32 = 1;
/// Opens executables and C libraries that only their owner may read.
const CAP_DAC_READ_SEARCH: u32 = 2;
/// Sets the mode of the directories and files that it has given away.
const CAP_FOWNER: u32 = 3;
/// Ends and continues the processes that it started as other users.
const CAP_KILL: u32 = 5;
/// Starts the roles as other users.
const CAP_SETGID: u32 = 6;
/// Starts the roles as other users.
const CAP_SETUID: u32 = 7;
/// Empties the bounding set of the roles.
const CAP_SETPCAP: u32 = 8;
/// Reads what /proc shows of the processes of others: executables, maps, namespaces.
const CAP_SYS_PTRACE: u32 = 19;
/// fanotify, mapped files of other processes, network namespaces for the roles; BPF for what CAP_BPF does not cover.
const CAP_SYS_ADMIN: u32 = 21;
/// Lifts the limits that it was started with.
const CAP_SYS_RESOURCE: u32 = 24;
/// Attaches the BPF programs.
const CAP_PERFMON: u32 = 38;
/// Loads the BPF programs.
const CAP_BPF: u32 = 39;

/// The rights of the monitor.
#[derive(Clone, Copy, Debug)]
pub struct Monitor {
    /// Whether it starts the exporter, which connects to other machines.
    pub starts_exporter: bool,
}

impl Monitor {
    /// Gives up the capabilities that the monitor does not need, in all sets, the way to get them back, and the system calls
    /// that neither it nor a process that it starts needs. Must be called by the only thread, before a role is started.
    ///
    /// # Errors
    /// The errors of the calls; `Other` if there is another thread. The caller must not go on then.
    pub fn enter(self) -> io::Result<()> {
        require_one_thread()?;
        prctl::set_dumpable(false)?;
        prctl::set_no_new_privs()?;
        capabilities::keep(&CAPABILITIES)?;
        let families: &[libc::c_int] = match self.starts_exporter {
            false => &[libc::AF_UNIX],
            true => &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK],
        };
        system_calls::restrict_monitor(families)
    }
}

/// Sentences about the walls that this kernel does not have, so that the roles run without them.
pub fn missing_walls() -> Vec<String> {
    let mut missing = Vec::new();
    if file_access::version() == 0 {
        missing.push(
            "this kernel does not enforce Landlock (Linux 5.13 with CONFIG_SECURITY_LANDLOCK, and `landlock` among lsm=): the \
             recorder and the exporter, if an attacker took them over, could read what every user may read"
                .to_owned(),
        );
    }
    if !fs::exists("/proc/sys/kernel/seccomp/actions_avail").unwrap_or(false) {
        missing.push(
            "this kernel has no filters of system calls (CONFIG_SECCOMP_FILTER): the processes of picosnitch may make all of \
             them that their users may"
                .to_owned(),
        );
    }
    if !fs::exists("/proc/self/ns/net").unwrap_or(false) {
        missing.push(
            "this kernel has no network namespaces (CONFIG_NET_NS): the recorder runs in that of the machine"
                .to_owned(),
        );
    }
    missing
}
