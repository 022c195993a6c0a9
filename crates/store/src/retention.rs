//! Retention: deletes old records in small steps, and the rows of other tables that no record refers to any more.

use std::sync::atomic::AtomicBool;

use model::text::time;
use rusqlite::{Connection, OptionalExtension};

use crate::{
    error::{StoreError, sql_error},
    event::EventCount,
    rollup::{self, AcceptAll, Aggregation, CatchUp, KeyFields, LEVELS},
    writer::Writer,
};

/// Rows deleted per transaction. Records are deleted by whole windows, so a few more. Such a transaction takes some
/// milliseconds.
const ROWS_PER_STEP: i64 = 10_000;

/// Pages that one transaction gives back to the file system.
const PAGES_PER_STEP: i64 = 1000;

/// The amounts that a purge deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Number of records that were deleted.
    pub records: u64,
    /// Number of rows of other tables that no record needed any more.
    pub orphans: u64,
}

impl Writer {
    /// Deletes what is older than `days`, by the clock that the log trusts: see [`crate::clock`].
    ///
    /// # Errors
    /// The errors of [`Writer::purge`].
    pub fn purge_by_age(&mut self, days: u32) -> Result<Purged, StoreError> {
        self.purge(self.clock.now().saturating_sub(i64::from(days) * 24 * 60 * 60))
    }

    /// Deletes all records and events of windows that ended before `older_than` (unix seconds), then the rows that nothing
    /// refers to any more. Works in steps: after an error the log is sound, and a later purge continues.
    ///
    /// # Errors
    /// [`StoreError::CutoffInFuture`] if `older_than` is later than now, and the errors of SQLite.
    pub fn purge(&mut self, older_than: i64) -> Result<Purged, StoreError> {
        let now = time::now();
        if older_than > now {
            return Err(StoreError::CutoffInFuture { cutoff: older_than, now });
        }
        // Where only sums of days are left, whole days are deleted.
        let before = match self.detail_since {
            Some(since) if older_than < since => rollup::day_start(older_than),
            _ => older_than,
        };
        let fail = sql_error(&self.path, "cannot delete old records");
        let deleted = delete_records(&mut self.connection, before);
        self.note_file();
        let mut purged = Purged { records: deleted.map_err(&fail)?, orphans: 0 };
        self.event_count = EventCount::read(&self.connection).map_err(&fail)?;
        if purged.records > 0 {
            // The rollups of the buckets that were cut are missing now.
            self.catch_up = CatchUp::default();
            purged.orphans = self.delete_orphans()?;
        }
        self.release_pages()?;
        Ok(purged)
    }

    /// Deletes the rows of other tables to which neither records nor rollups refer.
    pub(crate) fn delete_orphans(&mut self) -> Result<u64, StoreError> {
        // SQLite assigns the ids of deleted rows again, so no id may stay cached, even if a step below fails.
        self.interner.clear();
        let fail = sql_error(&self.path, "cannot delete rows that nothing refers to");
        let deleted = delete_orphans(&mut self.connection);
        self.note_file();
        deleted.map_err(fail)
    }

    /// Gives free pages back to the file system.
    pub(crate) fn release_pages(&mut self) -> Result<(), StoreError> {
        let fail = sql_error(&self.path, "cannot give free pages back");
        let released = release_pages(&self.connection);
        self.note_file();
        released.map_err(fail)
    }
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

/// Bytes of the pages in use.
pub(crate) fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let pages = pragma(connection, "page_count")? - pragma(connection, "freelist_count")?;
    Ok(u64::try_from(pages.saturating_mul(pragma(connection, "page_size")?)).unwrap_or(0))
}

/// Gives free pages back to the file system if they are at least a quarter of the file. After a daily purge they are
/// fewer, and the records of the next day use them again. A file without incremental vacuum keeps its pages.
fn release_pages(connection: &Connection) -> rusqlite::Result<()> {
    let mut free = pragma(connection, "freelist_count")?;
    if free < pragma(connection, "page_count")? / 4 {
        return Ok(());
    }
    while free > 0 {
        let mut step = connection.prepare(&format!("PRAGMA incremental_vacuum({PAGES_PER_STEP})"))?;
        let mut rows = step.query([])?;
        while rows.next()?.is_some() {}
        let left = pragma(connection, "freelist_count")?;
        if left >= free {
            break;
        }
        free = left;
    }
    Ok(())
}

