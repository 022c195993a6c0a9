//! Widgets. Each draws into a canvas of any size, also an empty one.

mod bars;
mod cells;
mod columns;
mod help;
mod lines;
mod list;
mod list_state;
mod sparkline;
mod tabs;

pub use bars::Bar;
pub use cells::draw_program;
pub use columns::{Column, ColumnFit, amount_width};
pub use help::{Help, draw_footer, draw_help};
pub use lines::{StatusLine, draw_error, wrap};
pub use list::{Cell, ListLayout, ListSource, SelectionMark, draw_list};
pub use list_state::ListState;
pub use sparkline::{Sample, draw_sparkline};
pub use tabs::{TabStrip, draw_tab_strip};
