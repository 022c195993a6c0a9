//! What can go wrong with sending, in sentences that say what to do.

use std::{io, time::Duration};

use http_client::NoAuthorities;
use store::StoreError;
use thiserror::Error;

/// Something could not be sent. It is tried again.
#[derive(Debug, Error)]
pub enum ForwardError {
    /// The receiver could not be reached.
    #[error("cannot connect to {0} (is it running, and is the address right?)")]
    Connect(String, #[source] io::Error),
    /// The connection broke, or the receiver closed it before it had read all.
    #[error("{0} has not taken what was sent")]
    Send(String, #[source] io::Error),
    /// The receiver did not answer in time.
    #[error("{0} has not answered for {1} s")]
    Timeout(String, u64),
    /// TLS cannot be used as configured.
    #[error("no TLS connection to {0} is possible (see the key `ca`)")]
    Tls(String, #[source] rustls::Error),
    /// There are no certificates of authorities.
    #[error("{0} cannot be known (see the key `ca`)")]
    NoAuthorities(String, #[source] NoAuthorities),
    /// The web server answered with an error.
    #[error("{address} has answered with status {status}{reason}")]
    Status {
        /// The receiver.
        address: String,
        /// The status (RFC 9110, section 15).
        status: u16,
        /// What it says, behind a colon; or empty.
        reason: String,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The request failed.
    #[error("{0} cannot be asked")]
    Request(String, #[source] Box<ureq::Error>),
    /// The log could not be read.
    #[error("the log cannot be read for {0}")]
    Log(String, #[source] Box<StoreError>),
}

impl ForwardError {
    /// How long the receiver wants to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether the log is not there yet, or is being made: the daemon starts.
    pub(crate) fn is_log_missing(&self) -> bool {
        let Self::Log(_, source) = self else { return false };
        source.is_not_ready()
    }
}
