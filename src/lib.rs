//! picosnitch shows which program talks to whom, how much, since when, and whether it is still the
//! program it was.
//!
//! The rooms, in the direction in which data flows: [`capture`] (the only one that knows BPF) ->
//! [`identity`] -> [`names`] -> [`record`] -> [`store`] -> [`ui`]; [`roles`] wires them into processes and [`cli`]
//! starts those. [`model`] is plain data that all rooms share. ARCHITECTURE.md is the map.

pub mod capture;
pub mod cli;
pub mod config;
pub mod identity;
pub mod layout;
pub mod model;
pub mod names;
pub mod notify;
pub mod outside;
pub mod record;
pub mod roles;
pub mod selftest;
pub mod store;
pub mod ui;

/// An error with all its causes, in one line.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}
