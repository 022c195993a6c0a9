//! Making and deleting the rollups of buckets.

use std::sync::atomic::AtomicBool;

use model::Counters;
use rusqlite::{Connection, ErrorCode, params};

use super::{
    aggregate::{AcceptAll, Aggregation},
    group_sums::{GroupKey, KeyFields},
    level::{DAYS, LEVELS, Level, QUARTER_HOURS, RollupKey},
    packed::{PackedFields, PackedKey, pack},
};

/// Makes the rollups of the buckets that contain `last` but not `time`: those with at most `max_rows` rows.
pub(crate) fn close_buckets(
    connection: &Connection,
    max_rows: usize,
    last: i64,
    time: i64,
) -> rusqlite::Result<()> {
    for (index, level) in LEVELS.iter().enumerate() {
        let start = level.bucket_start(last);
        if start != level.bucket_start(time) {
            Bucket { level: index, start }.roll_up(connection, max_rows)?;
        }
    }
    Ok(())
}

/// Deletes the rollups of the buckets that contain `time`, which are about to get a record. Where records are cut
/// (`detail_since`), rollups are all that is left: a record there is added to them when it is read.
pub(crate) fn invalidate(
    connection: &Connection,
    detail_since: Option<i64>,
    time: i64,
) -> rusqlite::Result<()> {
    if detail_since.is_some_and(|since| time < since) {
        return Ok(());
    }
    for level in &LEVELS {
        for table in level.tables() {
            let sql = format!("DELETE FROM {table} WHERE start = ?1");
            connection.prepare_cached(&sql)?.execute([level.bucket_start(time)])?;
        }
    }
    Ok(())
}

/// Extends the cut to the end of its day, if that day is over when a window at `time` comes: the rollup of the day has
/// replaced those of its quarters, and could not be made again. Returns the time since which there are records.
pub(crate) fn cut_closed_day(
    connection: &Connection,
    detail_since: Option<i64>,
    time: i64,
) -> rusqlite::Result<Option<i64>> {
    let Some(since) = detail_since else { return Ok(None) };
    let day = Bucket { level: DAYS, start: LEVELS[DAYS].bucket_start(since) };
    let end = day.start + LEVELS[DAYS].span;
    if since == day.start || day.start == LEVELS[DAYS].bucket_start(time) || !day.has_rollup(connection)? {
        return Ok(Some(since));
    }
    connection.execute("DELETE FROM record WHERE time >= ?1 AND time < ?2", [since, end])?;
    connection.execute("UPDATE log SET detail_since = ?1", [end])?;
    Ok(Some(end))
}

/// Deletes the rollups of buckets that start before `time`: some or all of their records are about to be deleted. Returns
/// the number of days and quarters.
pub(crate) fn delete_before(connection: &Connection, time: i64) -> rusqlite::Result<u64> {
    let mut deleted = 0;
    for (index, level) in LEVELS.iter().enumerate() {
        for table in level.tables() {
            let sql = format!("DELETE FROM {table} WHERE start < ?1");
            let rows = connection.prepare_cached(&sql)?.execute([time])?;
            if table == level.table && index <= DAYS {
                deleted += rows as u64;
            }
        }
    }
    Ok(deleted)
}

/// Whether the quarter of an hour that starts at `start` has its sums in a rollup, its own or that of its day.
pub(crate) fn is_summed(connection: &Connection, start: i64) -> rusqlite::Result<bool> {
    let quarter = Bucket { level: QUARTER_HOURS, start };
    let day = Bucket { level: DAYS, start: LEVELS[DAYS].bucket_start(start) };
    Ok(quarter.has_rollup(connection)? || day.has_rollup(connection)?)
}

/// Rows of a rollup, sorted by their keys.
type PackedRows = Vec<(PackedKey, Counters)>;

/// A span of time that has or gets a rollup.
#[derive(Clone, Copy)]
pub(super) struct Bucket {
    /// The index of its level in [`LEVELS`].
    pub level: usize,
    /// Its first second, unix time.
    pub start: i64,
}

impl Bucket {
    pub fn has_rollup(self, connection: &Connection) -> rusqlite::Result<bool> {
        let sql = format!("SELECT 1 FROM {} WHERE start = ?1", LEVELS[self.level].table);
        connection.prepare_cached(&sql)?.exists([self.start])
    }

