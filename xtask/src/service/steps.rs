//! Steps that pass or fail, each with what was seen.

use std::time::Instant;

use super::unit;

/// Runs steps and remembers which have failed.
pub struct Steps {
    /// Only steps whose name contains this are run.
    only: String,
    failed: Vec<String>,
    /// A step that was asked for has run.
    has_run: bool,
}

impl Steps {
    pub fn new(only: &str) -> Self {
        Self { only: only.to_owned(), failed: Vec::new(), has_run: false }
    }

    /// Runs a step if it is asked for.
    pub fn run(&mut self, name: &str, step: impl FnOnce() -> anyhow::Result<String>) {
        if name.contains(&self.only) {
            self.has_run = true;
            self.require(name, step);
        }
    }

    /// Runs a step that others need. Returns whether it passed.
    pub fn require(&mut self, name: &str, step: impl FnOnce() -> anyhow::Result<String>) -> bool {
        let begin = Instant::now();
        let outcome = step();
        let seconds = begin.elapsed().as_secs_f64();
        match outcome {
            Ok(seen) => {
                println!("ok    {name} ({seconds:.1} s): {seen}");
                true
            }
            Err(error) => {
                println!("FAIL  {name} ({seconds:.1} s): {error:#}");
                println!("{}", unit::journal(30));
                self.failed.push(name.to_owned());
                false
            }
        }
    }

    /// Whether all steps passed.
    pub fn passed(&self) -> bool {
        self.failed.is_empty()
    }

    /// Whether a step that was asked for has run.
    pub fn has_run(&self) -> bool {
        self.has_run
    }
}
