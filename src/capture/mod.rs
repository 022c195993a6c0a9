//! The kernel half seen from user space.
