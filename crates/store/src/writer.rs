//! The only writer of the log.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs, io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use model::{PORT_EXECUTION, Port, ProcessContext, Window};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, params};

use crate::{
    error::{StoreError, sql_error},
    intern::Interner,
    loss_kind::loss_kind_number,
    rollup::{self, CatchUp, MAX_ROLLUP_ROWS},
    schema::{self, MIGRATIONS},
};

/// How long SQLite itself waits for a lock; after that the caller keeps the window and tries again.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);

/// Mode of the database file; SQLite gives the same mode to its `-wal` and `-shm` files.
const FILE_MODE: u32 = 0o640;

/// Writes windows to the log, each in one transaction.
pub struct Writer {
    pub(crate) path: PathBuf,
    pub(crate) connection: Connection,
    pub(crate) interner: Interner,
    /// Time of the latest window written; after a start, of the last one in the log. The buckets that contain it are open:
    /// they have no rollup.
    last_time: Option<i64>,
    pub(crate) catch_up: CatchUp,
    /// A bucket with more rows than this gets no rollup.
    pub(crate) max_rollup_rows: usize,
}

impl Writer {
    /// Opens the log at `path`, creates it if it is missing (mode 0640, independent of the umask), and migrates it to the
    /// current schema version.
    ///
    /// # Errors
    /// See [`StoreError`]; a foreign, newer or damaged file is left unchanged. If [`StoreError::is_transient`] holds, try
    /// again later.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        create_file(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let fail = sql_error(path, "cannot open the log");
        let mut connection = Connection::open_with_flags(path, flags).map_err(&fail)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(&fail)?;
        connection.set_prepared_statement_cache_capacity(32);
        let version = schema::version(&connection, path)?;
        if version == 0 {
            // Allows to give pages back to the file system in small steps; only possible in an empty file.
            connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL").map_err(&fail)?;
        }
        // Has no effect inside a transaction.
        let mode: String =
            connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(&fail)?;
        if mode != "wal" {
            return Err(StoreError::NoWriteAheadLog { path: path.to_owned(), mode });
        }
        keep_write_ahead_log(&connection);
        // synchronous = NORMAL: a crash of the machine can lose the last transactions but damages nothing, and a crash of
        // this process loses nothing. foreign_keys = OFF: checking references would need indexes.
        connection
            .execute_batch(
                "PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = OFF; PRAGMA trusted_schema = OFF; \
                 PRAGMA cache_size = -1024; PRAGMA journal_size_limit = 4194304;",
            )
            .map_err(&fail)?;
        schema::migrate(&mut connection, path, version, MIGRATIONS)?;
        let last_time = connection
            .query_row("SELECT max(time) FROM record", [], |row| row.get(0))
            .map_err(sql_error(path, "cannot read the log"))?;
        Ok(Self {
            path: path.to_owned(),
            connection,
            interner: Interner::default(),
            last_time,
            catch_up: CatchUp::default(),
            max_rollup_rows: MAX_ROLLUP_ROWS,
        })
    }

    /// Writes a window in one transaction; on an error nothing of it is written. Records with equal keys are stored as
    /// they are: merging them is the caller's task.
    ///
    /// # Errors
    /// If [`StoreError::is_transient`] holds, keep the window and write it again later.
    pub fn write(&mut self, window: &Window) -> Result<(), StoreError> {
        if window.records.is_empty() && window.losses.is_empty() {
            return Ok(());
        }
        match self.write_transaction(window) {
            Ok(()) => {
                self.interner.commit();
                if !window.records.is_empty() {
                    self.last_time = Some(window.time);
                }
                Ok(())
            }
            Err(error) => {
                self.interner.roll_back();
                Err(sql_error(&self.path, "cannot write the window")(error))
            }
        }
    }

    fn write_transaction(&mut self, window: &Window) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if !window.records.is_empty() {
            if let Some(last_time) = self.last_time {
                rollup::close_buckets(&transaction, self.max_rollup_rows, last_time, window.time)?;
            }
            rollup::invalidate(&transaction, window.time)?;
        }
        insert(&transaction, &mut self.interner, window)?;
        transaction.commit()
    }

    /// Makes at most one missing rollup. Returns whether there may be more to do: call it again while there is nothing else
    /// to write.
    ///
    /// # Errors
    /// The errors of SQLite; rollups made before stay, and the rest can be made later.
    pub fn catch_up(&mut self) -> Result<bool, StoreError> {
        let fail = sql_error(&self.path, "cannot make rollups");
        self.catch_up.step(&self.connection, self.max_rollup_rows, self.last_time).map_err(fail)
    }

    /// Moves the content of the write-ahead log into the database. A clean end does this; safety does not need it.
    ///
    /// # Errors
    /// The errors of SQLite; nothing is lost then either.
    pub fn checkpoint(&mut self) -> Result<(), StoreError> {
        let fail = sql_error(&self.path, "cannot empty the write-ahead log");
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(fail)
    }
}

