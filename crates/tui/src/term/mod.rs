//! Modules that both screens share: the terminal, its events, keys, colours, text of a known width, and widgets.

mod backend;
pub mod background;
pub mod canvas;
pub mod cycle;
pub mod events;
pub mod find_text;
pub mod keys;
pub mod rows;
pub mod terminal;
#[cfg(test)]
pub mod testing;
pub mod text;
pub mod theme;
pub mod theme_choice;
pub mod theme_source;
pub mod widgets;
