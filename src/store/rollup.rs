//! Rollups: the sums of whole buckets of time, so that a year is as quick to ask for as an hour.
//!
//! A bucket is rolled up when the writer leaves it, in the transaction of the first window after it. A window that
//! falls into a bucket that is rolled up already (the clock was set back) removes those rollups in its own transaction;
//! they are made again when the writer leaves the bucket again. A purge removes those that it cuts. So a rollup that is
//! there is always the exact sum of its records; one that is missing is no error, only slower.
//!
//! The levels are fixed spans of UTC. Every zone of today is a multiple of a quarter of an hour away from it, so a local
//! day, also one of 23 or 25 hours, is made of whole quarters.

use std::sync::atomic::AtomicBool;

use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use super::{
    error::StoreError,
    packed::{Cell, pack},
    query::Range,
    schema::failed,
    sums::{Adder, Key, Parts, Source},
    writer::Writer,
};
use crate::model::Amounts;

/// A level of rollups.
pub(super) struct Level {
    /// Seconds of one bucket; buckets begin at multiples of it.
    pub span: i64,
    /// Sums by [`Cell`].
    pub table: &'static str,
    /// Sums by local port.
    pub local_ports: Option<&'static str>,
}

/// From fine to coarse. A coarser bucket is made of whole finer ones.
pub(super) const LEVELS: [Level; 3] = [
    Level { span: 900, table: "rollup_quarter_hour", local_ports: None },
    Level { span: 86_400, table: "rollup_day", local_ports: Some("local_ports_day") },
    Level { span: 28 * 86_400, table: "rollup_four_weeks", local_ports: Some("local_ports_four_weeks") },
];

/// A bucket with more different cells than this is not rolled up, so that doing it takes no more than some 50 MB; its
/// smaller ones are.
const MOST_CELLS: usize = 400_000;

/// Seeks of one step of [`Writer::catch_up`], at some microseconds each.
const SEEKS: usize = 2000;

impl Level {
    /// The beginning of the bucket that `time` is in.
    pub fn start(&self, time: i64) -> i64 {
        time.div_euclid(self.span) * self.span
    }
}

/// Makes the rollups of the buckets that the writer leaves when it goes from `last` to `time`.
pub(super) fn leave(connection: &Connection, last: i64, time: i64) -> rusqlite::Result<()> {
    for (number, level) in LEVELS.iter().enumerate() {
        if level.start(last) != level.start(time) {
            roll_up(connection, number, level.start(last))?;
        }
    }
    Ok(())
}

/// Removes the rollups of the buckets that `time` is in: they are about to get a record.
pub(super) fn invalidate(connection: &Connection, time: i64) -> rusqlite::Result<()> {
    for level in &LEVELS {
        for table in [Some(level.table), level.local_ports].into_iter().flatten() {
            let sql = format!("DELETE FROM {table} WHERE start = ?1");
            connection.prepare_cached(&sql)?.execute([level.start(time)])?;
        }
    }
    Ok(())
}

/// Removes the rollups of buckets that begin before `time`: all or a part of their records are about to go.
pub(super) fn cut(connection: &Connection, time: i64) -> rusqlite::Result<()> {
    for level in &LEVELS {
        for table in [Some(level.table), level.local_ports].into_iter().flatten() {
            connection.prepare_cached(&format!("DELETE FROM {table} WHERE start < ?1"))?.execute([time])?;
        }
    }
    Ok(())
}