/// Deletes records with their rollups, windows and events. Returns the number of records and of rollups without records.
fn delete_records(connection: &mut Connection, older_than: i64) -> rusqlite::Result<u64> {
    let mut deleted = 0;
    loop {
        // The time of the last record of this step; `None` if fewer records are left.
        let last: Option<i64> = connection
            .prepare_cached("SELECT time FROM record WHERE time < ?1 ORDER BY time LIMIT 1 OFFSET ?2")?
            .query_row([older_than, ROWS_PER_STEP - 1], |row| row.get(0))
            .optional()?;
        let before = last.map_or(older_than, |last| last + 1);
        let transaction = connection.transaction()?;
        deleted += rollup::delete_before(&transaction, before)?;
        deleted += transaction.execute("DELETE FROM record WHERE time < ?1", [before])? as u64;
        transaction.execute("DELETE FROM window WHERE time < ?1", [before])?;
        transaction.commit()?;
        if last.is_none() {
            break;
        }
    }
    connection.execute("DELETE FROM event WHERE time < ?1", [older_than])?;
    Ok(deleted)
}

/// Deletes the rows of all other tables that no record refers to, directly or indirectly. Returns their number.
fn delete_orphans(connection: &mut Connection) -> rusqlite::Result<u64> {
    let by = KeyFields { context: true, ..KeyFields::default() };
    let mut deleted = referenced_ids(connection, "context", by)?.delete_others(connection, "context")?;
    let by = KeyFields { endpoint: true, ..KeyFields::default() };
    deleted += referenced_ids(connection, "endpoint", by)?.delete_others(connection, "endpoint")?;
    for sql in [
        "DELETE FROM program WHERE id NOT IN (SELECT program FROM context UNION SELECT parent FROM context UNION \
         SELECT grandparent FROM context)",
        "DELETE FROM cgroup WHERE id NOT IN (SELECT cgroup FROM context)",
        "DELETE FROM domain WHERE id NOT IN (SELECT domain FROM endpoint)",
        "DELETE FROM country WHERE id NOT IN (SELECT country FROM endpoint)",
        "DELETE FROM network WHERE id NOT IN (SELECT network FROM endpoint)",
        "DELETE FROM address WHERE id NOT IN (SELECT remote_address FROM endpoint UNION SELECT local_address \
         FROM endpoint)",
    ] {
        deleted += connection.execute(sql, [])? as u64;
    }
    Ok(deleted)
}

/// The ids of `table` that records refer to by the one field in `by`. An aggregation finds them sooner than the records do,
/// since rollups have the same ids.
fn referenced_ids(
    connection: &Connection,
    table: &'static str,
    by: KeyFields,
) -> rusqlite::Result<ReferencedIds> {
    let mut ids = ReferencedIds::new(connection, table)?;
    let never = AtomicBool::new(false);
    let aggregation = Aggregation::new(connection, &[i64::MIN, i64::MAX], by, AcceptAll, &never);
    for (key, _) in aggregation.run(LEVELS.len())? {
        ids.mark(if by.context { key.context } else { key.endpoint });
    }
    Ok(ids)
}

/// The ids of a table that are referred to: one bit each, so that millions of them fit into a small memory. The records
/// have no index by these ids.
struct ReferencedIds {
    /// The smallest id of the table, that of bit 0.
    first: i64,
    count: i64,
    bits: Vec<u64>,
}

impl ReferencedIds {
    fn new(connection: &Connection, table: &'static str) -> rusqlite::Result<Self> {
        let sql = format!("SELECT coalesce(min(id), 0), coalesce(max(id), -1) FROM {table}");
        let (first, last): (i64, i64) =
            connection.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let count = last - first + 1;
        let words = usize::try_from(count).unwrap_or(0).div_ceil(64);
        Ok(Self { first, count, bits: vec![0; words] })
    }

    fn mark(&mut self, id: i64) {
        if let Ok(bit) = usize::try_from(id - self.first)
            && let Some(word) = self.bits.get_mut(bit / 64)
        {
            *word |= 1 << (bit % 64);
        }
    }

    fn is_marked(&self, bit: i64) -> bool {
        let bit = bit as usize;
        self.bits.get(bit / 64).is_some_and(|word| word & (1 << (bit % 64)) != 0)
    }

    /// Deletes the rows whose ids are not marked.
    fn delete_others(&self, connection: &mut Connection, table: &'static str) -> rusqlite::Result<u64> {
        let sql = format!("DELETE FROM {table} WHERE id = ?1");
        let mut deleted = 0;
        let mut start = 0;
        while start < self.count {
            let end = (start + ROWS_PER_STEP).min(self.count);
            let transaction = connection.transaction()?;
            {
                let mut delete = transaction.prepare_cached(&sql)?;
                for bit in (start..end).filter(|bit| !self.is_marked(*bit)) {
                    deleted += delete.execute([self.first + bit])? as u64;
                }
            }
            transaction.commit()?;
            start = end;
        }
        Ok(deleted)
    }
}
