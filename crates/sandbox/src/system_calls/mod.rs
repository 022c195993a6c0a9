//! The system calls that each process may make. Every other one fails with EPERM.

use std::{collections::BTreeMap, io};

use libc::{c_int, c_long};
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter,
};

use self::lists::{COMMON, CONNECTING, EVENT_LOOP, READING, REFUSED_TO_MONITOR, RESOLVING, SERVING, WRITING};

mod lists;

/// Flags of open(2) with which a file could be written or made.
const OPEN_TO_WRITE: c_int = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC;
/// What clone(2) does for threads, and not for processes and namespaces.
const THREAD: c_int = libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
const NAMESPACES: [c_int; 7] = [
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWUTS,
];
/// Gives a mapping a name, which newer C libraries do (PR_SET_VMA of linux/prctl.h).
const PR_SET_VMA: c_int = 0x5356_4d41;
/// Operations of fcntl(2) with which the kernel would send a signal to another process.
const SIGNALLING: [c_int; 3] = [libc::F_SETOWN, F_SETSIG, F_SETOWN_EX];
const F_SETSIG: c_int = 10;
const F_SETOWN_EX: c_int = 15;
/// The bit of a system call of the x32 ABI, whose numbers are those of x86-64 for most calls.
#[cfg(target_arch = "x86_64")]
const X32: c_long = 0x4000_0000;

/// The process that a filter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Process {
    /// Reads files and serves sockets that are open; connects to the live socket.
    WebServer,
    /// The same, and connects to another machine, whose copies of logs it shows.
    WebServerOfServer,
    /// Reads and writes files, and serves sockets that are open. It makes no socket.
    Recorder,
    /// Reads files and connects to other machines.
    Exporter,
    /// Connects to the session bus.
    Notifier,
    /// Opens files to read.
    FileOpener,
    /// Reads what is open, and answers.
    Parser,
}

impl Process {
    /// The calls without a condition.
    fn lists(self) -> &'static [&'static [c_long]] {
        match self {
            Self::WebServer => &[COMMON, READING, SERVING, CONNECTING],
            Self::Recorder => &[COMMON, READING, WRITING, SERVING, &[libc::SYS_getppid]],
            Self::Exporter | Self::WebServerOfServer => &[COMMON, READING, SERVING, CONNECTING, RESOLVING],
            Self::Notifier => &[COMMON, READING, SERVING, CONNECTING, EVENT_LOOP],
            Self::FileOpener => &[COMMON, READING],
            Self::Parser => &[COMMON, &[libc::SYS_newfstatat, libc::SYS_statx]],
        }
    }

    /// The families of the sockets that it may make.
    const fn families(self) -> &'static [c_int] {
        match self {
            Self::WebServer | Self::Notifier => &[libc::AF_UNIX],
            Self::Exporter | Self::WebServerOfServer => {
                &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK]
            }
            Self::Recorder | Self::FileOpener | Self::Parser => &[],
        }
    }

    const fn has_threads(self) -> bool {
        !matches!(self, Self::FileOpener | Self::Parser)
    }
}

/// Forbids this thread, and those that it will start, all system calls that the lists of the process do not have. A kernel that
/// has no filters forbids nothing.
///
/// # Errors
/// The filter cannot be made, or the kernel refuses it.
pub(crate) fn restrict(process: Process) -> io::Result<()> {
    refuse_clone3()?;
    install(&compile(allowed(process)?, SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow)?)
}

/// The C library takes this answer for an older kernel, and calls clone(2) instead, whose flags a filter can see. Of two filters
/// the stricter answer counts; the other one must not refuse this call too.
fn refuse_clone3() -> io::Result<()> {
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    install(&compile(clone3, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32))?)
}

