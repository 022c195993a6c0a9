//! The processes of one running picosnitch, all the same binary, and what they tell each other.
//!
//! [`monitor`] has the rights and talks to the kernel; it parses nothing that strangers wrote and opens no database.
//! [`recorder`] has the database and hashes files; it gets them as open descriptors. [`notifier`] is a desktop user and
//! shows notifications. [`file_opener`] lives for a moment: it opens one file with the rights of one user.

mod error;
pub mod file_opener;
mod host;
mod log_file;
mod messages;
pub mod monitor;
pub mod notifier;
pub mod problems;
pub mod recorder;
mod resolved;
mod service_user;

pub use error::MonitorError;
