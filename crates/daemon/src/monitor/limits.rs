//! What the monitor asks of the system before anything else: its pid file, its limits, its signals.

use std::{
    fs::{File, TryLockError},
    io::{Read, Seek, Write},
    os::{fd::RawFd, unix::fs::OpenOptionsExt},
    time::{Duration, Instant},
};

use nix::sys::{
    resource::{Resource, getrlimit, setrlimit},
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};

use super::error::{MonitorError, io_error};
use config::layout::Layout;

/// Holds the pid file as long as it is open: a lock ends with its process, so a file that was left behind by a crash
/// blocks nothing.
pub(super) fn lock_pid_file(layout: &Layout) -> Result<File, MonitorError> {
    let path = layout.run_dir.join("picosnitch.pid");
    let fail = |source| MonitorError::PidFile { path: path.display().to_string(), source };
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(&path)
        .map_err(fail)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            file.take(16).read_to_string(&mut pid).map_err(fail)?;
            return Err(MonitorError::AlreadyRunning(pid.trim().to_owned()));
        }
        Err(TryLockError::Error(error)) => return Err(fail(error)),
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(fail)?;
    writeln!(file, "{}", std::process::id()).map_err(fail)?;
    Ok(file)
}

/// Sets the limit of open descriptors: as configured, or as high as the system allows. Each executable that waits to be
/// hashed holds one.
pub(super) fn raise_descriptor_limit(configured: Option<u64>) -> Result<(), MonitorError> {
    let fail = "the limit of open descriptors (monitor.rlimit_nofile) cannot be set";
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| io_error(fail)(error.into()))?;
    let limit = configured.unwrap_or(hard);
    setrlimit(Resource::RLIMIT_NOFILE, limit, hard.max(limit)).map_err(|error| io_error(fail)(error.into()))
}

pub(super) fn block_signals() -> Result<SignalFd, MonitorError> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    // Log files are to be opened again, or the terminal of a foreground run was closed.
    signals.add(Signal::SIGHUP);
    let fail = "signals cannot be received";
    signals.thread_block().map_err(|error| io_error(fail)(error.into()))?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|error| io_error(fail)(error.into()))
}

pub(super) fn is_terminal(descriptor: RawFd) -> bool {
    // SAFETY: it only asks about a number, which need not be that of an open file.
    unsafe { libc::isatty(descriptor) == 1 }
}

/// Keeps the memory of all threads in one heap: they are few and seldom busy, and one each would cost more than it brings.
/// To be called before there are threads.
pub(super) fn share_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a setting of the allocator (mallopt(3)).
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Time between two returns of memory.
const GIVE_BACK_PAUSE: Duration = Duration::from_secs(60);

/// Gives memory back to the system that a burst has left behind: the C library keeps what lies between things that are
/// still used. `last` is when that was done before.
pub(super) fn give_back_memory(last: &mut Instant) {
    if last.elapsed() < GIVE_BACK_PAUSE {
        return;
    }
    *last = Instant::now();
    #[cfg(target_env = "gnu")]
    // SAFETY: it only looks at free memory.
    unsafe {
        libc::malloc_trim(0);
    }
}
