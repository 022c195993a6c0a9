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
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{MsgFlags, send},
};

use super::rate_limit::RateLimit;
use crate::{
    connections::{OpenConnections, SubscriberPosition},
    protocol::SubscribeRequest,
};

/// Upper bound for the queue. A client for which more bytes would wait is dropped.
pub(super) const MAX_QUEUED_BYTES: usize = 256 * 1024;
/// Traffic is not queued beyond this: it stays in the table, where the counters are newer by the time the client reads.
const MAX_QUEUED_TRAFFIC_BYTES: usize = 64 * 1024;
/// Traffic that is sent to one client in a turn; the rest follows in the next one.
pub(super) const MAX_TRAFFIC_BYTES_OF_A_TURN: usize = 256 * 1024;
/// A client that takes nothing for so long, although its queue is not empty, is dropped.
pub(super) const MAX_STALL: Duration = Duration::from_secs(10);
/// Upper bound for one request, and for the bytes that are read at a time.
const MAX_REQUEST_BYTES: usize = 1024;
/// Requests and reads that are served at once, and then one for each interval. A client that asks more is read more slowly.
pub(super) const REQUEST_BURST: u32 = 32;
pub(super) const REQUEST_INTERVAL: Duration = Duration::from_millis(250);

/// One connected client. The methods that return `bool` return false when the client is to be dropped.
pub(super) struct Subscriber {
    stream: UnixStream,
    /// Its user id.
    pub(super) user: u32,
    /// Limits its requests.
    limit: RateLimit,
    /// Bytes that the client has not taken yet.
    pub(super) queue: Vec<u8>,
    /// Requests that were read but not carried out: the beginning of one, and whole ones above the limit.
    request: Vec<u8>,
    /// Whether the last turn ended before it had all traffic that it could take.
    has_more_traffic: bool,
    /// The part of the table that it has received; `None` without a subscription.
    position: Option<SubscriberPosition>,
    /// Since when it has taken nothing of the queue.
    pub(super) stalled_since: Option<Instant>,
}

impl Subscriber {
    pub(super) fn new(stream: UnixStream, user: u32, now: Instant) -> Self {
        let limit = RateLimit::new(REQUEST_BURST, REQUEST_INTERVAL, now);
        let (queue, request) = (Vec::new(), Vec::new());
        let (position, stalled_since) = (None, None);
        Self { stream, user, limit, queue, request, has_more_traffic: false, position, stalled_since }
    }

    /// The events to wait for; `None` if there are none before [`Subscriber::due`].
    pub(super) fn poll_fd(&self, now: Instant) -> Option<PollFd<'_>> {
        let mut flags = PollFlags::empty();
        // With requests above the limit, even the end of the connection is noticed when one is served.
        flags.set(PollFlags::POLLIN, self.limit.due() <= now);
        flags.set(PollFlags::POLLOUT, !self.queue.is_empty());
        (!flags.is_empty()).then(|| PollFd::new(self.stream.as_fd(), flags))
    }

    /// When there is something to do for it even if nothing happens: the next turn of its traffic, or of requests above the limit.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        if self.has_more_traffic && self.position.is_some() {
            return Some(now);
        }
        Some(self.limit.due()).filter(|due| *due > now || self.has_request())
    }

    fn has_request(&self) -> bool {
        self.request.contains(&b'\n')
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

    /// Reads once, and carries out requests, as many as the limit allows.
    /// `may_subscribe` counts a subscription of its user; false lets it wait.
    pub(super) fn read_requests(&mut self, now: Instant, may_subscribe: impl FnMut(u32) -> bool) -> bool {
        if self.limit.due() > now {
            return true;
        }
        if self.has_request() {
            // Requests that are still to be carried out hide the end of the connection.
            return self.is_connected() && self.carry_out_requests(now, may_subscribe);
        }
        let mut bytes = [0; MAX_REQUEST_BYTES + 1];
        match (&self.stream).read(&mut bytes) {
            Ok(0) => return false,
            Ok(length) => self.request.extend_from_slice(&bytes[..length]),
            Err(error) => {
                return matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted);
            }
        }
        self.limit.take(now);
        self.carry_out_requests(now, may_subscribe)
    }

    fn carry_out_requests(&mut self, now: Instant, mut may_subscribe: impl FnMut(u32) -> bool) -> bool {
        let mut done = 0;
        while let Some(length) = self.request[done..].iter().position(|byte| *byte == b'\n')
            && self.limit.take(now)
        {
            // A request that is not understood may be one of a later version.
            match serde_json::from_slice(&self.request[done..done + length]) {
                Ok(SubscribeRequest { traffic: true }) => {
                    if self.position.is_none() && !may_subscribe(self.user) {
                        break;
                    }
                    self.position.get_or_insert_default();
                }
                Ok(SubscribeRequest { traffic: false }) => self.position = None,
                Err(_) => {}
            }
            done += length + 1;
        }
        self.request.drain(..done);
        self.has_request() || self.request.len() <= MAX_REQUEST_BYTES
    }

    /// Whether the client has not closed its end.
    fn is_connected(&self) -> bool {
        let mut interests = [PollFd::new(self.stream.as_fd(), PollFlags::empty())];
        let _ = poll(&mut interests, PollTimeout::ZERO);
        !interests[0]
            .revents()
            .is_some_and(|events| events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR))
    }

    /// Sends the traffic that it does not have yet, as much as it takes, in one turn.
    pub(super) fn send_traffic(&mut self, table: &OpenConnections) -> bool {
        self.has_more_traffic = false;
        let mut sent = 0;
        while self.queue.len() < MAX_QUEUED_TRAFFIC_BYTES
            && let Some(position) = &mut self.position
        {
            if sent >= MAX_TRAFFIC_BYTES_OF_A_TURN {
                self.has_more_traffic = true;
                break;
            }
            let Some(lines) = position.next_lines(table) else { break };
            sent += lines.len();
            self.queue.extend_from_slice(lines.as_bytes());
            if !self.flush() {
                return false;
            }
        }
        true
    }
}
