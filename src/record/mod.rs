//! Windows: groups what was seen into records, and hands them to the log.

pub mod digests;
pub mod problems;
pub mod window;
pub mod writing;
