//! Connects to systemd-resolved. Only root may, so that the monitor connects and hands the connection to the recorder.

use std::{
    io::Write,
    os::{fd::OwnedFd, unix::net::UnixStream},
    time::{Duration, Instant},
};

use names::{RESOLVED_SOCKET, RESOLVED_SUBSCRIBE};

/// Pause between two tries to connect.
const RETRY: Duration = Duration::from_secs(30);

/// Makes one connection to systemd-resolved at a time.
#[derive(Default)]
pub(super) struct ResolvedConnector {
    connected: bool,
    tried: Option<Instant>,
}

impl ResolvedConnector {
    /// Connects if there is no connection and the pause is over. Returns a connection that has subscribed to the answers
    /// of systemd-resolved.
    pub(super) fn connect_if_due(&mut self) -> Option<OwnedFd> {
        if self.connected || self.tried.is_some_and(|last| last.elapsed() < RETRY) {
            return None;
        }
        self.tried = Some(Instant::now());
        let mut stream = UnixStream::connect(RESOLVED_SOCKET).ok()?;
        stream.set_nonblocking(true).ok()?;
        stream.write_all(RESOLVED_SUBSCRIBE).ok()?;
        self.connected = true;
        Some(stream.into())
    }

    /// Takes note that the connection has ended.
    pub(super) fn set_closed(&mut self) {
        self.connected = false;
    }
}
