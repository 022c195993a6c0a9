//! Selftest.
