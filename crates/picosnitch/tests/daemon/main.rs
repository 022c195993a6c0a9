//! `picosnitch start-no-daemon` as it runs on a real machine: real BPF programs, real sockets, a real log, and what
//! goes wrong around it. These tests need root: `scripts/cargo-as-root test -p picosnitch -- --ignored`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

mod crash;
mod desktop;
mod full;
mod harness;
mod identity;
mod machine;
mod names;
mod outside;
mod places;
mod prompt;
mod races;
mod record;
mod refuse;
mod rules;
mod telling;
#[allow(dead_code, reason = "tests/view.rs and tests/top.rs use the rest")]
#[path = "../terminal/mod.rs"]
mod terminal;
mod top;
mod view;
