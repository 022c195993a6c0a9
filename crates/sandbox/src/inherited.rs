//! What a process inherits from the one that started it, and must not rely on: descriptors, signals, working directory, the
//! mask for new files, and resource limits.

use std::{env, io};

use nix::{
    errno::Errno,
    sys::{
        resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit},
        signal::{SigSet, SigmaskHow, sigprocmask},
        stat::{Mode, umask},
    },
};

/// The first descriptor after standard input, output and error.
const FIRST_OTHER: libc::c_uint = 3;
/// Signals of the C library's own (signal(7)).
const OWN_SIGNALS: std::ops::Range<libc::c_int> = 32..34;
/// The last signal (`_NSIG` of the kernel).
const LAST_SIGNAL: libc::c_int = 64;
/// Size of the stack, as on most machines.
const STACK_BYTES: libc::rlim_t = 8 << 20;
/// Descriptors that a monitor gets, if it may have as many.
const WANTED_DESCRIPTORS: libc::rlim_t = 4096;
/// Descriptors without which a monitor cannot start.
const MIN_DESCRIPTORS: libc::rlim_t = 256;
/// Size of files, in bytes, that a log soon has.
const MIN_FILE_BYTES: libc::rlim_t = 64 << 20;

/// Frees this process of what it inherited, but for standard input, output and error, its user and its environment. The
/// monitor calls it first, while it has one thread and no file of its own open.
///
/// # Errors
/// The errors of chdir(2) and of the calls for signals.
pub fn reset() -> io::Result<()> {
    close_others(0);
    // Each file gets its mode by a call of its own; this is for those that SQLite and the kernel make.
    umask(Mode::from_bits_truncate(0o027));
    env::set_current_dir("/")?;
    reset_signals()?;
    lift_limits();
    Ok(())
}

/// Closes all descriptors but standard input, output and error. A process that keeps its user and its environment calls it
/// before it opens a file of its own.
pub fn close() {
    close_others(0);
}

/// Closes all descriptors but standard input, output and error, or marks them as close-on-exec. Needs no memory. Kernels
/// before 5.11 cannot mark them, and it has no effect there.
pub(crate) fn close_others(flags: libc::c_uint) {
    // SAFETY: the caller owns none of these descriptors, or only marks them.
    unsafe { libc::syscall(libc::SYS_close_range, FIRST_OTHER, libc::c_uint::MAX, flags) };
}

/// Unblocks all signals and stops ignoring them (nohup(1), a parent that ignores SIGCHLD). SIGPIPE and SIGXFSZ stay ignored:
/// writes report an error instead.
fn reset_signals() -> io::Result<()> {
    for number in (1..=LAST_SIGNAL).filter(|number| !OWN_SIGNALS.contains(number)) {
        // SAFETY: a zeroed action is a valid one (SIG_DFL), and the call only fills it.
        let (result, action) = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            (libc::sigaction(number, std::ptr::null(), &raw mut action), action)
        };
        if result == 0 && action.sa_sigaction == libc::SIG_IGN && number != libc::SIGPIPE {
            // SAFETY: the default action runs no code of this process.
            unsafe { libc::signal(number, libc::SIG_DFL) };
        }
    }
    // SAFETY: ignoring a signal runs no code.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

/// Lifts the limits that would end the daemon or tear its files, as far as the rights allow it, and forbids core dumps: they
/// would hold what all users of the machine do.
fn lift_limits() {
    use Resource::{
        RLIMIT_AS, RLIMIT_CORE, RLIMIT_CPU, RLIMIT_DATA, RLIMIT_FSIZE, RLIMIT_MEMLOCK, RLIMIT_NOFILE,
        RLIMIT_NPROC, RLIMIT_STACK,
    };
    for resource in [RLIMIT_FSIZE, RLIMIT_CPU, RLIMIT_AS, RLIMIT_DATA, RLIMIT_NPROC, RLIMIT_MEMLOCK] {
        raise(resource, RLIM_INFINITY);
    }
    // The usual limit, and not none, with which the kernel would lay out the memory in another way.
    if getrlimit(RLIMIT_STACK).is_ok_and(|(soft, _)| soft != STACK_BYTES) {
        raise(RLIMIT_STACK, STACK_BYTES);
    }
    if let Ok((soft, hard)) = getrlimit(RLIMIT_NOFILE)
        && soft < WANTED_DESCRIPTORS
    {
        // A limit that is there is raised up to the hard one without any right.
        let _ = setrlimit(RLIMIT_NOFILE, WANTED_DESCRIPTORS.min(hard), hard);
        if hard < WANTED_DESCRIPTORS {
            raise(RLIMIT_NOFILE, WANTED_DESCRIPTORS);
        }
    }
    let _ = setrlimit(RLIMIT_CORE, 0, 0);
}

