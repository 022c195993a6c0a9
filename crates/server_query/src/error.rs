//! Why a server gives no answer.

use export::ExportError;
use model::text::sanitize;
use thiserror::Error;

/// A server cannot answer.
#[derive(Debug, Error)]
pub enum ServerQueryError {
    /// The server cannot be reached, or refuses a statement.
    #[error("{}", sentence(.0))]
    Server(ExportError),
    /// The database has no tables of picosnitch, or the account may not read them.
    #[error(
        "the database has no tables of picosnitch that the account may read: {}. The account needs SELECT on them", sentence(.0)
    )]
    NoTables(ExportError),
    /// The answer is larger than what this process takes.
    #[error(
        "{server} has more than {max_rows} different values for this: choose a shorter range, fewer --group-by, or a narrower --where"
    )]
    TooManyRows {
        /// The server.
        server: String,
        /// Rows that are read at most.
        max_rows: usize,
    },
    /// Another thread has ended the question.
    #[error("the question was given up")]
    Interrupted,
    /// The process that is to ask has no event loop.
    #[error("cannot prepare to connect")]
    Runtime(#[source] std::io::Error),
}

impl ServerQueryError {
    /// Whether another thread has ended the question.
    pub fn is_interrupted(&self) -> bool {
        matches!(self, Self::Interrupted)
    }
}

impl From<ExportError> for ServerQueryError {
    fn from(error: ExportError) -> Self {
        Self::Server(error)
    }
}

/// The sentence of an error, in which a server may have chosen any character.
fn sentence(error: &ExportError) -> String {
    sanitize::message(&error.sentence())
}
