//! Takes rows out of rollups whose records are gone, and puts others in their place.

use std::collections::{BTreeMap, BTreeSet};

use model::{Counters, Port};
use rusqlite::{Connection, params};

use super::{
    aggregate::{damaged, detail_since},
    bucket::{Bucket, single_key_fields},
    group_sums::GroupKey,
    level::{DAYS, FOUR_WEEKS, LEVELS, Level, QUARTER_HOUR},
    packed::{PackedFields, PackedKey, pack, unpack},
};

/// What a row becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowFate {
    Stays,
    Goes,
    /// It is of another endpoint now.
    Endpoint(i64),
}

/// What was taken out of the rollups.
#[derive(Clone, Debug, Default)]
pub(crate) struct RemovedRows {
    /// The time before which there are sums only: other rows are those of records, which count themselves.
    cut_before: i64,
    /// Rows before that time.
    pub count: u64,
    /// The first and the last second of their quarters of an hour.
    pub times: Option<(i64, i64)>,
    /// The remote ports of all rows.
    pub remote_ports: BTreeSet<Port>,
}

impl RemovedRows {
    fn add(&mut self, key: &GroupKey, seconds: i64) {
        self.remote_ports.insert(key.remote_port);
        if key.time < self.cut_before {
            let (first, last) = self.times.unwrap_or((i64::MAX, i64::MIN));
            let end = (key.time + seconds).min(self.cut_before) - 1;
            self.times = Some((first.min(key.time), last.max(end)));
            self.count += 1;
        }
    }
}

type Rows = Vec<(PackedKey, Counters)>;

/// Changes the rollups of quarters of an hour and days: `fate` says for each row, by its context, endpoint and the start of
/// its quarter, what it becomes. Rollups of four weeks with such rows are deleted. Returns what went, and the starts of these
/// four weeks.
pub(crate) fn rewrite(
    connection: &Connection,
    fate: &dyn Fn(&GroupKey) -> RowFate,
) -> rusqlite::Result<(RemovedRows, BTreeSet<i64>)> {
    let cut_before = detail_since(connection)?.unwrap_or(i64::MIN);
    let mut removed = RemovedRows { cut_before, ..RemovedRows::default() };
    let mut four_weeks = BTreeSet::new();
    for level in &LEVELS[..=DAYS] {
        for start in starts(connection, level)? {
            if rewrite_bucket(connection, level, start, fate, &mut removed)? {
                four_weeks.insert(LEVELS[FOUR_WEEKS].bucket_start(start));
            }
        }
    }
    let level = &LEVELS[FOUR_WEEKS];
    for start in starts(connection, level)? {
        let (rows, _) = read(connection, level, start)?;
        if rows.iter().any(|(key, _)| fate(&group_key(key, start, level.span)) != RowFate::Stays) {
            four_weeks.insert(start);
        }
    }
    let mut existing = BTreeSet::new();
    for start in four_weeks {
        if delete(connection, level, start)? {
            existing.insert(start);
        }
    }
    Ok((removed, existing))
}

/// Makes the rollups of these four weeks again, from what is left.
pub(crate) fn make_four_weeks(
    connection: &Connection,
    max_rows: usize,
    starts: &BTreeSet<i64>,
) -> rusqlite::Result<()> {
    starts
        .iter()
        .try_for_each(|start| Bucket { level: FOUR_WEEKS, start: *start }.roll_up(connection, max_rows))
}

/// Deletes the rollups of all buckets that have a part of the time from `from` to `to`. Returns the starts of the four weeks
/// that had one.
pub(crate) fn delete_between(connection: &Connection, from: i64, to: i64) -> rusqlite::Result<BTreeSet<i64>> {
    let mut four_weeks = BTreeSet::new();
    if from > to {
        return Ok(four_weeks);
    }
    for (index, level) in LEVELS.iter().enumerate() {
        for start in starts(connection, level)? {
            let overlaps = start <= to && start.saturating_add(level.span) > from;
            if overlaps && delete(connection, level, start)? && index == FOUR_WEEKS {
                four_weeks.insert(start);
            }
        }
    }
    Ok(four_weeks)
}