/// A sentence about a limit that is too low for the daemon and that [`reset`] could not lift.
pub fn limit_problem() -> Option<String> {
    let is_below =
        |resource, minimum| getrlimit(resource).ok().map(|(soft, _)| soft).filter(|soft| *soft < minimum);
    if let Some(bytes) = is_below(Resource::RLIMIT_FSIZE, MIN_FILE_BYTES) {
        return Some(format!(
            "no file may become larger than {bytes} bytes here (`ulimit -f`, LimitFSIZE=), so that no log can be written, and \
             picosnitch has no right to lift that limit (CAP_SYS_RESOURCE): start it without the limit"
        ));
    }
    is_below(Resource::RLIMIT_NOFILE, MIN_DESCRIPTORS).map(|files| {
        format!(
            "only {files} files may be open at a time here (`ulimit -n`, LimitNOFILE=), and picosnitch has no right to lift \
             that limit (CAP_SYS_RESOURCE): start it with {MIN_DESCRIPTORS} at least"
        )
    })
}

/// Sets both limits of a resource; without the right to do so, the soft limit to the hard one.
fn raise(resource: Resource, limit: libc::rlim_t) {
    if setrlimit(resource, limit, limit) == Err(Errno::EPERM)
        && let Ok((_, hard)) = getrlimit(resource)
    {
        let _ = setrlimit(resource, hard, hard);
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::IntoRawFd};

    use nix::{
        fcntl::{FcntlArg, FdFlag, fcntl},
        sys::{
            signal::{SigHandler, Signal, signal},
            wait::{WaitStatus, waitpid},
        },
        unistd::{ForkResult, fork},
    };

    use super::*;

    /// Runs a check in a child, since it changes the whole process.
    fn in_child(check: impl FnOnce() -> bool) {
        // SAFETY: the check makes system calls, and allocates only while no other thread of the child exists; the test
        // fails by a timeout if the lock of the allocator was held at the fork, which glibc rules out.
        match unsafe { fork() }.unwrap() {
            // SAFETY: it ends the child without running code of the parent.
            ForkResult::Child => unsafe { libc::_exit(i32::from(!check())) },
            ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
            }
        }
    }

    #[test]
    fn nothing_of_the_starter_is_left() {
        in_child(|| {
            let raw = File::open("/proc/self/status").unwrap().into_raw_fd();
            umask(Mode::from_bits_truncate(0o777));
            env::set_current_dir("/tmp").unwrap();
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None).unwrap();
            let ignored = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGHUP];
            // SAFETY: ignoring signals runs no code.
            let _ = ignored.map(|number| unsafe { signal(number, SigHandler::SigIgn) }.unwrap());
            setrlimit(Resource::RLIMIT_FSIZE, 4096, RLIM_INFINITY).unwrap();
            setrlimit(Resource::RLIMIT_NOFILE, 128, getrlimit(Resource::RLIMIT_NOFILE).unwrap().1).unwrap();
            reset().unwrap();
            // SAFETY: default actions run no code of this process.
            let were = ignored.map(|number| unsafe { signal(number, SigHandler::SigDfl) }.unwrap());
            // SAFETY: the call takes any number.
            let is_open = unsafe { libc::fcntl(raw, libc::F_GETFD) } >= 0;
            !is_open
                && umask(Mode::empty()) == Mode::from_bits_truncate(0o027)
                && env::current_dir().unwrap() == std::path::Path::new("/")
                && SigSet::thread_get_mask().unwrap() == SigSet::empty()
                && were.iter().all(|was| matches!(was, SigHandler::SigDfl))
                && getrlimit(Resource::RLIMIT_FSIZE).unwrap().0 == RLIM_INFINITY
                && getrlimit(Resource::RLIMIT_CORE).unwrap() == (0, 0)
                && limit_problem().is_none()
        });
    }

    #[test]
    fn a_limit_that_is_too_low_is_named() {
        for (resource, limit, option) in
            [(Resource::RLIMIT_FSIZE, 8192, "ulimit -f"), (Resource::RLIMIT_NOFILE, 64, "ulimit -n")]
        {
            in_child(|| {
                setrlimit(resource, limit, getrlimit(resource).unwrap().1).unwrap();
                limit_problem().is_some_and(|text| text.contains(option) && text.contains(&limit.to_string()))
            });
        }
    }

    #[test]
    fn descriptors_can_be_marked_only() {
        in_child(|| {
            let file = File::open("/proc/self/status").unwrap();
            fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
            close_others(libc::CLOSE_RANGE_CLOEXEC);
            fcntl(&file, FcntlArg::F_GETFD).is_ok_and(|flags| flags == FdFlag::FD_CLOEXEC.bits())
        });
    }
}
