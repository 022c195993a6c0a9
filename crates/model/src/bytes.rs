//! Untrusted bytes.

/// Untrusted bytes that another program chose: a path, a process name, a command line.
pub type Bytes = Vec<u8>;
