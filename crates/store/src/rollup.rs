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
    adder::{Adder, All},
    error::StoreError,
    packed::{Cell, Kept, pack},
    schema::failed,
    sums::{Key, Parts},
    writer::Writer,
};
use model::Counters;

/// Seconds of a quarter of an hour.
const QUARTER: i64 = 900;

/// A level of rollups.
pub(super) struct Level {
    /// Seconds of one bucket; buckets begin at multiples of it.
    pub span: i64,
    /// Sums by [`Cell`].
    pub table: &'static str,
    /// Whether the cells tell quarters of an hour and local ports apart.
    pub detailed: bool,
    /// Tables of sums by one thing alone.
    pub alone: &'static [(Alone, &'static str)],
}

/// What sums are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alone {
    Quarter,
    ProcessContext,
    Endpoint,
    Port,
    LocalPort,
}

/// From fine to coarse. A coarser bucket is made of whole finer ones.
pub(super) const LEVELS: [Level; 3] = [
    Level { span: QUARTER, table: "rollup_quarter_hour", detailed: true, alone: &[] },
    Level {
        span: 86_400,
        table: "rollup_day",
        detailed: true,
        alone: &[
            (Alone::Quarter, "rollup_day_by_quarter_hour"),
            (Alone::ProcessContext, "rollup_day_by_context"),
            (Alone::Endpoint, "rollup_day_by_endpoint"),
            (Alone::Port, "rollup_day_by_remote_port"),
        ],
    },
    Level {
        span: 28 * 86_400,
        table: "rollup_four_weeks",
        detailed: false,
        alone: &[
            (Alone::ProcessContext, "rollup_four_weeks_by_context"),
            (Alone::Endpoint, "rollup_four_weeks_by_endpoint"),
            (Alone::Port, "rollup_four_weeks_by_remote_port"),
            (Alone::LocalPort, "rollup_four_weeks_by_local_port"),
        ],
    },
];

/// The places of quarters and days among the levels.
const QUARTERS: usize = 0;
const DAYS: usize = 1;

/// In which order [`Writer::catch_up`] makes them: where there is a day, its quarters are not needed.
const MISSING: [usize; 3] = [DAYS, QUARTERS, 2];

/// A bucket with more different cells than this is not rolled up, so that doing it takes no more than some 50 MB; its
/// smaller ones are.
pub(super) const MAX_CELLS: usize = 400_000;

/// Seeks of one step of [`Writer::catch_up`], at some microseconds each.
const SEEKS: usize = 2000;

impl Level {
    /// The beginning of the bucket that `time` is in.
    pub fn start(&self, time: i64) -> i64 {
        time.div_euclid(self.span) * self.span
    }

    /// Parts of a bucket that its cells tell apart.
    pub fn units(&self) -> usize {
        (self.span / self.unit()) as usize
    }

    /// Seconds of such a part.
    pub fn unit(&self) -> i64 {
        if self.detailed { QUARTER } else { self.span }
    }

    /// All tables of the level.
    pub fn tables(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.table).chain(self.alone.iter().map(|(_, table)| *table))
    }
}

/// Makes the rollups of the buckets that the writer leaves when it goes from `last` to `time`: those with at most `most`
/// cells.
pub(super) fn leave(connection: &Connection, most: usize, last: i64, time: i64) -> rusqlite::Result<()> {
    for (number, level) in LEVELS.iter().enumerate() {
        if level.start(last) != level.start(time) {
            roll_up(connection, most, number, level.start(last))?;
        }
    }
    Ok(())
}

/// Removes the rollups of the buckets that `time` is in: they are about to get a record.
pub(super) fn invalidate(connection: &Connection, time: i64) -> rusqlite::Result<()> {
    for level in &LEVELS {
        for table in level.tables() {
            let sql = format!("DELETE FROM {table} WHERE start = ?1");
            connection.prepare_cached(&sql)?.execute([level.start(time)])?;
        }
    }
    Ok(())
}

/// Removes the rollups of buckets that begin before `time`: all or a part of their records are about to go.
pub(super) fn cut(connection: &Connection, time: i64) -> rusqlite::Result<()> {
    for level in &LEVELS {
        for table in level.tables() {
            connection.prepare_cached(&format!("DELETE FROM {table} WHERE start < ?1"))?.execute([time])?;
        }
    }
    Ok(())
}

