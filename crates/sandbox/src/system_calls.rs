//! The system calls that a web server may make. Every other one fails with EPERM.

use std::{collections::BTreeMap, io};

use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter,
};

/// Calls without a condition: memory, threads, time, bytes of what is open, connections that others opened, and files to read.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_accept4,
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_connect,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getgroups,
    libc::SYS_getpeername,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_newfstatat,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_set_robust_list,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_sigaltstack,
    libc::SYS_statx,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_write,
    libc::SYS_writev,
];

/// The older forms of the calls above, which newer architectures do not have.
#[cfg(target_arch = "x86_64")]
const ALLOWED_OLD: &[libc::c_long] = &[
    libc::SYS_access,
    libc::SYS_epoll_wait,
    libc::SYS_getdents,
    libc::SYS_lstat,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_stat,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_OLD: &[libc::c_long] = &[];

/// Flags of open(2) with which a file could be written or made.
const OPEN_TO_WRITE: libc::c_int = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC;
/// What clone(2) does for threads, and not for processes and namespaces.
const THREAD: libc::c_int = libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
const NAMESPACES: libc::c_int = libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWUTS;
/// Gives a mapping a name, which newer C libraries do (PR_SET_VMA of linux/prctl.h).
const PR_SET_VMA: libc::c_int = 0x5356_4d41;

/// Forbids this thread, and those that it will start, all system calls that the list does not have. A kernel that has no filters
/// forbids nothing.
///
/// # Errors
/// The filter cannot be made, or the kernel refuses it.
pub(crate) fn restrict() -> io::Result<()> {
    // The C library takes this answer for an older kernel, and calls clone(2) instead, whose flags a filter can see. Of two filters
    // the stricter answer counts; the other one must not refuse this call too.
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    install(&compile(clone3, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32))?)?;
    install(&compile(allowed()?, SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow)?)
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The calls that are allowed, and their conditions.
fn allowed() -> io::Result<Rules> {
    let calls = ALLOWED.iter().chain(ALLOWED_OLD).chain(&[libc::SYS_clone3]);
    let mut rules: Rules = calls.map(|call| (*call, Vec::new())).collect();
    let mut allow_if = |call: libc::c_long, conditions: Vec<SeccompCondition>| -> io::Result<()> {
        rules.entry(call).or_default().push(SeccompRule::new(conditions).map_err(no_filter)?);
        Ok(())
    };
    allow_if(libc::SYS_openat, vec![without(2, OPEN_TO_WRITE)?])?;
    #[cfg(target_arch = "x86_64")]
    allow_if(libc::SYS_open, vec![without(1, OPEN_TO_WRITE)?])?;
    // Code that is not a part of this program.
    allow_if(libc::SYS_mmap, vec![without(2, libc::PROT_EXEC)?])?;
    allow_if(libc::SYS_mprotect, vec![without(2, libc::PROT_EXEC)?])?;
    allow_if(libc::SYS_clone, vec![masked(0, THREAD | NAMESPACES, THREAD)?])?;
    // The live socket, and pairs within the process. The listening sockets are there, and no other machine is asked for anything.
    for call in [libc::SYS_socket, libc::SYS_socketpair] {
        allow_if(call, vec![equals(0, libc::AF_UNIX)?])?;
    }
    for request in [libc::FIONBIO, libc::TCGETS] {
        allow_if(libc::SYS_ioctl, vec![masked(1, -1, request as libc::c_int)?])?;
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

/// An argument of 32 bits equals a number.
fn equals(argument: u8, value: libc::c_int) -> io::Result<SeccompCondition> {
    masked(argument, -1, value)
}

/// An argument has none of these bits.
fn without(argument: u8, bits: libc::c_int) -> io::Result<SeccompCondition> {
    masked(argument, bits, 0)
}

/// Of the bits of a mask, an argument has those of a value.
fn masked(argument: u8, mask: libc::c_int, value: libc::c_int) -> io::Result<SeccompCondition> {
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
