//! Pieces of a screen. Each draws into a rectangle of any size, also of none, and takes texts that are safe already
//! ([`super::text::safe`]).

mod bars;
mod cells;
mod lines;
mod sparkline;
mod tabs;

pub use bars::{Bar, mirrored_bar};
pub use cells::{Cell, heading, number, program};
pub use lines::{error, footer, help, put};
pub use sparkline::{Sample, sparkline};
pub use tabs::{TabStrip, tab_strip};
