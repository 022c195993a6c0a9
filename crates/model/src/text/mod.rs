//! Conversions between data and text. Untrusted bytes become text in this module only.

pub mod command_line;
pub mod lossless;
pub mod sanitize;
pub mod time;
pub mod units;