/// Makes the rollup of one bucket, from finer ones as far as there are.
fn roll_up(connection: &Connection, number: usize, start: i64) -> rusqlite::Result<()> {
    let level = &LEVELS[number];
    let range = Range { since: Some(start), until: Some(start + level.span - 1) };
    let sum = |parts: Parts, source: Source| {
        let never = AtomicBool::new(false);
        let mut adder = Adder::new(connection, (parts, Parts::default()), |_: &Key| true, &never)
            .from(source)
            .at_most(MOST_CELLS);
        match adder.add(range, number) {
            Ok(()) => Ok(Some(adder.finish())),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::TooBig) => Ok(None),
            Err(error) => Err(error),
        }
    };
    let parts = Parts { talker: true, endpoint: true, port: true, ..Parts::default() };
    let Some(sums) = sum(parts, Source::Traffic)? else { return Ok(()) };
    if sums.is_empty() {
        return Ok(());
    }
    let mut total = Amounts::default();
    let mut cells: Vec<(Cell, Amounts)> = Vec::with_capacity(sums.len());
    for (key, amounts) in sums {
        total += amounts;
        cells.push((Cell { talker: key.talker, endpoint: key.endpoint, port: key.port }, amounts));
    }
    cells.sort_unstable_by_key(|(cell, _)| *cell);
    let table = level.table;
    let sql = format!(
        "INSERT OR REPLACE INTO {table} (start, connections, sent, received, traffic) VALUES (?1, ?2, ?3, ?4, ?5)"
    );
    let amount = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
    let (connections, sent, received) =
        (amount(total.connections), amount(total.sent), amount(total.received));
    connection.prepare_cached(&sql)?.execute(params![start, connections, sent, received, pack(&cells)])?;
    let Some(table) = level.local_ports else { return Ok(()) };
    let parts = Parts { local_port: true, ..Parts::default() };
    let Some(sums) = sum(parts, Source::LocalPorts)? else { return Ok(()) };
    let mut cells: Vec<(Cell, Amounts)> = sums
        .into_iter()
        .map(|(key, amounts)| (Cell { port: key.local_port, ..Cell::default() }, amounts))
        .collect();
    cells.sort_unstable_by_key(|(cell, _)| *cell);
    let sql = format!("INSERT OR REPLACE INTO {table} (start, ports) VALUES (?1, ?2)");
    connection.prepare_cached(&sql)?.execute(params![start, pack(&cells)])?;
    Ok(())
}

/// How far [`Writer::catch_up`] has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CatchUp {
    level: usize,
    next: Option<i64>,
}

impl Writer {
    /// Makes rollups that are missing, some at a time: those of a log that is older than rollups, or of buckets that a
    /// crash left. Returns whether there is more to do; call it again then, whenever nothing else is to be written.
    ///
    /// # Errors
    /// Those of SQLite; what was done stays, and the rest can be done later.
    pub fn catch_up(&mut self) -> Result<bool, StoreError> {
        let fail = failed(&self.path, "cannot make rollups");
        let Some(open) = self.last else {
            self.catch_up.level = LEVELS.len();
            return Ok(false);
        };
        for _ in 0..SEEKS {
            let number = self.catch_up.level;
            let Some(level) = LEVELS.get(number) else { return Ok(false) };
            let found: Option<i64> = self
                .connection
                .prepare_cached("SELECT time FROM record WHERE time >= ?1 ORDER BY time LIMIT 1")
                .and_then(|mut find| {
                    find.query_row([self.catch_up.next.unwrap_or(i64::MIN)], |row| row.get(0)).optional()
                })
                .map_err(&fail)?;
            let Some(time) = found else {
                self.catch_up = CatchUp { level: number + 1, next: None };
                continue;
            };
            let start = level.start(time);
            self.catch_up.next = Some(start.saturating_add(level.span));
            let sql = format!("SELECT 1 FROM {} WHERE start = ?1", level.table);
            let there = self
                .connection
                .prepare_cached(&sql)
                .and_then(|mut find| find.exists([start]))
                .map_err(&fail)?;
            if !there && start != level.start(open) {
                let transaction = self.connection.unchecked_transaction().map_err(&fail)?;
                roll_up(&transaction, number, start).map_err(&fail)?;
                transaction.commit().map_err(&fail)?;
                return Ok(true);
            }
        }
        Ok(true)
    }
}
