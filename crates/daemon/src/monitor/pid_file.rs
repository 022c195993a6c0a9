//! The pid file, whose lock keeps a second monitor from starting.

use std::{
    fs::{File, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
};

use crate::error::MonitorError;
use config::layout::Layout;

/// Locks the pid file and writes the id of this process to it. The lock lasts as long as the returned file is open, so
/// that a file left behind by a crash does not keep the next monitor from starting.
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
