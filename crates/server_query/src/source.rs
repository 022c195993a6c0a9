//! What a user names with `--source`: a log, or a server with copies of logs; both are asked the same.

use std::path::PathBuf;

use export::ServerSettings;
use model::{Counters, EventKind, Loss};
use store::{
    Answer, CompareOrder, Comparison, Filter, HostEvent, Interrupter, ProgramSeen, Query, Range, Reader,
    SeriesByGroup, Source, StoreError,
};
use thiserror::Error;

use crate::{error::ServerQueryError, reader::ServerReader, session::ServerInterrupter};

/// Where the history is.
#[derive(Clone)]
pub enum LogSource {
    /// The file of a log.
    Log(PathBuf),
    /// A server with copies of logs.
    Server(Box<ServerSettings>),
}

impl LogSource {
    /// Whether it is a server.
    pub fn is_server(&self) -> bool {
        matches!(self, Self::Server(_))
    }

    /// The server in a sentence, without secrets; `None` for a log.
    pub fn server_address(&self) -> Option<String> {
        match self {
            Self::Log(_) => None,
            Self::Server(settings) => Some(settings.address()),
        }
    }
}

/// A source cannot be asked.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] StoreError),
    /// The server cannot answer.
    #[error(transparent)]
    Server(#[from] ServerQueryError),
}

impl SourceError {
    /// Whether another thread has ended the question.
    pub fn is_interrupted(&self) -> bool {
        match self {
            Self::Log(error) => error.is_interrupted(),
            Self::Server(error) => error.is_interrupted(),
        }
    }
}

/// Asks a log or a server.
#[allow(clippy::large_enum_variant, reason = "there are a few for each process")]
pub enum SourceReader {
    /// Reads a log.
    Log(Reader),
    /// Asks a server.
    Server(ServerReader),
}

/// Interrupts the questions of a [`SourceReader`] from another thread.
#[derive(Clone)]
pub enum SourceInterrupter {
    /// Those to a log.
    Log(Interrupter),
    /// Those to a server.
    Server(ServerInterrupter),
}

impl SourceInterrupter {
    /// Interrupts the current question and those that follow.
    pub fn interrupt(&self) {
        match self {
            Self::Log(interrupter) => interrupter.interrupt(),
            Self::Server(interrupter) => interrupter.interrupt(),
        }
    }

    /// Allows questions that begin from now on.
    pub fn resume(&self) {
        match self {
            Self::Log(interrupter) => interrupter.resume(),
            Self::Server(interrupter) => interrupter.resume(),
        }
    }
}

impl SourceReader {
    /// Opens a log; prepares to ask a server, which is connected to by the first question.
    ///
    /// # Errors
    /// The log cannot be opened.
    pub fn open(source: &LogSource) -> Result<Self, SourceError> {
        Ok(match source {
            LogSource::Log(path) => Self::Log(Reader::open(path)?),
            LogSource::Server(settings) => Self::Server(ServerReader::new((**settings).clone())?),
        })
    }

    /// Looks whether it can be asked; of a log that is known since it was opened.
    ///
    /// # Errors
    /// As [`ServerReader::connect`].
    pub fn check(&self) -> Result<(), SourceError> {
        match self {
            Self::Log(_) => Ok(()),
            Self::Server(reader) => Ok(reader.check()?),
        }
    }

    /// Whether it is still what its name means: the file of a log may have been replaced.
    pub fn is_current(&self) -> bool {
        match self {
            Self::Log(reader) => reader.is_current(),
            Self::Server(_) => true,
        }
    }

    /// A text that stays the same as long as the log or the server is the same.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn identity(&self) -> Result<String, SourceError> {
        Ok(match self {
            Self::Log(reader) => reader.identity()?,
            Self::Server(reader) => reader.address(),
        })
    }

    /// A handle for another thread to interrupt the questions.
    pub fn interrupter(&self) -> SourceInterrupter {
        match self {
            Self::Log(reader) => SourceInterrupter::Log(reader.interrupter()),
            Self::Server(reader) => SourceInterrupter::Server(reader.interrupter()),
        }
    }
}

/// The same method of the log or the server.
macro_rules! of_either {
    ($self:ident, $method:ident($($argument:expr),*)) => {
        match $self {
            Self::Log(reader) => Source::$method(reader, $($argument),*).map_err(SourceError::from),
            Self::Server(reader) => Source::$method(reader, $($argument),*).map_err(SourceError::from),
        }
    };
}

impl Source for SourceReader {
    type Error = SourceError;

    fn answer(&self, query: &Query) -> Result<Answer, SourceError> {
        of_either!(self, answer(query))
    }

    fn compare(&self, query: &Query, before: Range, order: CompareOrder) -> Result<Comparison, SourceError> {
        of_either!(self, compare(query, before, order))
    }

    fn extent(&self) -> Result<Option<(i64, i64)>, SourceError> {
        of_either!(self, extent())
    }

    fn detail_since(&self) -> Result<Option<i64>, SourceError> {
        of_either!(self, detail_since())
    }

    fn losses(&self, range: Range, filters: &[Filter]) -> Result<Vec<Loss>, SourceError> {
        of_either!(self, losses(range, filters))
    }

    fn losses_between(&self, edges: &[i64], filters: &[Filter]) -> Result<Vec<Vec<Loss>>, SourceError> {
        of_either!(self, losses_between(edges, filters))
    }

    fn series(&self, query: &Query, edges: &[i64]) -> Result<Vec<Counters>, SourceError> {
        of_either!(self, series(query, edges))
    }

    fn series_by(&self, query: &Query, edges: &[i64], top: usize) -> Result<SeriesByGroup, SourceError> {
        of_either!(self, series_by(query, edges, top))
    }

    fn events(
        &self,
        range: Range,
        kinds: &[EventKind],
        limit: u64,
        passes: &dyn Fn(&HostEvent) -> bool,
    ) -> Result<Vec<HostEvent>, SourceError> {
        of_either!(self, events(range, kinds, limit, passes))
    }

    fn programs_seen(&self, filters: &[Filter]) -> Result<Vec<ProgramSeen>, SourceError> {
        of_either!(self, programs_seen(filters))
    }

    fn has_hosts(&self) -> bool {
        matches!(self, Self::Server(_))
    }
}
