//! Answers of real servers, and of the log that was copied to them: they must be equal.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod equality;
mod failures;
mod flat_sums;
mod hosts;
mod log;
#[path = "../../../export/tests/server_process/mod.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod server_process;
