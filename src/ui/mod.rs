//! What people see: how values become text.

pub mod format;
pub mod table;
pub mod time;
pub mod top;
pub mod tui;
pub mod values;
pub mod view;
