//! The one writer of the log.

use std::{
    fs, io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, params};

use super::{
    error::StoreError,
    intern::Interner,
    rollup::{self, CatchUp},
    schema::{self, Found, MIGRATIONS, failed},
};
use model::{LossKind, Window};

/// How long SQLite itself waits for a lock; the caller keeps the window and comes back.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);

/// Mode of the database; SQLite gives the same to its `-wal` and `-shm` files.
const MODE: u32 = 0o640;

/// Writes windows to the log, each in one transaction.
pub struct Writer {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
    pub(super) interner: Interner,
    /// Time of the window that was written last; after the start that of the latest one. The buckets that it is in are
    /// not rolled up.
    pub(super) last: Option<i64>,
    pub(super) catch_up: CatchUp,
    /// Most cells of a bucket that is rolled up.
    pub(super) most_cells: usize,
}

impl Writer {
    /// Opens the log at `path`, makes it if there is none (mode 0640 whatever the umask) and brings its
    /// schema up to date.
    ///
    /// # Errors
    /// See [`StoreError`]; a file that is not ours, newer or damaged is left untouched. When
    /// [`StoreError::is_transient`], try again later.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        make_file(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let fail = failed(path, "cannot open the log");
        let mut connection = Connection::open_with_flags(path, flags).map_err(&fail)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(&fail)?;
        connection.set_prepared_statement_cache_capacity(32);
        let version = match schema::inspect(&connection, path)? {
            Found::Empty => 0,
            Found::Version(version) => version,
        };
        if version == 0 {
            // What a purge frees can be given back in small steps. Only an empty file can be told so.
            connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL").map_err(&fail)?;
        }
        // Not inside a transaction: there it has no effect.
        let mode: String =
            connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(&fail)?;
        if mode != "wal" {
            return Err(StoreError::NoWriteAheadLog { path: path.to_owned(), mode });
        }
        keep_write_ahead_log(&connection);
        // NORMAL: a crash of the machine can lose the last transactions but damages nothing, and nothing is
        // lost when only this process dies. The references are for readers; checking them needs indexes.
        connection
            .execute_batch(
                "PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = OFF; PRAGMA trusted_schema = OFF; \
                 PRAGMA cache_size = -1024; PRAGMA journal_size_limit = 4194304;",
            )
            .map_err(&fail)?;
        schema::migrate(&mut connection, path, version, MIGRATIONS)?;
        let last = connection
            .query_row("SELECT max(time) FROM record", [], |row| row.get(0))
            .map_err(failed(path, "cannot read the log"))?;
        let path = path.to_owned();
        Ok(Self {
            path,
            connection,
            interner: Interner::default(),
            last,
            catch_up: CatchUp::default(),
            most_cells: rollup::MAX_CELLS,
        })
    }

    /// Writes a window in one transaction; on an error nothing of it is written.
    ///
    /// Records of equal keys are stored as they come: merging them is the caller's job.
    ///
    /// # Errors
    /// When [`StoreError::is_transient`], keep the window and write it again later.
    pub fn write(&mut self, window: &Window) -> Result<(), StoreError> {
        if window.records.is_empty() && window.losses.is_empty() {
            return Ok(());
        }
        let written = (|| {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if !window.records.is_empty() {
                if let Some(last) = self.last {
                    rollup::leave(&transaction, self.most_cells, last, window.time)?;
                }
                rollup::invalidate(&transaction, window.time)?;
            }
            insert(&transaction, &mut self.interner, window)?;
            transaction.commit()
        })();
        match written {
            Ok(()) => {
                self.interner.committed();
                if !window.records.is_empty() {
                    self.last = Some(window.time);
                }
            }
            // The rows behind the ids that were just handed out are gone again.
            Err(_) => self.interner.rolled_back(),
        }
        written.map_err(failed(&self.path, "cannot write the window"))
    }

    /// Moves what is in the write-ahead log into the database, for a clean end; not needed for safety.
    ///
    /// # Errors
    /// Those of SQLite; nothing is lost then either.
    pub fn checkpoint(&mut self) -> Result<(), StoreError> {
        let fail = failed(&self.path, "cannot empty the write-ahead log");
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(fail)
    }
}

fn insert(transaction: &Transaction<'_>, interner: &mut Interner, window: &Window) -> rusqlite::Result<()> {
    // Usually 0; more only if the clock was set back or the daemon restarted within a second.
    let first: i64 = transaction
        .prepare_cached("SELECT coalesce(max(sequence) + 1, 0) FROM record WHERE time = ?1")?
        .query_row([window.time], |row| row.get(0))?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO record (time, sequence, context, endpoint, local_port, remote_port, connections, sent, \
         received) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    for (sequence, record) in (first..).zip(&window.records) {
        let context = interner.context(transaction, &record.context)?;
        let endpoint = interner.endpoint(transaction, &record.tuple, &record.geo)?;
        insert.execute(params![
            window.time,
            sequence,
            context,
            endpoint,
            record.tuple.local_port,
            record.tuple.remote_port,
            amount(record.counters.connections),
            amount(record.counters.sent),
            amount(record.counters.received),
        ])?;
    }
    let mut insert =
        transaction.prepare_cached("INSERT INTO loss (time, kind, count) VALUES (?1, ?2, ?3)")?;
    for loss in &window.losses {
        insert.execute(params![window.time, loss_number(loss.kind), amount(loss.count)])?;
    }
    Ok(())
}

/// SQLite's integers are signed, and so are their sums: an amount beyond 4.5 petabytes is stored as that, so that no
/// sum over a log overflows.
fn amount(value: u64) -> i64 {
    const MOST: i64 = 1 << 52;
    i64::try_from(value).map_or(MOST, |value| value.min(MOST))
}

/// The number under which a kind of loss is stored: never change one.
pub(super) fn loss_number(kind: LossKind) -> i64 {
    match kind {
        LossKind::ProcessEvents => 1,
        LossKind::FlowTableFull => 2,
        LossKind::Channel => 3,
        LossKind::Log => 4,
        LossKind::UncountableSocket => 5,
        LossKind::FlowTableBytes => 6,
        LossKind::ReleaseEvents => 7,
        LossKind::SkippedCalls => 8,
        LossKind::Names => 9,
    }
}

/// The kind of loss behind a stored number.
pub(super) fn loss_kind(number: i64) -> Option<LossKind> {
    LossKind::ALL.into_iter().find(|kind| loss_number(*kind) == number)
}

/// Makes sure that there is a regular file; SQLite would make one with the umask's mode, and follow links.
fn make_file(path: &Path) -> Result<(), StoreError> {
    let fail = |source| StoreError::File { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(_) => Err(StoreError::NotAFile(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            let file = file.map_err(fail)?;
            file.set_permissions(fs::Permissions::from_mode(MODE)).map_err(fail)
        }
        Err(source) => Err(fail(source)),
    }
}

/// Keeps the `-wal` and `-shm` files when the last connection closes: without them, someone who may read the
/// database but not write to its directory could not open it while the daemon is stopped.
fn keep_write_ahead_log(connection: &Connection) {
    let mut on: libc::c_int = 1;
    // SAFETY: the handle is that of an open connection, which outlives the call; "main" is a C string; the
    // operation reads and writes one int through the pointer.
    // A failure only costs the convenience above.
    let _ = unsafe {
        rusqlite::ffi::sqlite3_file_control(
            connection.handle(),
            c"main".as_ptr(),
            rusqlite::ffi::SQLITE_FCNTL_PERSIST_WAL,
            (&raw mut on).cast(),
        )
    };
}
