//! The server of the page, from the command line to the answer, on logs made through the library.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

mod answers;
mod attacks;
mod grafana;
mod http;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../logs/mod.rs"]
mod logs;
mod other_users;
mod protection;
mod rights;
mod server;
mod service;
mod starts;
