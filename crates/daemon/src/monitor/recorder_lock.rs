//! The lock that a recorder holds until its end, which may be after that of its monitor.

use std::{
    fs::{File, TryLockError},
    os::unix::fs::OpenOptionsExt,
    thread,
    time::{Duration, Instant},
};

use crate::error::{MonitorError, io_error};
use config::layout::Layout;

/// The locked file in the run directory; only root may open it.
const FILE: &str = ".recorder.lock";
const FILE_MODE: u32 = 0o600;
/// How long the recorder of another run may write.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

/// Takes the lock for a new recorder. That of a run whose monitor was killed still writes for a while: this run goes on behind
/// what it has written.
pub(super) fn lock_recorder(layout: &Layout) -> Result<File, MonitorError> {
    let fail = || io_error("the lock file of the recorder in the run directory cannot be used");
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
    options.custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
    let file = options.open(layout.run_dir.join(FILE)).map_err(fail())?;
    let until = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < until => thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => {
                return Err(MonitorError::Unusable(format!(
                    "the recorder of a run whose monitor was killed has not ended within {} s (a process with the command line \
                     `role recorder`): it waits for a disk, or was stopped by a signal. End it, and start picosnitch again",
                    PATIENCE.as_secs()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(fail()(error)),
        }
    }
}
