//! The known programs: every program that has ever moved traffic, with its names, its digests and VirusTotal's verdicts.
//!
//! They are stored in record.json and, between two writings of it, in record.journal (docs/record.md). Both are bounded, in
//! memory and on disk. A damaged file is kept beside a new one.

mod bounds;
mod error;
mod file;
mod forget;
mod format;
mod journal;
mod parse;
mod programs;
mod rank;
mod record_file;
mod replay;
mod table;
mod table_id;

#[cfg(test)]
mod tests;

pub use error::KnownProgramsError;
pub use file::{journal_path, replace_file};
pub use forget::forget;
pub use programs::{KnownPrograms, Novelty};
pub use rank::Rank;
pub use record_file::{RecordFile, Saved, SharedKnownPrograms};
