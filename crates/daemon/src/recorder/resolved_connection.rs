//! Reads what systemd-resolved resolves from the connection that the monitor made.

use std::{
    io::{ErrorKind, Read},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use names::{ResolvedAnswer, ResolvedStream};

/// A connection to systemd-resolved, which has subscribed to its answers.
pub(super) struct ResolvedConnection {
    stream: UnixStream,
    answers: ResolvedStream,
    /// The network namespace that systemd-resolved resolves for: that of the first process, in which it runs too.
    pub(super) network_namespace: u32,
}

impl ResolvedConnection {
    pub(super) fn new(connection: OwnedFd, network_namespace: u32) -> Self {
        Self { stream: connection.into(), answers: ResolvedStream::default(), network_namespace }
    }

    /// Returns the answers that have come, without waiting; `None` when the connection has ended.
    pub(super) fn read_answers(&mut self) -> Option<Vec<ResolvedAnswer>> {
        let mut bytes = [0; 16 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(0) => None,
            Ok(length) => Some(self.answers.add(bytes.get(..length).unwrap_or_default())),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Some(Vec::new()),
            Err(_) => None,
        }
    }
}

impl AsFd for ResolvedConnection {
    /// Readable when there are answers.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