/// Forbids this thread, and those and the processes that it will start, what neither the monitor nor a process that it starts
/// needs. `families`: those of the sockets that they make.
///
/// # Errors
/// Like [`restrict`].
pub(crate) fn restrict_monitor(families: &[c_int]) -> io::Result<()> {
    refuse_clone3()?;
    let mut rules: Rules = REFUSED_TO_MONITOR.iter().map(|call| (*call, Vec::new())).collect();
    let new = NAMESPACES.map(|flag| rule([masked(0, flag, flag)?]));
    rules.insert(libc::SYS_clone, new.into_iter().collect::<io::Result<_>>()?);
    // A role gets an empty network namespace, and no process another one.
    rules.insert(libc::SYS_unshare, vec![rule([differs(0, libc::CLONE_NEWNET)?])?]);
    let foreign: Vec<SeccompCondition> =
        families.iter().map(|family| differs(0, *family)).collect::<io::Result<_>>()?;
    rules.insert(libc::SYS_socket, vec![rule(foreign)?]);
    #[cfg(target_arch = "x86_64")]
    {
        let x32: Rules = rules.iter().map(|(call, rules)| (call | X32, rules.clone())).collect();
        rules.extend(x32);
    }
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    install(&compile(rules, SeccompAction::Allow, refused)?)
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The calls that a process may make, and their conditions.
fn allowed(process: Process) -> io::Result<Rules> {
    let calls = process.lists().iter().copied().flatten().chain(&[libc::SYS_clone3]);
    let mut rules: Rules = calls.map(|call| (*call, Vec::new())).collect();
    let mut allow_if = |call: c_long, conditions: Vec<SeccompCondition>| -> io::Result<()> {
        // A call of a list has no condition.
        match rules.get_mut(&call) {
            Some(others) if others.is_empty() => {}
            Some(others) => others.push(rule(conditions)?),
            None => _ = rules.insert(call, vec![rule(conditions)?]),
        }
        Ok(())
    };
    if process != Process::Parser {
        allow_if(libc::SYS_openat, vec![without(2, OPEN_TO_WRITE)?])?;
        #[cfg(target_arch = "x86_64")]
        allow_if(libc::SYS_open, vec![without(1, OPEN_TO_WRITE)?])?;
    }
    // Code that is not a part of this program.
    allow_if(libc::SYS_mmap, vec![without(2, libc::PROT_EXEC)?])?;
    allow_if(libc::SYS_mprotect, vec![without(2, libc::PROT_EXEC)?])?;
    if process.has_threads() {
        let namespaces = NAMESPACES.iter().fold(0, |all, flag| all | flag);
        allow_if(libc::SYS_clone, vec![masked(0, THREAD | namespaces, THREAD)?])?;
    }
    for family in process.families() {
        allow_if(libc::SYS_socket, vec![equals(0, *family)?])?;
        if *family == libc::AF_UNIX {
            allow_if(libc::SYS_socketpair, vec![equals(0, *family)?])?;
        }
    }
    allow_if(
        libc::SYS_fcntl,
        SIGNALLING.map(|operation| differs(1, operation)).into_iter().collect::<io::Result<_>>()?,
    )?;
    let resolves = matches!(process, Process::Exporter | Process::WebServerOfServer);
    let resolver = resolves.then_some(libc::FIONREAD);
    for request in [libc::FIONBIO, libc::TCGETS].into_iter().chain(resolver) {
        allow_if(libc::SYS_ioctl, vec![masked(1, -1, request as c_int)?])?;
    }
    for option in [libc::PR_SET_NAME, PR_SET_VMA] {
        allow_if(libc::SYS_prctl, vec![equals(0, option)?])?;
    }
    // abort(3); nobody else is sent a signal.
    let own = libc::pid_t::try_from(std::process::id()).map_err(io::Error::other)?;
    allow_if(libc::SYS_tgkill, vec![equals(0, own)?])?;
    // Limits are read, and not set.
    let no_limit =
        SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0).map_err(no_filter)?;
    allow_if(libc::SYS_prlimit64, vec![equals(0, 0)?, no_limit])?;
    Ok(rules)
}

fn rule(conditions: impl Into<Vec<SeccompCondition>>) -> io::Result<SeccompRule> {
    SeccompRule::new(conditions.into()).map_err(no_filter)
}

/// An argument of 32 bits equals a number.
fn equals(argument: u8, value: c_int) -> io::Result<SeccompCondition> {
    masked(argument, -1, value)
}

/// An argument of 32 bits is another number.
fn differs(argument: u8, value: c_int) -> io::Result<SeccompCondition> {
    let value = u64::from(value.cast_unsigned());
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value).map_err(no_filter)
}

/// An argument has none of these bits.
fn without(argument: u8, bits: c_int) -> io::Result<SeccompCondition> {
    masked(argument, bits, 0)
}

/// Of the bits of a mask, an argument has those of a value.
fn masked(argument: u8, mask: c_int, value: c_int) -> io::Result<SeccompCondition> {
    // The kernel takes 32 bits of these arguments.
    let (mask, value) = (u64::from(mask.cast_unsigned()), u64::from(value.cast_unsigned()));
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), value)
        .map_err(no_filter)
}

fn compile(rules: Rules, others: SeccompAction, listed: SeccompAction) -> io::Result<BpfProgram> {
    let architecture = std::env::consts::ARCH.try_into().map_err(no_filter)?;
    SeccompFilter::new(rules, others, listed, architecture).and_then(BpfProgram::try_from).map_err(no_filter)
}

fn install(program: &BpfProgram) -> io::Result<()> {
    match apply_filter(program) {
        Ok(()) => Ok(()),
        Err(Error::Seccomp(error)) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL)) => {
            Ok(())
        }
        Err(Error::Seccomp(error) | Error::Prctl(error)) => Err(error),
        Err(error) => Err(io::Error::other(error)),
    }
}

fn no_filter(error: BackendError) -> io::Error {
    io::Error::other(error)
}
