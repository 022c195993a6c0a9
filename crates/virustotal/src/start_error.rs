//! The error of a start.

use std::io;

use http_client::NoAuthorities;
use nix::errno::Errno;
use thiserror::Error;

/// The reasons why the look-ups cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The process runs as root. The answers come from another machine, so they are only parsed with few rights.
    #[error("a process of root never connects to VirusTotal")]
    RunsAsRoot,
    /// There are no authorities by which VirusTotal could be known.
    #[error(transparent)]
    NoAuthorities(#[from] NoAuthorities),
    /// The system call eventfd(2) failed.
    #[error(transparent)]
    EventFd(#[from] Errno),
    /// The worker thread cannot be started.
    #[error(transparent)]
    Thread(#[from] io::Error),
}
