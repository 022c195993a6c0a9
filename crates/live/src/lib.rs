//! The live socket: its protocol, the daemon's side, the clients' side, and the connections that it shows.

pub mod connections;
pub mod protocol;
pub mod server;

/// The name of the socket in the run directory.
pub const NAME: &str = "live.sock";
