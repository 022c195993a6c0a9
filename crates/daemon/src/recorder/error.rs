//! Errors of the recorder.

use std::io;

/// Why the recorder could not start, or had to end before the monitor told it to.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// The monitor closed the channel without a last message.
    #[error("the monitor has ended unexpectedly; what it had sent was written")]
    MonitorGone,
    /// The first message was not the settings.
    #[error("the recorder is started by `picosnitch start-no-daemon`, not by hand")]
    NotStartedByMonitor,
    /// The log or record.json cannot be used; why.
    #[error("{0}")]
    Log(String),
    /// The channel or a thread failed.
    #[error("the recorder cannot work")]
    Io(#[from] io::Error),
}
