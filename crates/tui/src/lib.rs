//! The terminal screens: `view` over the history, `top` over the present.

mod term;
pub mod top;
pub mod view;

pub use term::{text, theme_choice::ThemeChoice};
