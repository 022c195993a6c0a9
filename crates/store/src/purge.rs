//! Retention: deleting what is old, in small steps, and what nothing refers to any more.

use std::{
    sync::atomic::AtomicBool,
    time::{SystemTime, UNIX_EPOCH},
};

use rusqlite::{Connection, OptionalExtension};

use super::{
    adder::{Adder, All},
    error::StoreError,
    rollup::{self, LEVELS},
    schema::failed,
    sums::Parts,
    writer::Writer,
};

/// Records in one transaction, about: whole windows are deleted. A transaction of this size takes some
/// milliseconds.
const CHUNK: i64 = 10_000;

/// Pages that are given back to the file system in one transaction.
const PAGES: i64 = 1000;

/// What a purge deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Records.
    pub records: u64,
    /// Rows of the side tables that no record needed any more.
    pub orphans: u64,
}

impl Writer {
    /// Deletes all records and losses of windows that ended before `older_than` (unix seconds), and then the
    /// rows of the side tables that nothing refers to. Done in steps: an error leaves a sound log that a
    /// later purge goes on with.
    ///
    /// # Errors
    /// [`StoreError::CutoffInFuture`] if `older_than` is later than now, and those of SQLite.
    pub fn purge(&mut self, older_than: i64) -> Result<Purged, StoreError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() as i64);
        if older_than > now {
            return Err(StoreError::CutoffInFuture { cutoff: older_than, now });
        }
        // Ids of deleted rows are given out again: no cached one may survive, whatever happens below.
        self.interner.clear();
        let fail = failed(&self.path, "cannot delete old records");
        let purged = purge(&mut self.connection, older_than).map_err(&fail)?;
        give_back(&self.connection).map_err(fail)?;
        Ok(purged)
    }
}

impl Writer {
    /// Deletes the oldest records until what is left takes at most nine tenths of `most` bytes, if it takes more than
    /// `most`. The last window always stays.
    ///
    /// # Errors
    /// Those of [`Writer::purge`].
    pub fn purge_to_size(&mut self, most: u64) -> Result<Purged, StoreError> {
        let mut purged = Purged::default();
        let mut goal = most;
        loop {
            let fail = failed(&self.path, "cannot look at the size of the log");
            let used = used_bytes(&self.connection).map_err(&fail)?;
            if used <= goal {
                return Ok(purged);
            }
            goal = most / 10 * 9;
            let Some(before) = cutoff(&self.connection, goal, used).map_err(fail)? else { return Ok(purged) };
            let step = self.purge(before)?;
            purged.records += step.records;
            purged.orphans += step.orphans;
            if step.records == 0 {
                return Ok(purged);
            }
        }
    }
}

/// Bytes of the pages in use.
fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = number("page_count")? - number("freelist_count")?;
    Ok(u64::try_from(pages.saturating_mul(number("page_size")?)).unwrap_or(0))
}

/// Up to when records go, so that of `used` bytes about `goal` stay; `None` when only the last window is left.
fn cutoff(connection: &Connection, goal: u64, used: u64) -> rusqlite::Result<Option<i64>> {
    let count: i64 = connection.query_row("SELECT count(*) FROM record", [], |row| row.get(0))?;
    let share = i128::from(count) * i128::from(used - goal) / i128::from(used.max(1));
    let last: Option<i64> = connection.query_row("SELECT max(time) FROM record", [], |row| row.get(0))?;
    let at: Option<i64> = connection
        .query_row("SELECT time FROM record ORDER BY time LIMIT 1 OFFSET ?1", [share as i64], |row| {
            row.get(0)
        })
        .optional()?;
    Ok(at.zip(last).map(|(at, last)| (at + 1).min(last)))
}

/// Gives pages back to the file system once a quarter of the file is unused: what a daily purge leaves is used again by
/// the records of the next day. A log that was made before pages could be given back keeps them.
fn give_back(connection: &Connection) -> rusqlite::Result<()> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let mut free = number("freelist_count")?;
    if free < number("page_count")? / 4 {
        return Ok(());
    }
    while free > 0 {
        let mut step = connection.prepare(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
        let mut rows = step.query([])?;
        while rows.next()?.is_some() {}
        let left = number("freelist_count")?;
        if left >= free {
            break;
        }
        free = left;
    }
    Ok(())
}

fn purge(connection: &mut Connection, older_than: i64) -> rusqlite::Result<Purged> {
    let mut purged = Purged::default();
    loop {
        // The time of the last record of this step; none: the rest is less than a step.
        let last: Option<i64> = connection
            .prepare_cached("SELECT time FROM record WHERE time < ?1 ORDER BY time LIMIT 1 OFFSET ?2")?
            .query_row([older_than, CHUNK - 1], |row| row.get(0))
            .optional()?;
        let before = last.map_or(older_than, |last| last + 1);
        let transaction = connection.transaction()?;
        rollup::cut(&transaction, before)?;
        purged.records += transaction.execute("DELETE FROM record WHERE time < ?1", [before])? as u64;
        transaction.commit()?;
        if last.is_none() {
            break;
        }
    }
    connection.execute("DELETE FROM loss WHERE time < ?1", [older_than])?;
    if purged.records == 0 {
        return Ok(purged);
    }
    let (mut contexts, mut endpoints) =
        (Used::new(connection, "context")?, Used::new(connection, "endpoint")?);
    // Their rollups tell the same, sooner.
    for (used, parts) in [
        (&mut contexts, Parts { context: true, ..Parts::default() }),
        (&mut endpoints, Parts { endpoint: true, ..Parts::default() }),
    ] {
        let never = AtomicBool::new(false);
        let adder = Adder::new(connection, &[i64::MIN, i64::MAX], (parts, Parts::default()), All, &never);
        for (key, _) in adder.add(LEVELS.len())? {
            used.mark(if parts.context { key.context } else { key.endpoint });
        }
    }
    purged.orphans += contexts.delete_others(connection, "context")?;
    purged.orphans += endpoints.delete_others(connection, "endpoint")?;
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
        purged.orphans += connection.execute(sql, [])? as u64;
    }
    Ok(purged)
}

/// Which ids of a table are in use: one bit each, for millions of them fit a small memory, and the records
/// have no index by these ids.
struct Used {
    first: i64,
    count: i64,
    bits: Vec<u64>,
}

impl Used {
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

    /// Deletes the rows whose ids were not marked.
    fn delete_others(&self, connection: &mut Connection, table: &'static str) -> rusqlite::Result<u64> {
        let sql = format!("DELETE FROM {table} WHERE id = ?1");
        let mut deleted = 0;
        let mut start = 0;
        while start < self.count {
            let end = (start + CHUNK).min(self.count);
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
