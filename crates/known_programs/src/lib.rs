//! The known programs: every program that has ever moved traffic, with its names, its digests and VirusTotal's verdicts.
//!
//! They are stored in record.json (docs/record.md). The file is replaced atomically; a damaged file is an error, and stays as
//! it is.

mod bounds;
mod error;
mod file;
mod programs;
mod rank;
mod table;

#[cfg(test)]
mod tests;

pub use error::KnownProgramsError;
pub use file::replace;
pub use programs::{KnownPrograms, Novelty};
pub use rank::Rank;
