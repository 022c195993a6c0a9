//! Look-ups of executables at VirusTotal: which digest is asked about when, and what the answer means.

mod client;
mod lookup;
mod schedule;

pub use lookup::{Settings, Verdict};
pub use schedule::Lookups;
