//! The processes of one running picosnitch, all of the same binary, and the messages between them.
//!
//! [`monitor`] has the rights and uses the kernel's interfaces; it opens no database and parses no file that an attacker may
//! have made. [`recorder`] has the database and hashes files, which it gets as open descriptors. [`notifier`] runs as a
//! desktop user and shows notifications. [`file_opener`] opens one file with the rights of one user, and ends.
//! [`exporter`], a crate of its own, asks other machines. [`parser`] looks into one C library without any rights, and ends.

pub mod daemon_log;
mod error;
mod exporter_settings;
pub mod file_opener;
mod heap;
mod log_file;
pub mod log_lines;
mod messages;
pub mod monitor;
mod notification_queue;
pub mod notifier;
pub mod parser;
mod path_bytes;
mod poll;
pub mod problems;
pub mod recorder;

pub use error::MonitorError;
pub use exporter_settings::{exporter_settings, server_address, server_settings};
