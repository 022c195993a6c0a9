//! Why the monitor could not start, or had to end.

use std::io;

use capture::CaptureError;

/// Why the monitor could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// Another one is running.
    #[error("picosnitch is running already (process {0}); stop that one first")]
    AlreadyRunning(String),
    /// The pid file is not usable.
    #[error("the pid file {path} cannot be used")]
    PidFile {
        /// Its path.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nothing can be captured.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The recorder gave up.
    #[error("{0}")]
    Log(String),
    /// The recorder ended by itself.
    #[error("the recorder has ended unexpectedly ({0}); start picosnitch again")]
    RecorderGone(String),
    /// A system call failed.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

pub(super) fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> MonitorError {
    move |source| MonitorError::Io { what, source }
}
