//! Writing the records of a log of the original picosnitch: many windows in one transaction, with the position in that log.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use model::{Event, ProcessContext, Record};
use rusqlite::{Connection, TransactionBehavior, params};

use super::{
    Writer,
    records::{insert_row, insert_window, next_sequence, prepare_insert, stored_port},
};
use crate::{
    clock::ClockReading,
    error::{StoreError, sql_error},
    import::{self, ImportMarker, ImportSource, ImportWindow},
    import_overlap::LogBeforeImport,
    intern::{CommandLines, Interner},
    port_seen,
    program_seen::{self, SeenPrograms},
    rollup,
    seen_times::{SeenInLog, SeenTimes},
};

/// A bucket with more rows than this is left to the daemon, which needs more memory for it.
const MAX_ROLLUP_ROWS_OF_IMPORT: usize = 100_000;

impl Writer {
    /// The sources that were imported into this log, in part at least.
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn import_sources(&self) -> Result<Vec<ImportSource>, StoreError> {
        import::read(&self.connection).map_err(sql_error(&self.path, "cannot read what was imported"))
    }

    /// The log as it is now.
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn log_before_import(&self) -> Result<LogBeforeImport, StoreError> {
        LogBeforeImport::open(&self.path)
    }

    /// The time before which the log has sums only, unix seconds UTC; `None` if it has all windows.
    pub fn detail_since(&self) -> Option<i64> {
        self.detail_since
    }

    /// Makes caches large enough for many windows at once.
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn begin_import(&mut self) -> Result<(), StoreError> {
        self.interner.enlarge_caches();
        self.connection
            .execute_batch("PRAGMA cache_size = -8192")
            .map_err(sql_error(&self.path, "cannot prepare the import"))
    }

    /// Writes windows of another log in one transaction, with new numbers, and how far `source` was read with them. Their
    /// rollups are missing then.
    ///
    /// # Errors
    /// The errors of SQLite; nothing is written then.
    pub fn write_import(
        &mut self,
        windows: &[ImportWindow],
        source: &mut ImportSource,
        marker: Option<ImportMarker>,
    ) -> Result<(), StoreError> {
        match self.write_import_transaction(windows, source, marker) {
            Ok((id, last_window)) => {
                self.finish_old_write(last_window, windows.iter().map(|window| window.time));
                // The table has programs that the cache does not know, or lacks some that it does.
                self.seen_programs = SeenPrograms::default();
                source.id = Some(id);
                if let Some(marker) = marker {
                    source.markers.push(marker);
                }
                Ok(())
            }
            Err(error) => {
                self.roll_back_caches();
                Err(sql_error(&self.path, "cannot write windows of the original's log")(error))
            }
        }
    }

    /// Returns the number of the source and that of the last window.
    fn write_import_transaction(
        &mut self,
        windows: &[ImportWindow],
        source: &ImportSource,
        marker: Option<ImportMarker>,
    ) -> rusqlite::Result<(i64, i64)> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let quarters: BTreeSet<i64> =
            windows.iter().map(|window| rollup::quarter_start(window.time)).collect();
        for quarter in quarters {
            rollup::invalidate(&transaction, self.detail_since, quarter)?;
        }
        let mut rows = ImportRows {
            connection: &transaction,
            interner: &mut self.interner,
            contexts: HashMap::new(),
            seen: SeenInLog::default(),
        };
        let mut number = self.identity.last_window;
        for window in windows {
            number += 1;
            rows.insert(window, number)?;
        }
        let seen = rows.seen;
        seen.store(&transaction)?;
        program_seen::add_contexts(&transaction, &seen.contexts)?;
        port_seen::add(&transaction, seen.ports)?;
        let id = import::store(&transaction, source, marker)?;
        transaction.execute("UPDATE log SET last_window = ?1", params![number])?;
        transaction.commit()?;
        Ok((id, number))
    }

    /// Adds an event about the import.
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn add_import_event(&mut self, event: &Event) -> Result<(), StoreError> {
        self.write_old(&[], std::slice::from_ref(event))
    }

    /// Makes the next missing rollup, until `now` (unix seconds UTC). Returns whether there may be more: call it again.
    ///
    /// # Errors
    /// The errors of SQLite; the daemon makes those that are missing.
    pub fn roll_up_import(&mut self, now: i64) -> Result<bool, StoreError> {
        self.last_time = self.last_time.max(Some(now));
        self.max_rollup_rows = self.max_rollup_rows.min(MAX_ROLLUP_ROWS_OF_IMPORT);
        if self.interner.shrink() {
            return_memory();
        }
        self.catch_up()
    }
}

/// Gives the memory that was freed back to the system.
fn return_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes a number, and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Inserts the records of windows.
struct ImportRows<'a> {
    connection: &'a Connection,
    interner: &'a mut Interner,
    /// Ids of contexts, which records share.
    contexts: HashMap<*const ProcessContext, i64>,
    seen: SeenInLog,
}

impl ImportRows<'_> {
    fn insert(&mut self, window: &ImportWindow, number: i64) -> rusqlite::Result<()> {
        self.interner.set_time(window.time);
        let first = next_sequence(self.connection, window.time)?;
        for (sequence, record) in (first..).zip(&window.records) {
            self.insert_record(window.time, sequence, record)?;
        }
        // Another log has no boots.
        let reading = ClockReading { time: window.time, boot: 0, uptime: 0 };
        // Each second of it is a window: a nonce would be much of what they take. Copies of the log that import a second of their own
        // under the same number have imported the same.
        insert_window(self.connection, number, reading, (first, window.records.len() as i64), None)
    }

    fn insert_record(&mut self, time: i64, sequence: i64, record: &Record) -> rusqlite::Result<()> {
        let pointer = Arc::as_ptr(&record.context);
        let context = match self.contexts.get(&pointer) {
            Some(id) => *id,
            None => {
                let id = self.interner.context(self.connection, &record.context, CommandLines::Kept)?;
                self.contexts.insert(pointer, id);
                id
            }
        };
        let endpoint = self.interner.endpoint(self.connection, &record.tuple, &record.geo)?;
        let insert = &mut prepare_insert(self.connection)?;
        insert_row(insert, (time, sequence), (context, endpoint), record)?;
        let remote_port = stored_port(record.tuple.remote_port);
        self.seen.add(context, endpoint, remote_port, SeenTimes::at(time));
        Ok(())
    }
}
