//! The progress of the queries of `view`.

/// The last request and its state.
#[derive(Debug)]
pub struct QueryStatus {
    /// Number of the last request.
    number: u64,
    /// Whether a response to the last screen request is still to come.
    pub waiting: bool,
    /// The reason why the log cannot be read.
    pub error: Option<String>,
}

impl Default for QueryStatus {
    fn default() -> Self {
        Self { number: 0, waiting: true, error: None }
    }
}

impl QueryStatus {
    /// Number of the last request; responses to others are ignored.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The number for a new screen request.
    pub fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.waiting = true;
        self.number
    }
}