fn insert(transaction: &Transaction<'_>, interner: &mut Interner, window: &Window) -> rusqlite::Result<()> {
    // Usually 0. More if the clock was set back, or the daemon restarted within a second.
    let first: i64 = transaction
        .prepare_cached("SELECT coalesce(max(sequence) + 1, 0) FROM record WHERE time = ?1")?
        .query_row([window.time], |row| row.get(0))?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO record (time, sequence, context, endpoint, local_port, remote_port, connections, sent, \
         received) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    // Records share their contexts: the content of each is hashed once.
    let mut contexts: HashMap<*const ProcessContext, i64> = HashMap::new();
    for (sequence, record) in (first..).zip(&window.records) {
        let context = match contexts.entry(Arc::as_ptr(&record.context)) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => *new.insert(interner.context(transaction, &record.context)?),
        };
        let endpoint = interner.endpoint(transaction, &record.tuple, &record.geo)?;
        insert.execute(params![
            window.time,
            sequence,
            context,
            endpoint,
            stored_port(record.tuple.local_port),
            stored_port(record.tuple.remote_port),
            stored_counter(record.counters.connections),
            stored_counter(record.counters.sent),
            stored_counter(record.counters.received),
        ])?;
    }
    let mut insert =
        transaction.prepare_cached("INSERT INTO loss (time, kind, count) VALUES (?1, ?2, ?3)")?;
    for loss in &window.losses {
        insert.execute(params![window.time, loss_kind_number(loss.kind), stored_counter(loss.count)])?;
    }
    Ok(())
}

/// Limits a counter to 2^52 (4.5 petabytes): SQLite's integers and their sums are signed, and no sum over a log may
/// overflow.
fn stored_counter(counter: u64) -> i64 {
    const MAX: i64 = 1 << 52;
    i64::try_from(counter).map_or(MAX, |counter| counter.min(MAX))
}

/// Stores 0, "no port", for a port that is none, in particular for `VMADDR_PORT_ANY` (`u32::MAX`, vsock(7)), whose bits in
/// packed rows mean [`PORT_EXECUTION`].
fn stored_port(port: Port) -> Port {
    const MAX: Port = u32::MAX as Port - 1;
    if (PORT_EXECUTION..=MAX).contains(&port) { port } else { 0 }
}

/// Makes sure that there is a regular file. SQLite would create one with the mode of the umask, and follow links.
fn create_file(path: &Path) -> Result<(), StoreError> {
    let fail = |source| StoreError::File { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => Err(StoreError::NotAFile(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            let file = file.map_err(fail)?;
            file.set_permissions(fs::Permissions::from_mode(FILE_MODE)).map_err(fail)
        }
        Err(source) => Err(fail(source)),
    }
}

/// Keeps the `-wal` and `-shm` files when the last connection closes. Without them, a user who may read the database but
/// not write to its directory could not open it while the daemon is stopped.
fn keep_write_ahead_log(connection: &Connection) {
    let mut on: libc::c_int = 1;
    // SAFETY: the handle is that of an open connection, which outlives the call; "main" is a C string; the
    // operation reads and writes one int through the pointer.
    // A failure only means that the files are deleted.
    let _ = unsafe {
        rusqlite::ffi::sqlite3_file_control(
            connection.handle(),
            c"main".as_ptr(),
            rusqlite::ffi::SQLITE_FCNTL_PERSIST_WAL,
            (&raw mut on).cast(),
        )
    };
}
