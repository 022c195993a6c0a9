//! Text for people and programs: the one place where strangers' bytes become text.

pub mod escape;
pub mod format;
pub mod time;
