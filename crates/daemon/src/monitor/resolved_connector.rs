//! The way from systemd-resolved to the recorder: the monitor connects, since only root may, and gives the connection away.

use std::{
    io::{Read, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{fs::MetadataExt, net::UnixStream},
    },
    time::{Duration, Instant},
};

use names::{Answer, Answers, RESOLVED_SOCKET, RESOLVED_SUBSCRIBE};

/// Pause before it is looked for again.
const RETRY: Duration = Duration::from_secs(30);

/// The monitor's side.
#[derive(Default)]
pub struct Connecting {
    connected: bool,
    tried: Option<Instant>,
}

impl Connecting {
    /// A connection to give away, when it is time to try and it succeeds.
    pub fn try_now(&mut self) -> Option<OwnedFd> {
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

    /// The recorder says that the connection has ended.
    pub fn ended(&mut self) {
        self.connected = false;
    }
}

/// The recorder's side.
pub struct Resolved {
    stream: UnixStream,
    answers: Answers,
    /// The network namespace that it answers for: the one of this process, in which it runs, too.
    pub network_namespace: u32,
}

impl Resolved {
    /// Reads from a connection.
    pub fn new(connection: OwnedFd) -> Self {
        let namespace = std::fs::metadata("/proc/self/ns/net").map_or(0, |namespace| namespace.ino());
        let network_namespace = u32::try_from(namespace).unwrap_or(0);
        Self { stream: connection.into(), answers: Answers::default(), network_namespace }
    }

    /// Readable when there are answers.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Answers that have come, without waiting; `None` when the connection has ended.
    pub fn take(&mut self) -> Option<Vec<Answer>> {
        let mut bytes = [0; 16 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(0) => None,
            Ok(length) => Some(self.answers.add(bytes.get(..length).unwrap_or_default())),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Some(Vec::new()),
            Err(_) => None,
        }
    }
}
