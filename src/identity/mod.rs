//! Which program is behind a process.
