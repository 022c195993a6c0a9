//! One connected client: its queue, its requests, and how much of the traffic it has received.

use std::{
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags},
    sys::socket::{MsgFlags, send},
};

use crate::{
    connections::{OpenConnections, SubscriberPosition},
    protocol::SubscribeRequest,
};

/// Upper bound for the queue. A client for which more bytes would wait is dropped.
pub(super) const MAX_QUEUED_BYTES: usize = 256 * 1024;
/// Traffic is not queued beyond this: it stays in the table, where the counters are newer by the time the client reads.
const MAX_QUEUED_TRAFFIC_BYTES: usize = 64 * 1024;
/// A client that takes nothing for so long, although its queue is not empty, is dropped.
pub(super) const MAX_STALL: Duration = Duration::from_secs(10);
/// Upper bound for one request.
const MAX_REQUEST_BYTES: usize = 1024;

/// One connected client. The methods that return `bool` return false when the client is to be dropped.
pub(super) struct Subscriber {
    stream: UnixStream,
    /// Bytes that the client has not taken yet.
    pub(super) queue: Vec<u8>,
    /// The beginning of a request whose line is not complete.
    request: Vec<u8>,
    /// The part of the table that it has received; `None` without a subscription.
    position: Option<SubscriberPosition>,
    /// Since when it has taken nothing of the queue.
    pub(super) stalled_since: Option<Instant>,
}

impl Subscriber {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, queue: Vec::new(), request: Vec::new(), position: None, stalled_since: None }
    }

    pub(super) fn poll_fd(&self) -> PollFd<'_> {
        let mut flags = PollFlags::POLLIN;
        flags.set(PollFlags::POLLOUT, !self.queue.is_empty());
        PollFd::new(self.stream.as_fd(), flags)
    }

    /// The last round of traffic that it has in full; `None` without a subscription.
    pub(super) fn delivered_round(&self) -> Option<u64> {
        self.position.as_ref().map(SubscriberPosition::delivered)
    }

    pub(super) fn has_stalled(&self) -> bool {
        self.stalled_since.is_some_and(|since| since.elapsed() > MAX_STALL)
    }

    /// Whether the queue has no room for another line of this length: the client is too slow.
    pub(super) fn is_full(&self, line: &[u8]) -> bool {
        self.queue.len() + line.len() > MAX_QUEUED_BYTES
    }

    /// Sends a line, or queues what the client does not take now.
    pub(super) fn send(&mut self, line: &[u8]) -> bool {
        self.queue.extend_from_slice(line);
        self.flush()
    }

    /// Sends what is queued, as much as the client takes.
    pub(super) fn flush(&mut self) -> bool {
        let mut sent = 0;
        while sent < self.queue.len() {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(self.stream.as_raw_fd(), &self.queue[sent..], flags) {
                Ok(bytes) => sent += bytes,
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
        self.queue.drain(..sent);
        if sent > 0 || self.queue.is_empty() {
            self.stalled_since = None;
        }
        if !self.queue.is_empty() {
            self.stalled_since.get_or_insert_with(Instant::now);
        }
        true
    }

    /// Reads and carries out requests.
    pub(super) fn read_requests(&mut self) -> bool {
        loop {
            let mut bytes = [0; 256];
            match (&self.stream).read(&mut bytes) {
                Ok(0) => return false,
                Ok(length) => self.request.extend_from_slice(&bytes[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
            while let Some(end) = self.request.iter().position(|byte| *byte == b'\n') {
                // A request that is not understood may be one of a later version.
                match serde_json::from_slice(&self.request[..end]) {
                    Ok(SubscribeRequest { traffic: true }) => {
                        self.position.get_or_insert_default();
                    }
                    Ok(SubscribeRequest { traffic: false }) => self.position = None,
                    Err(_) => {}
                }
                self.request.drain(..=end);
            }
            if self.request.len() > MAX_REQUEST_BYTES {
                return false;
            }
        }
    }

    /// Sends the traffic that it does not have yet, as much as it takes.
    pub(super) fn send_traffic(&mut self, table: &OpenConnections) -> bool {
        while self.queue.len() < MAX_QUEUED_TRAFFIC_BYTES
            && let Some(position) = &mut self.position
            && let Some(lines) = position.next_lines(table)
        {
            self.queue.extend_from_slice(lines.as_bytes());
            if !self.flush() {
                return false;
            }
        }
        true
    }
}
