//! Questions to the log as people type them, and answers as JSON and CSV: what the command line and the web server read and print
//! in the same way.

mod asked;
pub mod csv;
mod error;
mod filters;
pub mod json;
pub mod named;
mod now;
mod programs;
mod range;

#[cfg(test)]
mod tests;

pub use asked::{Asked, Question};
pub use error::{Parameter, QuestionError};
pub use filters::{check_dimensions, find, list, values_named};
pub use now::Now;
pub use programs::{PROGRAM_DIMENSIONS, programs_seen};
pub use range::{DefaultRange, for_log, quarters_before};
