//! The daemon's side of the live socket: sends lines to all subscribers, and never waits for one.

mod listener;
mod subscriber;

#[cfg(test)]
mod tests;

use std::os::{
    fd::{AsFd, OwnedFd},
    unix::net::UnixListener,
};

use nix::poll::{PollFd, PollFlags};
use serde::Serialize;

pub use self::listener::listen_at;
use self::{listener::MAX_SUBSCRIBERS, subscriber::Subscriber};
use crate::{
    connections::OpenConnections,
    protocol::{HelloLine, encode_line},
};

/// The listening socket and the clients that are connected to it.
pub struct LiveServer {
    listener: UnixListener,
    subscribers: Vec<Subscriber>,
    dropped: u64,
}

impl LiveServer {
    /// Serves a socket that [`listen_at`] has made.
    pub fn new(listener: OwnedFd) -> Self {
        Self { listener: listener.into(), subscribers: Vec::new(), dropped: 0 }
    }

    /// The number of clients now, and of those that were dropped because they were too slow or too many.
    pub fn counts(&self) -> (usize, u64) {
        (self.subscribers.len(), self.dropped)
    }

    /// The descriptors and events for which the caller must wait before it calls [`LiveServer::serve`] again.
    pub fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        let listener = PollFd::new(self.listener.as_fd(), PollFlags::POLLIN);
        std::iter::once(listener).chain(self.subscribers.iter().map(Subscriber::poll_fd))
    }

    /// Accepts new clients, sends each one the line `hello` makes, reads requests and sends what is queued. Never waits.
    pub fn serve(&mut self, hello: impl Fn(&Self) -> HelloLine) {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.subscribers.len() >= MAX_SUBSCRIBERS || stream.set_nonblocking(true).is_err() {
                self.dropped += 1;
                continue;
            }
            let mut subscriber = Subscriber::new(stream);
            if subscriber.send(encode_line(&hello(self)).as_bytes()) {
                self.subscribers.push(subscriber);
            }
        }
        self.subscribers.retain_mut(|subscriber| subscriber.flush() && subscriber.read_requests());
        self.drop_if(Subscriber::has_stalled);
    }

    /// Whether a client subscribes to traffic.
    pub fn has_traffic_subscribers(&self) -> bool {
        self.subscribers.iter().any(|subscriber| subscriber.delivered_round().is_some())
    }

    /// Sends traffic to the clients that subscribe to it, as much as they take. Drops the slowest ones if the table would
    /// grow beyond its bound because of them. Never waits.
    pub fn send_traffic(&mut self, table: &mut OpenConnections) {
        self.subscribers.retain_mut(|subscriber| subscriber.send_traffic(table));
        let slowest = |server: &Self| server.subscribers.iter().filter_map(Subscriber::delivered_round).min();
        table.remove_delivered(slowest(self).unwrap_or(0));
        while table.has_too_many_ended()
            && let Some(round) = slowest(self)
        {
            self.drop_if(|subscriber| subscriber.delivered_round() == Some(round));
            table.remove_delivered(slowest(self).unwrap_or(u64::MAX));
        }
    }

    /// Sends an event to every client.
    pub fn publish(&mut self, event: &impl Serialize) {
        if self.subscribers.is_empty() {
            return;
        }
        let line = encode_line(event);
        self.drop_if(|subscriber| subscriber.is_full(line.as_bytes()));
        self.subscribers.retain_mut(|subscriber| subscriber.send(line.as_bytes()));
    }

    /// Drops and counts the clients that are too slow.
    fn drop_if(&mut self, is_slow: impl Fn(&Subscriber) -> bool) {
        let before = self.subscribers.len();
        self.subscribers.retain(|subscriber| !is_slow(subscriber));
        self.dropped += (before - self.subscribers.len()) as u64;
    }
}
