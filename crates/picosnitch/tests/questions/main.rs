//! The questions that `picosnitch query` answers, from the command line to the answer, on logs made through the library.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod calendar_parts;
mod compare;
mod find;
mod hostile;
#[path = "../logs/mod.rs"]
mod logs;
mod ranges;
mod scopes;
mod screen;
mod seen;
mod tables;
mod values;
