//! Reading the log, also while the daemon writes.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rusqlite::{Connection, InterruptHandle, OpenFlags, types::ValueRef};

use super::{
    adder::interruption,
    answer,
    dimension::{Dimension, Filter, Kind, Value},
    error::StoreError,
    intern::address_of,
    query::{Query, Range},
    schema::{self, Found, MIGRATIONS, failed},
    writer::loss_kind,
};
use model::{Counters, Loss, Sha256};

/// How long to wait for a lock; the writer holds one only for an instant.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// One row of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The values of the dimensions, in the order of the query's `group_by`.
    pub values: Vec<Value>,
    /// The sum of the records.
    pub counters: Counters,
}

/// Reads the log, changing nothing.
pub struct Reader {
    path: PathBuf,
    connection: Connection,
    interrupted: Arc<AtomicBool>,
}

/// Ends, from another thread, what a [`Reader`] is asked: all answers are errors for which [`StoreError::is_interrupted`]
/// holds, until [`Interrupter::resume`]. So it does not matter whether the question has begun.
#[derive(Clone)]
pub struct Interrupter {
    handle: Arc<InterruptHandle>,
    interrupted: Arc<AtomicBool>,
}

impl Interrupter {
    /// Ends the question.
    pub fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Relaxed);
        self.handle.interrupt();
    }

    /// What is asked from now on is answered again.
    pub fn resume(&self) {
        self.interrupted.store(false, Ordering::Relaxed);
    }
}

impl Reader {
    /// Opens the log at `path` for reading.
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::is_permission`] tells a lack of rights.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let file = |source| StoreError::File { path: path.to_owned(), source };
        match fs::metadata(path) {
            Ok(found) if found.is_file() => {}
            Ok(_) => return Err(StoreError::NotAFile(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Missing(path.to_owned()));
            }
            Err(source) => return Err(file(source)),
        }
        // SQLite would only say "unable to open". Opening the file here would, on closing it, drop the locks
        // of other connections of this process.
        nix::unistd::eaccess(path, nix::unistd::AccessFlags::R_OK).map_err(|errno| file(errno.into()))?;
        let fail = failed(path, "cannot open the log for reading");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(&fail)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(&fail)?;
        connection.execute_batch("PRAGMA trusted_schema = OFF").map_err(&fail)?;
        let known = MIGRATIONS.len() as i64;
        match schema::inspect(&connection, path)? {
            Found::Empty => Err(StoreError::Empty(path.to_owned())),
            Found::Version(found) if found < known => {
                Err(StoreError::Older { path: path.to_owned(), found, known })
            }
            Found::Version(_) => {
                connection.set_prepared_statement_cache_capacity(64);
                Ok(Self { path: path.to_owned(), connection, interrupted: Arc::default() })
            }
        }
    }

    /// What another thread can end a question with.
    pub fn interrupter(&self) -> Interrupter {
        Interrupter {
            handle: Arc::new(self.connection.get_interrupt_handle()),
            interrupted: Arc::clone(&self.interrupted),
        }
    }

    /// Answers a question.
    ///
    /// # Errors
    /// Those of SQLite; [`StoreError::is_interrupted`] when an [`Interrupter`] ended it.
    pub fn query(&self, query: &Query) -> Result<Vec<Row>, StoreError> {
        self.query_with_total(query).map(|(rows, _)| rows)
    }

    /// Answers a question, and tells the sum of all rows, also of those beyond the limit.
    ///
    /// # Errors
    /// As [`Reader::query`].
    pub fn query_with_total(&self, query: &Query) -> Result<(Vec<Row>, Counters), StoreError> {
        self.read(|connection| answer::rows(connection, query, &self.interrupted))
    }

    /// Sums over time, for a chart: one for each two neighbours of `edges` (unix seconds, growing), from the first second
    /// up to, and without, the second. Quick when the edges are whole quarters of an hour, or few.
    ///
    /// # Errors
    /// As [`Reader::query`].
    pub fn series(&self, filters: &[Filter], edges: &[i64]) -> Result<Vec<Counters>, StoreError> {
        self.read(|connection| answer::series(connection, (filters, edges), &self.interrupted))
    }

    /// Times of the first and the last window with a record; `None` for a log without any.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn extent(&self) -> Result<Option<(i64, i64)>, StoreError> {
        self.read(|connection| {
            let edge = |sql| connection.query_row(sql, [], |row| row.get::<_, Option<i64>>(0));
            let first = edge("SELECT min(time) FROM record")?;
            Ok(first.zip(edge("SELECT max(time) FROM record")?))
        })
    }

    /// Reads in one transaction: all statements see the same log.
    fn read<T>(&self, read: impl Fn(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let read = || {
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(interruption());
            }
            let transaction = self.connection.unchecked_transaction()?;
            let answer = read(&transaction)?;
            transaction.commit()?;
            Ok(answer)
        };
        read().map_err(failed(&self.path, "cannot read the log"))
    }

    /// What was lost in the windows of a range: one entry per kind.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn losses(&self, range: Range) -> Result<Vec<Loss>, StoreError> {
        let (since, until) = range.bounds();
        self.read(|connection| {
            let mut statement = connection.prepare(
                "SELECT kind, sum(count) FROM loss WHERE time BETWEEN ?1 AND ?2 GROUP BY kind ORDER BY kind",
            )?;
            let rows = statement.query_map([since, until], |row| {
                let count: i64 = row.get(1)?;
                Ok(loss_kind(row.get(0)?).map(|kind| Loss { kind, count: count.max(0) as u64 }))
            })?;
            rows.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()
        })
    }

    /// In which pieces between two of `edges` (unix seconds, growing) something was lost.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn lossy(&self, edges: &[i64]) -> Result<Vec<bool>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT EXISTS (SELECT 1 FROM loss WHERE time >= ?1 AND time < ?2)";
            let mut statement = connection.prepare_cached(sql)?;
            edges.windows(2).map(|edge| statement.query_row([edge[0], edge[1]], |row| row.get(0))).collect()
        })
    }
}

/// A value as a dimension means it. What does not fit its dimension (someone edited the file) is shown as
/// what it is.
pub(super) fn value(dimension: Dimension, stored: ValueRef<'_>) -> Value {
    match (dimension.kind(), stored) {
        (_, ValueRef::Null) => Value::None,
        (_, ValueRef::Integer(number)) => Value::Integer(number),
        (Kind::Address, ValueRef::Blob(bytes)) => {
            address_of(bytes).map_or_else(|| Value::Bytes(bytes.to_vec()), Value::Address)
        }
        (Kind::Sha256, ValueRef::Blob(bytes)) => match bytes.try_into() {
            Ok(digest) => Value::Sha256(Sha256(digest)),
            Err(_) => Value::Bytes(bytes.to_vec()),
        },
        (_, ValueRef::Text(bytes) | ValueRef::Blob(bytes)) => Value::Bytes(bytes.to_vec()),
        (_, ValueRef::Real(number)) => Value::Bytes(number.to_string().into_bytes()),
    }
}
