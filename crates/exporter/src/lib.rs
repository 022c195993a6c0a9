//! The exporter: the one process of the daemon that talks to other machines. It asks VirusTotal about digests and name servers about
//! addresses, as the recorder tells it, and has no right to read or write the log.
//!
//! It is started by the monitor ([`run_role`]) or by a unit of its own ([`run_service`]). In both cases it connects to the socket
//! on which the recorder listens ([`socket`]), and speaks [`messages`]: a digest and a descriptor, or an address, go one way,
//! verdicts and names the other. It opens no file that somebody names, and uploads only bytes with the digest that was asked about.

pub mod messages;
mod name_services;
mod process;
mod session;
pub mod socket;
mod workers;

pub use process::{Settings, run_role, run_service};