fn starts(connection: &Connection, level: &Level) -> rusqlite::Result<Vec<i64>> {
    let mut statement = connection.prepare(&format!("SELECT start FROM {} ORDER BY start", level.table))?;
    statement.query_map([], |row| row.get(0))?.collect()
}

fn delete(connection: &Connection, level: &Level, start: i64) -> rusqlite::Result<bool> {
    let mut any = false;
    for table in level.tables() {
        let sql = format!("DELETE FROM {table} WHERE start = ?1");
        any |= connection.prepare_cached(&sql)?.execute([start])? > 0;
    }
    Ok(any)
}

fn read(connection: &Connection, level: &Level, start: i64) -> rusqlite::Result<(Rows, PackedFields)> {
    let sql = format!("SELECT packed_rows FROM {} WHERE start = ?1", level.table);
    let bytes: Vec<u8> = connection.prepare_cached(&sql)?.query_row([start], |row| row.get(0))?;
    let fields = PackedFields::of(&bytes).ok_or_else(damaged)?;
    let mut rows = Rows::new();
    unpack(&bytes, |_| true, |_| true, |key, counters| rows.push((key, counters))).ok_or_else(damaged)?;
    Ok((rows, fields))
}

fn group_key(key: &PackedKey, start: i64, unit: i64) -> GroupKey {
    let PackedKey { context, endpoint, remote_port, local_port, quarter } = *key;
    GroupKey { context, endpoint, time: start + i64::from(quarter) * unit, remote_port, local_port }
}

/// Changes one rollup. Returns whether it changed.
fn rewrite_bucket(
    connection: &Connection,
    level: &Level,
    start: i64,
    fate: &dyn Fn(&GroupKey) -> RowFate,
    removed: &mut RemovedRows,
) -> rusqlite::Result<bool> {
    let (rows, fields) = read(connection, level, start)?;
    let unit = if fields.quarter { QUARTER_HOUR } else { level.span };
    let mut kept: BTreeMap<PackedKey, Counters> = BTreeMap::new();
    let mut has_changed = false;
    for (mut key, counters) in rows {
        let group = group_key(&key, start, unit);
        match fate(&group) {
            RowFate::Stays => {}
            RowFate::Endpoint(endpoint) => (key.endpoint, has_changed) = (endpoint, true),
            RowFate::Goes => {
                has_changed = true;
                removed.add(&group, unit);
                continue;
            }
        }
        *kept.entry(key).or_default() += counters;
    }
    if !has_changed {
        return Ok(false);
    }
    if kept.is_empty() {
        delete(connection, level, start)?;
        return Ok(true);
    }
    let rows: Rows = kept.into_iter().collect();
    let mut total = Counters::default();
    rows.iter().for_each(|(_, counters)| total += *counters);
    let counter = |counter: u64| i64::try_from(counter).unwrap_or(i64::MAX);
    let sql = format!(
        "UPDATE {} SET connections = ?2, sent = ?3, received = ?4, packed_rows = ?5 WHERE start = ?1",
        level.table
    );
    connection.prepare_cached(&sql)?.execute(params![
        start,
        counter(total.connections),
        counter(total.sent),
        counter(total.received),
        pack(&rows, fields)
    ])?;
    for (key, table) in level.single_key_tables {
        let (by, fields) = single_key_fields(*key);
        let mut sums: BTreeMap<PackedKey, Counters> = BTreeMap::new();
        for (row, counters) in &rows {
            let single = PackedKey {
                context: if by.context { row.context } else { 0 },
                endpoint: if by.endpoint { row.endpoint } else { 0 },
                remote_port: if fields.remote_port { row.remote_port } else { 0 },
                local_port: if fields.local_port { row.local_port } else { 0 },
                quarter: if fields.quarter { row.quarter } else { 0 },
            };
            *sums.entry(single).or_default() += *counters;
        }
        let sums: Rows = sums.into_iter().collect();
        // A table that had too many sums has none.
        let sql = format!("UPDATE {table} SET packed_rows = ?2 WHERE start = ?1");
        connection.prepare_cached(&sql)?.execute(params![start, pack(&sums, fields)])?;
    }
    Ok(true)
}
