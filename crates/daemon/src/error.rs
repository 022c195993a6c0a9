//! The errors that keep the monitor from starting, or end it.

use std::io;

use capture::CaptureError;
use config::LayoutError;

/// The reasons why the monitor could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// Another monitor holds the locks; its process id.
    #[error("picosnitch is running already (process {0}); stop that one first")]
    AlreadyRunning(String),
    /// The pid file cannot be opened or written.
    #[error("the pid file {path} cannot be used{}", advice(source))]
    PidFile {
        /// The path of the pid file.
        path: String,
        /// The error of opening, locking or writing it.
        #[source]
        source: io::Error,
    },
    /// The run directory or one of the log cannot be locked.
    #[error("the directory {path} cannot be locked{}", advice(source))]
    Lock {
        /// The path of the directory.
        path: String,
        /// The error of opening or locking it.
        #[source]
        source: io::Error,
    },
    /// A directory is unsafe or cannot be made.
    #[error(transparent)]
    Directory(#[from] LayoutError),
    /// A limit is too low, or the user that writes the log may not use a directory or a file; why, and what to do.
    #[error("{0}")]
    Unusable(String),
    /// The BPF programs cannot be loaded or attached.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The recorder cannot open the log; its reason.
    #[error("{0}")]
    Log(String),
    /// The recorder ended by itself, or had to be killed; how.
    #[error("the recorder has ended unexpectedly ({0}); start picosnitch again")]
    RecorderGone(String),
    /// The recorder runs and does not answer; its process, since when, and why.
    #[error(
        "the recorder (process {process}) did not answer for {seconds} s: {why}. picosnitch ends, so that it can be started \
             again"
    )]
    RecorderHung {
        /// Process id of the recorder.
        process: u32,
        /// Seconds without an answer.
        seconds: u64,
        /// What its state tells.
        why: &'static str,
    },
    /// A system call failed that the monitor cannot do without.
    #[error("{what}")]
    Io {
        /// A sentence about the action of the monitor that has failed.
        what: &'static str,
        /// The error of the system call.
        #[source]
        source: io::Error,
    },
}

/// What the user can do about a pid file that cannot be opened.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            " (mount its file system writable, or choose another directory for all files with --base-dir)"
        }
        _ => "",
    }
}

/// Returns a function that turns an error of a system call into one of the monitor.
pub(crate) fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> MonitorError {
    move |source| MonitorError::Io { what, source }
}
