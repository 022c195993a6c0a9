//! A log of the original, whatever its format.

use std::{
    fmt,
    fs::File,
    path::{Path, PathBuf},
};

use crate::{
    conn_log::ConnLog,
    contexts::Contexts,
    database::Database,
    error::ImportError,
    fields::ReadRow,
    snapshot::{Opened, Snapshot, open_regular},
};

/// The format of a log of the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A database with a flat table, by its `user_version` (0 to 3).
    Flat(u8),
    /// A database with interned tables (`user_version` 4 and later).
    Interned,
    /// A text log, by the number of its fields.
    ConnLog(usize),
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flat(0) => f.write_str("database format 0, releases 0.4 to 0.8"),
            Self::Flat(1) => f.write_str("database format 1, of a release before 0.9"),
            Self::Flat(2) => f.write_str("database format 2, releases 0.9 to 0.13"),
            Self::Flat(_) => f.write_str("database format 3, releases 0.14 to 1.0.3"),
            Self::Interned => f.write_str("database format 4, releases 2.x"),
            Self::ConnLog(fields) => write!(f, "text log of {fields} fields"),
        }
    }
}

impl Format {
    /// How its rows count connections, as a sentence.
    pub fn connections(self) -> &'static str {
        match self {
            Self::Flat(0..=2) | Self::ConnLog(16) => "Connections are what the original counted.",
            _ => {
                "The original counted no connections in this format: each row counts as one, so a long connection counts once for \
                 each time that it was written."
            }
        }
    }

    /// Whether its times are local times.
    pub fn has_local_times(self) -> bool {
        self != Self::Interned
    }
}

/// A log that was opened.
enum Inner {
    /// Nothing was read of it yet.
    Unread(Unread),
    Database(Box<Database>),
    Text(ConnLog),
}

enum Unread {
    Database(Snapshot),
    Text(File),
    /// It could not be used.
    None,
}

/// A log of the original.
pub struct Source {
    path: PathBuf,
    inner: Inner,
    contexts: Contexts,
}

impl Source {
    /// Opens a database. Nothing is read of it yet, so that this needs the right to open it only. If it has to be copied, the
    /// copy belongs to `owner` (user and group).
    ///
    /// # Errors
    /// It cannot be opened, or is written all the time.
    pub fn open_database(path: &Path, owner: Option<(u32, u32)>) -> Result<Self, ImportError> {
        let snapshot = Snapshot::new(path, owner)?;
        Ok(Self::unread(path, Unread::Database(snapshot)))
    }

    /// Opens a text log. Nothing is read of it yet.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open_text(path: &Path) -> Result<Self, ImportError> {
        let file =
            open_regular(path).map_err(|source| ImportError::Open { path: path.to_owned(), source })?;
        Ok(Self::unread(path, Unread::Text(file)))
    }

    fn unread(path: &Path, unread: Unread) -> Self {
        Self { path: path.to_owned(), inner: Inner::Unread(unread), contexts: Contexts::default() }
    }

    /// Looks which format it has. Must come before anything is read.
    ///
    /// # Errors
    /// It is no log of the original, or damaged.
    pub fn begin(&mut self) -> Result<(), ImportError> {
        if let Inner::Unread(unread) = &mut self.inner {
            self.inner = match std::mem::replace(unread, Unread::None) {
                Unread::Database(snapshot) => Inner::Database(Box::new(Database::new(&self.path, snapshot)?)),
                Unread::Text(file) => Inner::Text(ConnLog::new(&self.path, file)?),
                Unread::None => Inner::Unread(Unread::None),
            };
        }
        Ok(())
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its format; `None` before [`Source::begin`].
    pub fn format(&self) -> Option<Format> {
        match &self.inner {
            Inner::Unread(_) => None,
            Inner::Database(database) => Some(database.format),
            Inner::Text(log) => Some(log.format),
        }
    }

    /// How it was opened.
    pub fn opened(&self) -> Opened {
        match &self.inner {
            Inner::Unread(Unread::Database(snapshot)) => snapshot.opened(),
            Inner::Unread(_) | Inner::Text(_) => Opened::AsItIs,
            Inner::Database(database) => database.opened,
        }
    }

    /// The number of its last row.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn last_row(&mut self) -> Result<i64, ImportError> {
        match &mut self.inner {
            Inner::Unread(_) => Ok(0),
            Inner::Database(database) => database.last_row(),
            Inner::Text(log) => log.last_row(),
        }
    }

    /// Reads the rows after one, at most `limit`, in the order of their numbers.
    pub(crate) fn read(
        &mut self,
        after: i64,
        limit: usize,
        found: &mut Vec<ReadRow>,
    ) -> Result<(), ImportError> {
        found.clear();
        match &mut self.inner {
            Inner::Unread(_) => Ok(()),
            Inner::Database(database) => database.read((after, limit), &mut self.contexts, found),
            Inner::Text(log) => log.read((after, limit), &mut self.contexts, found),
        }
    }
}
