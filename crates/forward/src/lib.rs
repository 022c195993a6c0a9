//! Events, and records if they are wanted, of the log for other tools: a syslog server, journald, a web server, a collector of
//! OpenTelemetry. [`run`] sends what each new window of the log has, at least once, with the name of each event and record;
//! docs/export.md describes what is sent.
//!
//! These receivers cannot be asked what they have. So the position in the log is told after each batch that a receiver has taken, and
//! given to [`run`] at the next start.

mod delivery;
mod error;
mod http;
mod item;
mod journald;
mod otlp;
mod receiver;
mod sender;
mod syslog;
mod target;
mod template;
mod webhook;

pub use error::ForwardError;
pub use sender::run;
pub use target::Target;
