//! Makes missing rollups: the rollups of a log that an older version wrote, and of buckets that a crash or the deletion
//! of old records left without one.

use rusqlite::{Connection, OptionalExtension};

use super::{
    bucket::Bucket,
    level::{DAYS, FOUR_WEEKS, LEVELS, QUARTER_HOURS},
};

/// The order of the levels: days come first because a day with a rollup does not need the rollups of its quarters.
const LEVEL_ORDER: [usize; 3] = [DAYS, QUARTER_HOURS, FOUR_WEEKS];

/// Buckets that one step looks at, at some microseconds each.
const MAX_SEEKS: usize = 2000;

/// The progress of the search for missing rollups.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CatchUp {
    /// The index of the current level in [`LEVEL_ORDER`].
    position: usize,
    /// Start of the next bucket to look at; `None`: the first one.
    next: Option<i64>,
}

impl CatchUp {
    /// Makes at most one missing rollup of records from `from` on. `last` is the time of the last record, whose buckets are still open; `None` for a
    /// log without records. Returns whether there may be more to do.
    pub fn step(
        &mut self,
        connection: &Connection,
        max_rows: usize,
        from: i64,
        last: Option<i64>,
    ) -> rusqlite::Result<bool> {
        let Some(last) = last else {
            self.position = LEVEL_ORDER.len();
            return Ok(false);
        };
        for _ in 0..MAX_SEEKS {
            let Some(index) = LEVEL_ORDER.get(self.position).copied() else { return Ok(false) };
            let level = &LEVELS[index];
            let time: Option<i64> = connection
                .prepare_cached("SELECT time FROM record WHERE time >= ?1 ORDER BY time LIMIT 1")?
                .query_row([self.next.unwrap_or(from).max(from)], |row| row.get(0))
                .optional()?;
            let Some(time) = time else {
                *self = Self { position: self.position + 1, next: None };
                continue;
            };
            let bucket = Bucket { level: index, start: level.bucket_start(time) };
            let next = Some(bucket.start.saturating_add(level.span));
            if bucket.start == level.bucket_start(last)
                || bucket.has_rollup(connection)?
                || index == QUARTER_HOURS && day_of(bucket).has_rollup(connection)?
            {
                self.next = next;
                continue;
            }
            let transaction = connection.unchecked_transaction()?;
            bucket.roll_up(&transaction, max_rows)?;
            transaction.commit()?;
            // Only now: after an error the bucket is tried again.
            self.next = next;
            return Ok(true);
        }
        Ok(true)
    }
}

fn day_of(quarter: Bucket) -> Bucket {
    Bucket { level: DAYS, start: LEVELS[DAYS].bucket_start(quarter.start) }
}
