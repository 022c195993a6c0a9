//! Windows: groups what was seen into records; digests; what went wrong.

pub mod digests;
pub mod problems;
pub mod window;