/// Makes the rollup of one bucket, from finer ones as far as there are.
fn roll_up(connection: &Connection, most: usize, number: usize, start: i64) -> rusqlite::Result<()> {
    let level = &LEVELS[number];
    let edges: Vec<i64> = (0..=level.units() as i64).map(|number| start + number * level.unit()).collect();
    let never = AtomicBool::new(false);
    let cells = |parts: Parts, kept: Kept| {
        let parts = Parts { port: kept.port, local_port: kept.local_port, ..parts };
        let adder = Adder::new(connection, &edges, (parts, Parts::default()), All, &never).at_most(most);
        match if kept.quarter { adder.by_piece() } else { adder }.add(number) {
            Ok(sums) => Ok(Some(sorted(sums, kept))),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::TooBig) => Ok(None),
            Err(error) => Err(error),
        }
    };
    let (nothing, both) = (Parts::default(), Parts { context: true, endpoint: true, ..Parts::default() });
    // Without local ports there are fewer.
    let mut kept = Kept { port: true, local_port: level.detailed, quarter: level.units() > 1 };
    let mut traffic = cells(both, kept)?;
    if traffic.is_none() && kept.local_port {
        kept.local_port = false;
        traffic = cells(both, kept)?;
    }
    let Some(traffic) = traffic.filter(|cells| !cells.is_empty()) else { return Ok(()) };
    let mut total = Counters::default();
    traffic.iter().for_each(|(_, counters)| total += *counters);
    let table = level.table;
    let sql = format!(
        "INSERT OR REPLACE INTO {table} (start, connections, sent, received, packed_rows) VALUES (?1, ?2, ?3, ?4, ?5)"
    );
    let amount = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
    let (connections, sent, received) =
        (amount(total.connections), amount(total.sent), amount(total.received));
    connection.prepare_cached(&sql)?.execute(params![
        start,
        connections,
        sent,
        received,
        pack(&traffic, kept)
    ])?;
    for (alone, table) in level.alone {
        let none = Kept::default();
        let (parts, kept) = match alone {
            Alone::Quarter => (nothing, Kept { quarter: true, ..none }),
            Alone::ProcessContext => (Parts { context: true, ..nothing }, none),
            Alone::Endpoint => (Parts { endpoint: true, ..nothing }, none),
            Alone::Port => (nothing, Kept { port: true, ..none }),
            Alone::LocalPort => (nothing, Kept { local_port: true, ..none }),
        };
        if let Some(cells) = cells(parts, kept)? {
            let sql = format!("INSERT OR REPLACE INTO {table} (start, packed_rows) VALUES (?1, ?2)");
            connection.prepare_cached(&sql)?.execute(params![start, pack(&cells, kept)])?;
        }
    }
    if number == DAYS && kept.local_port {
        // The day tells all that its quarters do.
        let sql = format!("DELETE FROM {} WHERE start BETWEEN ?1 AND ?2", LEVELS[QUARTERS].table);
        connection.prepare_cached(&sql)?.execute([start, start + level.span - 1])?;
    }
    Ok(())
}

fn sorted(sums: Vec<(Key, Counters)>, kept: Kept) -> Vec<(Cell, Counters)> {
    let cell = |Key { context, endpoint, port, local_port, time }| {
        let quarter = if kept.quarter { time as u8 } else { 0 };
        Cell { context, endpoint, port, local_port, quarter }
    };
    let mut cells: Vec<(Cell, Counters)> =
        sums.into_iter().map(|(key, counters)| (cell(key), counters)).collect();
    cells.sort_unstable_by_key(|(cell, _)| *cell);
    cells
}

/// How far [`Writer::catch_up`] has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CatchUp {
    /// The place in [`MISSING`].
    step: usize,
    next: Option<i64>,
}

impl Writer {
    /// Makes rollups that are missing, some at a time: those of a log that is older than these rollups, or of buckets that a
    /// crash or a purge left. Returns whether there is more to do; call it again then, whenever nothing else is to be
    /// written.
    ///
    /// # Errors
    /// Those of SQLite; what was done stays, and the rest can be done later.
    pub fn catch_up(&mut self) -> Result<bool, StoreError> {
        self.make_missing().map_err(failed(&self.path, "cannot make rollups"))
    }

    fn make_missing(&mut self) -> rusqlite::Result<bool> {
        let Some(open) = self.last else {
            self.catch_up.step = MISSING.len();
            return Ok(false);
        };
        for _ in 0..SEEKS {
            let Some(number) = MISSING.get(self.catch_up.step).copied() else { return Ok(false) };
            let level = &LEVELS[number];
            let found: Option<i64> = self
                .connection
                .prepare_cached("SELECT time FROM record WHERE time >= ?1 ORDER BY time LIMIT 1")?
                .query_row([self.catch_up.next.unwrap_or(i64::MIN)], |row| row.get(0))
                .optional()?;
            let Some(time) = found else {
                self.catch_up = CatchUp { step: self.catch_up.step + 1, next: None };
                continue;
            };
            let start = level.start(time);
            self.catch_up.next = Some(start.saturating_add(level.span));
            if start == level.start(open)
                || self.is_there(number, start)?
                || number == QUARTERS && self.is_there(DAYS, LEVELS[DAYS].start(start))?
            {
                continue;
            }
            let transaction = self.connection.unchecked_transaction()?;
            roll_up(&transaction, self.most_cells, number, start)?;
            transaction.commit()?;
            return Ok(true);
        }
        Ok(true)
    }

    fn is_there(&self, number: usize, start: i64) -> rusqlite::Result<bool> {
        let sql = format!("SELECT 1 FROM {} WHERE start = ?1", LEVELS[number].table);
        self.connection.prepare_cached(&sql)?.exists([start])
    }
}
