//! The error of a start.

use std::io;

use nix::errno::Errno;
use thiserror::Error;

/// The reasons why the look-ups cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The process runs as root. The answers come from another machine, so they are only parsed with few rights.
    #[error("a process of root never connects to VirusTotal")]
    RunsAsRoot,
    /// None of the files in which distributions keep the certificates of authorities can be read.
    #[error("there are no certificates of authorities (install ca-certificates): none of {0:?}")]
    NoAuthorities(&'static [&'static str]),
    /// The file of certificates contains none.
    #[error("the file of certificates of authorities holds none")]
    EmptyAuthorities,
    /// The system call eventfd(2) failed.
    #[error(transparent)]
    EventFd(#[from] Errno),
    /// The worker thread cannot be started.
    #[error(transparent)]
    Thread(#[from] io::Error),
}
