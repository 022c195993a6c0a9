//! The connections that are open now, kept only while a client subscribes to traffic.
//!
//! The monitor first sends lists of what is open, then each flow that has changed; after each drain of the kernel a *round*
//! is closed. Each change in the table ([`OpenConnections`]) carries the round in which it was made, and each subscriber
//! the last round that it has in full ([`SubscriberPosition`]). So a subscriber needs no queue of its own: a slow one gets
//! lines less often, and always the newest counters of each connection.

mod clock;
mod connection;
mod contexts;
mod socket_peer;
mod subscriber_position;
mod table;

#[cfg(test)]
mod tests;

pub use contexts::Contexts;
pub use socket_peer::SocketPeer;
pub(crate) use subscriber_position::SubscriberPosition;
pub use table::{ListKind, OpenConnections};
