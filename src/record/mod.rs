//! Windows: groups what was seen into records; digests; which programs are known; alerts; what went wrong.

pub mod alerts;
pub mod digests;
mod escape;
pub mod exe_log;
pub mod feed;
pub mod known_programs;
pub mod log_file;
pub mod log_rules;
pub mod open_connections;
pub mod problems;
pub mod text_log;
pub mod window;
