//! Conversions between data and text. Untrusted bytes become text in this module only.

pub mod escape;
pub mod format;
pub mod time;
