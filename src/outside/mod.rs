//! Everything that talks to other machines.

pub mod client;
pub mod virustotal;
