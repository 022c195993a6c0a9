//! Copies of logs on real servers, whatever happens to either.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod contents;
mod exporter;
mod failures;
mod fleet;
mod grafana;
mod log;
mod refusals;
mod replicas;
#[path = "../server_process/mod.rs"]
mod server_process;
mod sums;
mod throughput;
