//! `picosnitch start-no-daemon` as it runs on a real machine: real BPF programs, real sockets, a real log, and what
//! goes wrong around it. These tests need root: `scripts/cargo-as-root test -p picosnitch -p virustotal -- --ignored`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

mod alerts;
mod app_images;
mod cgroups_and_countries;
mod crash;
mod doctor;
#[path = "../executables/mod.rs"]
mod executables;
mod first_flows;
mod forget;
mod full_tables;
mod harness;
mod identity;
mod import;
mod life_cycle;
mod little_memory;
mod live_status;
mod log_file;
mod log_rules;
mod many_namespaces;
mod missing_features;
mod names;
mod notifications;
mod other_tools;
mod programs;
mod races;
mod recording;
mod refused_starts;
mod reload;
mod restarts;
mod rights;
#[allow(dead_code, reason = "the tests of export use the rest")]
#[path = "../../../export/tests/server_process/mod.rs"]
mod server_process;
mod servers;
mod session_bus;
mod short_lived;
mod surroundings;
#[allow(dead_code, reason = "tests/view.rs and tests/top.rs use the rest")]
#[path = "../terminal/mod.rs"]
mod terminal;
mod top;
mod view;
mod virustotal;
