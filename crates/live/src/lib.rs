//! The live socket, over which the daemon shows what happens now (docs/live.md).
//!
//! [`protocol`] has the lines that cross the socket, [`client`] the side of `picosnitch top` and `picosnitch status`,
//! [`server`] the side of the daemon, and [`connections`] the table of open connections that the daemon shows.

pub mod client;
pub mod connections;
pub mod protocol;
pub mod server;

pub use protocol::SOCKET_NAME;
