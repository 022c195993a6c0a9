//! The errors that keep the recorder from starting, or end it.

use std::io;

/// The reasons why the recorder could not start, or had to end before its last message.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// The monitor closed the channel without a last message.
    #[error("the monitor has ended unexpectedly; what it had sent was written")]
    MonitorGone,
    /// The first message was not the settings.
    #[error("the recorder is started by `picosnitch start-no-daemon`, not by hand")]
    NotStartedByMonitor,
    /// The channel or a thread failed.
    #[error("a system call failed that the recorder cannot do without")]
    Io(#[from] io::Error),
}
