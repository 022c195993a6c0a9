//! Reading the log, also while the daemon writes.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use model::{Counters, Event, EventKind, Loss, LossKind};
use rusqlite::{Connection, ErrorCode, InterruptHandle, OpenFlags};

use super::{
    compare::{CompareOrder, Comparison, execute_comparison},
    definition::{Query, Range},
    execute::execute,
    limits::Limits,
    row::{Answer, Row},
    series::{SeriesByGroup, execute_series, execute_series_by},
    source::divide_losses,
};
use crate::{
    error::{StoreError, sql_error},
    event,
    identity::Identity,
    immutable,
    import::{self, ImportSource},
    migrations::MIGRATIONS,
    program_seen::{self, ProgramSeen},
    retention,
    rollup::{self, interruption},
    schema,
};

/// How long to wait for a lock; the writer holds one only for an instant.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A read-only connection to the log.
pub struct Reader {
    path: PathBuf,
    /// Device and inode of the file at the path just before it was opened.
    file: (u64, u64),
    /// It was opened as a file that nobody writes to.
    is_immutable: bool,
    connection: Connection,
    interrupted: Arc<AtomicBool>,
    max_groups: usize,
}

/// Interrupts the queries of a [`Reader`] from another thread. All queries, also those that begin later, fail with an error
/// for which [`StoreError::is_interrupted`] holds, until [`Interrupter::resume`]; so it does not matter whether the query has
/// begun.
#[derive(Clone)]
pub struct Interrupter {
    handle: Arc<InterruptHandle>,
    interrupted: Arc<AtomicBool>,
}

impl Interrupter {
    /// Interrupts the current query and those that follow.
    pub fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Relaxed);
        self.handle.interrupt();
    }

    /// Allows queries that begin from now on.
    pub fn resume(&self) {
        self.interrupted.store(false, Ordering::Relaxed);
    }
}

