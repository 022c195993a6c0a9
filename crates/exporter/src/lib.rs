//! The exporter: the one process of the daemon that talks to other machines. It asks VirusTotal about digests and name servers about
//! addresses, as the recorder tells it, and sends copies of the log to SQL servers. It may read the log only if it sends it, and never
//! write it.
//!
//! It is started by the monitor ([`run_role`]) or by a unit of its own ([`run_service`]). In both cases it connects to the socket
//! on which the recorder listens ([`socket`]), and speaks [`messages`]: a digest and a descriptor, or an address, go one way,
//! verdicts, names and the state of the copies the other. It opens no file that somebody names, and uploads only bytes with the digest that was asked about.

pub mod messages;
mod name_services;
mod process;
mod session;
mod sinks;
pub mod socket;
mod workers;

pub use process::{LogCopies, Settings, run_role, run_service};