    /// Makes the rollup, from the rollups of finer levels where they exist. A bucket without records, or with more than
    /// `max_rows` rows, gets none.
    pub fn roll_up(self, connection: &Connection, max_rows: usize) -> rusqlite::Result<()> {
        let level = &LEVELS[self.level];
        let by = KeyFields { context: true, endpoint: true, ..KeyFields::default() };
        let mut fields =
            PackedFields { remote_port: true, local_port: level.detailed, quarter: level.units() > 1 };
        let mut rows = self.sum(connection, max_rows, by, fields)?;
        if rows.is_none() && fields.local_port {
            // The rollup is tried without local ports, which makes fewer rows.
            fields.local_port = false;
            rows = self.sum(connection, max_rows, by, fields)?;
        }
        let Some(rows) = rows.filter(|rows| !rows.is_empty()) else { return Ok(()) };
        self.insert(connection, &rows, fields)?;
        for (key, table) in level.single_key_tables {
            let (by, fields) = single_key_fields(*key);
            if let Some(rows) = self.sum(connection, max_rows, by, fields)? {
                let sql = format!("INSERT OR REPLACE INTO {table} (start, packed_rows) VALUES (?1, ?2)");
                connection.prepare_cached(&sql)?.execute(params![self.start, pack(&rows, fields)])?;
            }
        }
        if self.level == DAYS && fields.local_port {
            // Nothing is lost: the rollup of the day has the local ports of each quarter.
            let sql = format!("DELETE FROM {} WHERE start BETWEEN ?1 AND ?2", LEVELS[QUARTER_HOURS].table);
            connection.prepare_cached(&sql)?.execute([self.start, self.start + level.span - 1])?;
        }
        Ok(())
    }

    /// The sums of the bucket; `None` if there are more than `max_rows`.
    fn sum(
        self,
        connection: &Connection,
        max_rows: usize,
        by: KeyFields,
        fields: PackedFields,
    ) -> rusqlite::Result<Option<PackedRows>> {
        let level: &Level = &LEVELS[self.level];
        let edges: Vec<i64> =
            (0..=level.units() as i64).map(|number| self.start + number * level.unit()).collect();
        let never = AtomicBool::new(false);
        let by = KeyFields { remote_port: fields.remote_port, local_port: fields.local_port, ..by };
        let aggregation = Aggregation::new(connection, &edges, by, AcceptAll, &never);
        let aggregation = aggregation.max_groups(max_rows).without_late_records();
        let aggregation = if fields.quarter { aggregation.by_interval() } else { aggregation };
        match aggregation.run(self.level) {
            Ok(sums) => Ok(Some(sorted_rows(sums, fields))),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::TooBig) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn insert(
        self,
        connection: &Connection,
        rows: &PackedRows,
        fields: PackedFields,
    ) -> rusqlite::Result<()> {
        let mut total = Counters::default();
        rows.iter().for_each(|(_, counters)| total += *counters);
        let counter = |counter: u64| i64::try_from(counter).unwrap_or(i64::MAX);
        let sql = format!(
            "INSERT OR REPLACE INTO {} (start, connections, sent, received, packed_rows) VALUES (?1, ?2, ?3, ?4, ?5)",
            LEVELS[self.level].table
        );
        connection.prepare_cached(&sql)?.execute(params![
            self.start,
            counter(total.connections),
            counter(total.sent),
            counter(total.received),
            pack(rows, fields)
        ])?;
        Ok(())
    }
}

/// The fields of sums by a single key: of their group keys, and of their packed rows.
pub(super) fn single_key_fields(key: RollupKey) -> (KeyFields, PackedFields) {
    let (by, fields) = (KeyFields::default(), PackedFields::default());
    match key {
        RollupKey::QuarterHour => (by, PackedFields { quarter: true, ..fields }),
        RollupKey::Context => (KeyFields { context: true, ..by }, fields),
        RollupKey::Endpoint => (KeyFields { endpoint: true, ..by }, fields),
        RollupKey::RemotePort => (by, PackedFields { remote_port: true, ..fields }),
        RollupKey::LocalPort => (by, PackedFields { local_port: true, ..fields }),
    }
}

fn sorted_rows(sums: Vec<(GroupKey, Counters)>, fields: PackedFields) -> PackedRows {
    let packed_key = |GroupKey { context, endpoint, remote_port, local_port, time }| {
        let quarter = if fields.quarter { time as u8 } else { 0 };
        PackedKey { context, endpoint, remote_port, local_port, quarter }
    };
    let mut rows: PackedRows = sums.into_iter().map(|(key, counters)| (packed_key(key), counters)).collect();
    rows.sort_unstable_by_key(|(key, _)| *key);
    rows
}
