//! The daemon's side of the live socket: sends lines to all subscribers, and never waits for one.

mod admission;
mod listener;
mod rate_limit;
mod subscriber;

#[cfg(test)]
mod tests;

use std::{
    io::Write,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    time::Instant,
};

use model::text::time;
use nix::poll::{PollFd, PollFlags};
use serde::Serialize;

pub use self::listener::listen_at;
use self::{
    admission::{Admission, user_of},
    subscriber::Subscriber,
};
use crate::{
    connections::OpenConnections,
    protocol::{ErrorLine, HelloLine, encode_line},
};

/// Connections that are accepted in one call of [`LiveServer::serve`].
const MAX_ACCEPTED: usize = 8;

/// The listening socket and the clients that are connected to it.
pub struct LiveServer {
    listener: UnixListener,
    admission: Admission,
    subscribers: Vec<Subscriber>,
    dropped: u64,
}

impl LiveServer {
    /// Serves a socket that [`listen_at`] has made.
    pub fn new(listener: OwnedFd) -> Self {
        let admission = Admission::new(Instant::now());
        Self { listener: listener.into(), admission, subscribers: Vec::new(), dropped: 0 }
    }

    /// The number of clients now, and of those that were dropped because they were too slow or too many.
    pub fn counts(&self) -> (usize, u64) {
        (self.subscribers.len(), self.dropped)
    }

    /// The descriptors and events for which the caller must wait before it calls [`LiveServer::serve`] again; those of
    /// clients that ask too much are left out until [`LiveServer::due`].
    pub fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        let now = Instant::now();
        let listener =
            (self.admission.due() <= now).then(|| PollFd::new(self.listener.as_fd(), PollFlags::POLLIN));
        listener
            .into_iter()
            .chain(self.subscribers.iter().filter_map(move |subscriber| subscriber.poll_fd(now)))
    }

    /// When [`LiveServer::serve`] has something to do even if nothing happens until then.
    pub fn due(&self) -> Option<Instant> {
        let now = Instant::now();
        let accept = Some(self.admission.due()).filter(|due| *due > now);
        accept.into_iter().chain(self.subscribers.iter().filter_map(|subscriber| subscriber.due(now))).min()
    }

    /// Accepts new clients, sends each one the line `hello` makes, reads requests and sends what is queued. Never waits, and
    /// does a bounded amount of work for each client.
    pub fn serve(&mut self, hello: impl Fn(&Self) -> HelloLine) {
        self.serve_at(hello, Instant::now());
    }

    fn serve_at(&mut self, hello: impl Fn(&Self) -> HelloLine, now: Instant) {
        for _ in 0..MAX_ACCEPTED {
            if self.admission.due() > now {
                break;
            }
            let Ok((stream, _)) = self.listener.accept() else { break };
            self.add_client(stream, &hello, now);
        }
        let admission = &mut self.admission;
        self.subscribers.retain_mut(|subscriber| {
            subscriber.flush()
                && subscriber.read_requests(now, |user| admission.count_subscription(user, now))
        });
        self.drop_if(Subscriber::has_stalled);
    }

    fn add_client(&mut self, stream: UnixStream, hello: impl Fn(&Self) -> HelloLine, now: Instant) {
        if stream.set_nonblocking(true).is_err() {
            self.dropped += 1;
            return;
        }
        let user = user_of(&stream);
        let connected = self.subscribers.iter().map(|subscriber| subscriber.user);
        if let Err(why) = self.admission.admit(user, connected, now) {
            self.dropped += 1;
            let line = ErrorLine { event: "error".to_owned(), time: time::now(), text: why.to_owned() };
            // The socket is new: it has room for the line.
            let _ = (&stream).write(encode_line(&line).as_bytes());
            return;
        }
        let mut subscriber = Subscriber::new(stream, user, now);
        if subscriber.send(encode_line(&hello(self)).as_bytes()) {
            self.subscribers.push(subscriber);
        }
    }

    /// Whether a client subscribes to traffic.
    pub fn has_traffic_subscribers(&self) -> bool {
        self.subscribers.iter().any(|subscriber| subscriber.delivered_round().is_some())
    }

    /// Ends the connections to the clients that subscribe to traffic: what they may see has changed. They connect again.
    pub fn end_subscriptions(&mut self) {
        self.subscribers.retain(|subscriber| subscriber.delivered_round().is_none());
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
