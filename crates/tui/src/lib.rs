//! The terminal screens: `view` over the history, `top` over what happens now.

pub mod term;
pub mod top;
pub mod view;
