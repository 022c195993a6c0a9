//! Who is behind an address.

mod geography;
mod special;

pub use geography::{Files, Geography};
