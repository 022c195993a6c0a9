//! What the terminal screens share: the terminal itself, its events, colours, keys, and the pieces of a screen.

pub mod events;
pub mod keys;
pub mod terminal;
#[cfg(test)]
pub mod testing;
pub mod text;
pub mod theme;
pub mod widgets;
