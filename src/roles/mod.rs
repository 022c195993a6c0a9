//! The processes of one running picosnitch, all the same binary, and the channels between them.
//!
//! [`monitor`] has the rights and talks to the kernel; it parses nothing that strangers wrote and opens no database.
//! [`recorder`] has the database and hashes files; it gets them as open descriptors. [`notifier`] is a desktop user and
//! shows notifications. [`reader`] lives for a moment: it opens one file with the rights of one user.

mod channel;
mod error;
mod host;
mod listening;
pub mod live;
mod lookups;
mod message;
pub mod monitor;
mod naming;
pub mod notifier;
mod notifiers;
pub mod reader;
pub mod recorder;
mod recorder_handle;
mod resolved;
mod saving;
mod service_user;
mod talkers;
mod telling;
mod text_logging;
mod traffic;
mod writing;

pub use error::MonitorError;