impl Reader {
    /// Opens the log at `path` for reading.
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::is_permission`] holds if the user may not read the file.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let file_error = |source| StoreError::File { path: path.to_owned(), source };
        let file = match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => (metadata.dev(), metadata.ino()),
            Ok(_) => return Err(StoreError::NotAFile(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Missing(path.to_owned()));
            }
            Err(source) => return Err(file_error(source)),
        };
        // SQLite's own error would only be "unable to open". Opening and closing the file here would release the locks
        // of other connections of this process (fcntl(2)).
        nix::unistd::eaccess(path, nix::unistd::AccessFlags::R_OK)
            .map_err(|errno| file_error(errno.into()))?;
        let fail = sql_error(path, "cannot open the log for reading");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = prepare(Connection::open_with_flags(path, flags)).map_err(&fail)?;
        let mut version = schema::version(&connection, path);
        // A copy without its other files, where this user may not make them.
        let is_immutable = version.as_ref().is_err_and(StoreError::is_cannot_open) && !has_wal(path);
        if is_immutable {
            connection = prepare(immutable::open(path)).map_err(&fail)?;
            version = schema::version(&connection, path);
        }
        let known = MIGRATIONS.len() as i64;
        match version? {
            0 => Err(StoreError::Empty(path.to_owned())),
            found if found < known => Err(StoreError::Older { path: path.to_owned(), found, known }),
            _ => {
                connection.set_prepared_statement_cache_capacity(64);
                Ok(Self {
                    path: path.to_owned(),
                    file,
                    is_immutable,
                    connection,
                    interrupted: Arc::default(),
                    max_groups: usize::MAX,
                })
            }
        }
    }

    /// Its connection, for other questions.
    pub(crate) fn into_connection(self) -> Connection {
        self.connection
    }

    /// Whether the file at the path is still the one that is open: it was not removed, moved or replaced, and nobody has begun to
    /// write to a file that was at rest.
    pub fn is_current(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.file)
            && !(self.is_immutable && has_wal(&self.path))
    }

    /// Keeps in memory what is sorted, for a process that may make no temporary files.
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn make_no_files(&self) -> Result<(), StoreError> {
        let set = self.connection.execute_batch("PRAGMA temp_store = MEMORY");
        set.map_err(sql_error(&self.path, "cannot set where to sort"))
    }

    /// Bounds the memory of an answer: a query with more groups by ids than this fails with [`StoreError::TooManyGroups`]. Rows
    /// are at most as many.
    pub fn limit_groups(&mut self, max_groups: usize) {
        self.max_groups = max_groups;
    }

    fn limits(&self) -> Limits<'_> {
        Limits { interrupted: &self.interrupted, max_groups: self.max_groups }
    }

    /// A text that stays the same as long as the log is the same one: another log, or an older copy that the daemon has gone on with,
    /// has another.
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn identity(&self) -> Result<String, StoreError> {
        self.read(|connection| Identity::read(connection).map(|identity| identity.text()))
    }

    /// A handle for another thread to interrupt the queries of this reader.
    pub fn interrupter(&self) -> Interrupter {
        Interrupter {
            handle: Arc::new(self.connection.get_interrupt_handle()),
            interrupted: Arc::clone(&self.interrupted),
        }
    }

    /// Returns the rows of a query.
    ///
    /// # Errors
    /// As [`Reader::answer`].
    pub fn query(&self, query: &Query) -> Result<Vec<Row>, StoreError> {
        self.answer(query).map(|answer| answer.rows)
    }

    /// Answers a query: rows, and what they are together.
    ///
    /// # Errors
    /// The errors of SQLite; [`StoreError::is_interrupted`] holds if an [`Interrupter`] ended the query.
    pub fn answer(&self, query: &Query) -> Result<Answer, StoreError> {
        self.read(|connection| execute(connection, query, self.limits()))
    }

    /// Puts the answers to a query for its range and for another one side by side.
    ///
    /// # Errors
    /// As [`Reader::answer`].
    pub fn compare(
        &self,
        query: &Query,
        before: Range,
        order: CompareOrder,
    ) -> Result<Comparison, StoreError> {
        self.read(|connection| execute_comparison(connection, query, (before, order), self.limits()))
    }

    /// Returns sums over time for a chart: one for each two neighbours of `edges` (unix seconds, ascending), from the first
    /// to the second before the other one. Of the query the conditions count. Quick if the edges are whole quarters of an
    /// hour, or few.
    ///
    /// # Errors
    /// As [`Reader::answer`].
    pub fn series(&self, query: &Query, edges: &[i64]) -> Result<Vec<Counters>, StoreError> {
        self.read(|connection| execute_series(connection, query, edges, self.limits()))
    }

    /// As [`Reader::series`], and by the values of the one dimension that the query is grouped by: of the `top` groups with the
    /// most bytes each, and of all groups together. There are no groups if the query has none or several dimensions, or one of
    /// time.
    ///
    /// # Errors
    /// As [`Reader::answer`].
    pub fn series_by(&self, query: &Query, edges: &[i64], top: usize) -> Result<SeriesByGroup, StoreError> {
        self.read(|connection| execute_series_by(connection, query, edges, top, self.limits()))
    }

    /// Returns the times of the first and the last window with a record; `None` for a log without records.
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn extent(&self) -> Result<Option<(i64, i64)>, StoreError> {
        self.read(rollup::extent)
    }

    /// The time before which the log has sums of quarters of an hour only, because it has reached its size limit (unix
    /// seconds, a whole quarter); `None` if it has all windows.
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn detail_since(&self) -> Result<Option<i64>, StoreError> {
        self.read(rollup::detail_since)
    }

    /// The number of records.
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn record_count(&self) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM record";
        self.read(|connection| {
            connection.query_row(sql, [], |row| row.get(0)).map(|count: i64| count.max(0) as u64)
        })
    }

    /// The logs of the original picosnitch that were imported into this one, in part at least.
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn import_sources(&self) -> Result<Vec<ImportSource>, StoreError> {
        self.read(import::read)
    }

    /// Looks for damage in the whole file, but for that of single values: the first that is found.
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn quick_check(&self) -> Result<Option<String>, StoreError> {
        let sql = "PRAGMA quick_check(1)";
        let found = self.read(|connection| connection.query_row(sql, [], |row| row.get::<_, String>(0)))?;
        Ok(Some(found).filter(|found| found != "ok"))
    }

    /// The bytes of the log in use: without free pages.
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn used_bytes(&self) -> Result<u64, StoreError> {
        self.read(retention::used_bytes)
    }

    /// Returns the events of a range with one of these kinds (none given: all kinds), at most `limit`, the latest first.
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn events(&self, range: Range, kinds: &[EventKind], limit: u64) -> Result<Vec<Event>, StoreError> {
        self.events_that(range, kinds, limit, |_| true)
    }

    /// As [`Reader::events`], of the events that pass a condition.
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn events_that(
        &self,
        range: Range,
        kinds: &[EventKind],
        limit: u64,
        passes: impl Fn(&Event) -> bool,
    ) -> Result<Vec<Event>, StoreError> {
        let (since, until) = range.bounds();
        let names: Vec<String> = kinds.iter().map(|kind| format!("'{}'", kind.name())).collect();
        let of_kind = match names.is_empty() {
            true => String::new(),
            false => format!("AND kind IN ({})", names.join(", ")),
        };
        let sql = format!(
            "SELECT {} FROM event WHERE time BETWEEN ?1 AND ?2 {of_kind} ORDER BY time DESC, id DESC",
            event::COLUMNS
        );
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.read(|connection| {
            let mut statement = connection.prepare(&sql)?;
            let mut rows = statement.query([since, until])?;
            let mut events = Vec::new();
            while events.len() < limit
                && let Some(row) = rows.next()?
            {
                events.extend(event::from_row(row)?.filter(&passes));
            }
            Ok(events)
        })
    }

    /// Returns when each program was first and last seen, the latest first.
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn programs_seen(&self) -> Result<Vec<ProgramSeen>, StoreError> {
        self.read(program_seen::read)
    }

    /// Returns what was lost in the windows of a range: one entry per kind.
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn losses(&self, range: Range) -> Result<Vec<Loss>, StoreError> {
        let (since, until) = range.bounds();
        self.read(|connection| {
            let mut statement = connection.prepare(
                "SELECT subject, sum(count) FROM event WHERE kind = 'loss' AND time BETWEEN ?1 AND ?2 \
                 GROUP BY subject",
            )?;
            let rows = statement.query_map([since, until], |row| {
                let (subject, count): (String, i64) = (row.get(0)?, row.get(1)?);
                Ok(LossKind::from_name(&subject).map(|kind| Loss { kind, count: count.max(0) as u64 }))
            })?;
            let mut losses = rows.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?;
            losses.sort_by_key(|loss| loss.kind);
            Ok(losses)
        })
    }

    /// Returns for each two neighbours of `edges` (unix seconds, ascending) what was lost between them: one entry per kind.
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn losses_between(&self, edges: &[i64]) -> Result<Vec<Vec<Loss>>, StoreError> {
        let [begin, .., end] = edges else { return Ok(divide_losses([], edges)) };
        let range = Range { since: Some(*begin), until: Some(end.saturating_sub(1)) };
        Ok(divide_losses(&self.events(range, &[EventKind::Loss], u64::MAX)?, edges))
    }

    /// Reads in one transaction, so that all statements see the same state of the log.
    pub(crate) fn read<T>(&self, read: impl Fn(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let read = || {
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(interruption());
            }
            let transaction = self.connection.unchecked_transaction()?;
            let result = read(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        read().map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::TooBig) => StoreError::TooManyGroups(self.path.clone()),
            _ => sql_error(&self.path, "cannot read the log")(error),
        })
    }
}

/// A connection that waits for locks and trusts nothing in the file.
fn prepare(opened: rusqlite::Result<Connection>) -> rusqlite::Result<Connection> {
    let connection = opened?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.execute_batch("PRAGMA trusted_schema = OFF")?;
    Ok(connection)
}

/// Whether the log has a write-ahead log: it has one as long as, and since, somebody writes to it.
fn has_wal(path: &Path) -> bool {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    fs::symlink_metadata(wal).is_ok()
}
