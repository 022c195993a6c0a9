//! The size of the log. Above its limit single windows go first, oldest first, while the sums of quarters of an hour, days
//! and four weeks stay; only then whole days.

use model::{Event, EventKind, text::time};
use rusqlite::{Connection, OptionalExtension};

use crate::{
    error::{StoreError, sql_error},
    retention::used_bytes,
    rollup,
    writer::Writer,
};

/// Records that one transaction deletes at least, if there are as many: whole quarters of an hour.
const ROWS_PER_STEP: u64 = 2000;
/// Seconds of a quarter of an hour, and of a day.
const QUARTER: i64 = 900;
const DAY: i64 = 24 * 60 * 60;
/// Transactions, and rollups, that one call makes at most.
const MAX_STEPS: usize = 50;
/// Windows of this many seconds before the last one stay, whatever they take.
const KEPT: i64 = 60 * 60;

impl Writer {
    /// Deletes the oldest detail until the rest takes at most nine tenths of `max_bytes`, if it takes more than `max_bytes`.
    /// The windows of the last hour and the sums of the last day stay. Each call does a part of the work: returns whether
    /// there may be more; at the end the user is told what was deleted.
    ///
    /// # Errors
    /// [`StoreError::SizeLimit`] if there is nothing that may be deleted, and the errors of SQLite; what was deleted before is
    /// consistent.
    pub fn limit_size(&mut self, max_bytes: u64) -> Result<bool, StoreError> {
        let goal = match self.size_goal {
            Some(goal) => goal,
            None if self.used_bytes()? <= max_bytes => return Ok(false),
            None => max_bytes / 10 * 9,
        };
        self.size_goal = Some(goal);
        // Only what has its sums in a rollup may go. The next windows wait meanwhile, so the work is done in parts.
        for _ in 0..MAX_STEPS {
            if !self.catch_up()? {
                break;
            }
        }
        if self.catch_up()? {
            return Ok(true);
        }
        self.has_cut |= self.cut_detail(goal)?;
        let fail = sql_error(&self.path, "cannot look at the extent of the log");
        if self.used_bytes()? > goal && self.next_cut().map_err(fail)?.is_some() {
            return Ok(true);
        }
        self.size_goal = None;
        let cut = std::mem::take(&mut self.has_cut);
        // Rollups refer to nearly all that the records referred to.
        let orphans = if cut { self.delete_orphans()? } else { 0 };
        let purged = if self.used_bytes()? > goal { self.purge_days(goal)? } else { false };
        if !cut && !purged && orphans == 0 {
            return Err(StoreError::SizeLimit { path: self.path.clone(), max_bytes });
        }
        self.release_pages()?;
        let since = self.detail_since.unwrap_or_default();
        let text = match purged {
            true => {
                "The log has reached its size limit (log.retention_megabytes): the oldest days were deleted."
                    .into()
            }
            false => format!(
                "The log has reached its size limit (log.retention_megabytes): before {} it has sums of quarters of an \
                 hour and days, no single windows.",
                time::local(since)
            ),
        };
        self.add_notice(Event::new(EventKind::Retention, time::now(), text));
        Ok(false)
    }

    /// Bytes of the pages in use.
    pub(crate) fn used_bytes(&self) -> Result<u64, StoreError> {
        used_bytes(&self.connection).map_err(sql_error(&self.path, "cannot look at the size of the log"))
    }

    /// Deletes records whose sums are in rollups, oldest first, as many as one call may. Returns whether there were any.
    pub(crate) fn cut_detail(&mut self, goal: u64) -> Result<bool, StoreError> {
        let fail = sql_error(&self.path, "cannot delete single windows");
        let mut any = false;
        for _ in 0..MAX_STEPS {
            if self.used_bytes()? <= goal {
                break;
            }
            let Some(before) = self.next_cut().map_err(&fail)? else { break };
            let cut = cut_before(&mut self.connection, self.detail_since, before);
            self.note_file();
            cut.map_err(&fail)?;
            self.detail_since = Some(before);
            any = true;
        }
        Ok(any)
    }

    /// The time of the last window, unless the log has windows of a later time: the clock was wrong then.
    fn present(&self, last: i64) -> i64 {
        last.min(self.clock.last.time)
    }

    /// The end of the next quarters of an hour that can be cut; `None` if there are none.
    fn next_cut(&self) -> rusqlite::Result<Option<i64>> {
        let connection = &self.connection;
        let from = self.detail_since.unwrap_or(i64::MIN);
        let last: Option<i64> = connection.query_row("SELECT max(time) FROM record", [], |row| row.get(0))?;
        let Some(last) = last else { return Ok(None) };
        let end = rollup::quarter_start(last.saturating_sub(KEPT));
        let mut rows = 0;
        let mut before = None;
        let mut next = from;
        while rows < ROWS_PER_STEP {
            let first: Option<i64> = connection
                .prepare_cached("SELECT time FROM record WHERE time >= ?1 ORDER BY time LIMIT 1")?
                .query_row([next], |row| row.get(0))
                .optional()?;
            let Some(start) = first.map(rollup::quarter_start).filter(|start| *start < end) else { break };
            if !rollup::is_summed(connection, start)? {
                break;
            }
            let count: i64 = connection
                .prepare_cached("SELECT count(*) FROM record WHERE time BETWEEN ?1 AND ?2")?
                .query_row([start, start + QUARTER - 1], |row| row.get(0))?;
            rows += count.max(0) as u64;
            next = start + QUARTER;
            before = Some(next);
        }
        // A day that is over is cut as a whole: its quarters could not be summed again.
        let is_day_over = |before: i64| rollup::day_start(before) + DAY <= rollup::day_start(last);
        Ok(match before {
            Some(before) if is_day_over(before - 1) => {
                Some(self.whole_days(before, rollup::day_start(before - 1) + DAY)?)
            }
            before => before,
        })
    }

    /// The end of the day if all its quarters with records have sums, otherwise `before`.
    fn whole_days(&self, before: i64, day_end: i64) -> rusqlite::Result<i64> {
        let mut start = before;
        while start < day_end {
            let sql = "SELECT 1 FROM record WHERE time BETWEEN ?1 AND ?2";
            let has_records = self.connection.prepare_cached(sql)?.exists([start, start + QUARTER - 1])?;
            if has_records && !rollup::is_summed(&self.connection, start)? {
                return Ok(before);
            }
            start += QUARTER;
        }
        Ok(day_end)
    }

    /// Deletes the oldest days. Returns whether there were any but the last one.
    fn purge_days(&mut self, goal: u64) -> Result<bool, StoreError> {
        let fail = sql_error(&self.path, "cannot look at the extent of the log");
        let mut any = false;
        while self.used_bytes()? > goal {
            let Some((first, last)) = rollup::extent(&self.connection).map_err(&fail)? else { break };
            let end = rollup::day_start(first) + DAY;
            if end > rollup::day_start(self.present(last)) || self.purge(end.min(time::now()))?.records == 0 {
                break;
            }
            any = true;
        }
        Ok(any)
    }
}

/// Deletes the records from `since` to before `before`, and takes note that only their sums are left.
fn cut_before(connection: &mut Connection, since: Option<i64>, before: i64) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    let since = since.unwrap_or(i64::MIN);
    transaction.execute("DELETE FROM record WHERE time >= ?1 AND time < ?2", [since, before])?;
    transaction.execute("UPDATE log SET detail_since = ?1", [before])?;
    transaction.commit()
}
