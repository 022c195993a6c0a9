//! Problems of a configuration file.

use std::{fmt, path::PathBuf};

use thiserror::Error;

/// One problem of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line in the file, from 1; `None` if unknown.
    pub line: Option<usize>,
    /// The sentence for the user, which names the key, the value and what is allowed.
    pub message: String,
}

/// A value that was read, if there are no problems; otherwise these, sorted by line.
pub(crate) fn without_problems<T>(value: T, mut problems: Vec<Problem>) -> Result<T, Vec<Problem>> {
    if problems.is_empty() {
        return Ok(value);
    }
    problems.sort_by_key(|problem| problem.line);
    Err(problems)
}

/// All problems of a configuration file.
#[derive(Debug, Error)]
pub struct ConfigErrors {
    /// Path of the configuration file.
    pub file: PathBuf,
    /// The problems, sorted by line; never empty.
    pub problems: Vec<Problem>,
    /// The file may be right, but the user has no right to read it.
    pub is_unreadable: bool,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:", self.file.display())?;
            if let Some(line) = problem.line {
                write!(f, "{line}:")?;
            }
            write!(f, " {}", problem.message)?;
        }
        Ok(())
    }
}
