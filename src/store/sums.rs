//! Adding up the records of a range: whole buckets from their rollups, the rest from the records themselves.
//!
//! A rollup that is there is exact, always (`rollup.rs` sees to that): so whatever the range, the sum is that of its
//! records, and a rollup that is missing costs time only.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
};

use rusqlite::{Connection, ffi};

use super::{
    packed::{Cell, unpack},
    query::Range,
    rollup::LEVELS,
};
use crate::model::Amounts;

/// What a record is told apart by; what nobody asks for stays 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub talker: i64,
    pub endpoint: i64,
    pub time: i64,
    pub port: i32,
    pub local_port: i32,
}

/// Which parts of the key a question looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    pub talker: bool,
    pub endpoint: bool,
    pub time: bool,
    pub port: bool,
    pub local_port: bool,
}

impl Parts {
    fn of(self, key: Key) -> Key {
        Key {
            talker: if self.talker { key.talker } else { 0 },
            endpoint: if self.endpoint { key.endpoint } else { 0 },
            time: if self.time { key.time } else { 0 },
            port: if self.port { key.port } else { 0 },
            local_port: if self.local_port { key.local_port } else { 0 },
        }
    }
}

/// What a rollup has to know to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The sum of the whole bucket.
    Totals,
    /// [`Cell`]s.
    Traffic,
    /// Local ports, and nothing else.
    LocalPorts,
    /// No rollup knows it.
    Records,
}

impl Source {
    /// The cheapest one that knows these parts.
    pub fn of(parts: Parts) -> Self {
        match parts {
            Parts { time: true, .. } => Self::Records,
            Parts { local_port: true, talker: false, endpoint: false, port: false, .. } => Self::LocalPorts,
            Parts { local_port: true, .. } => Self::Records,
            Parts { talker: false, endpoint: false, port: false, .. } => Self::Totals,
            _ => Self::Traffic,
        }
    }

    /// The table of a level, and its column; `None` where this level does not have it.
    fn table(self, level: usize) -> Option<(&'static str, &'static str)> {
        let level = &LEVELS[level];
        match self {
            Self::Totals => Some((level.table, "connections, sent, received")),
            Self::Traffic => Some((level.table, "traffic")),
            Self::LocalPorts => level.local_ports.map(|table| (table, "ports")),
            Self::Records => None,
        }
    }
}

/// Sums by key.
pub(super) type Sums = HashMap<Key, Amounts, foldhash::fast::FixedState>;

/// Adds up.
pub(super) struct Adder<'a, Keep> {
    connection: &'a Connection,
    source: Source,
    /// Parts by which the sums are told apart.
    parts: Parts,
    /// Whether a record of this key counts.
    keep: Keep,
    /// Set when nobody wants the answer any more.
    interrupted: &'a AtomicBool,
    /// With more sums than this it gives up.
    most: usize,
    sums: Sums,
    /// The key that came last and its sum: neighbours are often alike.
    last: (Key, Amounts),
    /// Whether there is one.
    some: bool,
}

impl<'a, Keep: Fn(&Key) -> bool> Adder<'a, Keep> {
    /// `looked_at`: the parts that `keep` looks at, besides `parts`.
    pub fn new(
        connection: &'a Connection,
        (parts, looked_at): (Parts, Parts),
        keep: Keep,
        interrupted: &'a AtomicBool,
    ) -> Self {
        let all = Parts {
            talker: parts.talker || looked_at.talker,
            endpoint: parts.endpoint || looked_at.endpoint,
            time: parts.time || looked_at.time,
            port: parts.port || looked_at.port,
            local_port: parts.local_port || looked_at.local_port,
        };
        Self {
            connection,
            source: Source::of(all),
            parts,
            keep,
            interrupted,
            most: usize::MAX,
            sums: Sums::default(),
            last: Default::default(),
            some: false,
        }
    }

    /// Gives up, with `SQLITE_TOOBIG`, when there are more sums than `most`.
    pub fn at_most(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    /// Looks at other sources than the cheapest one.
    pub fn from(mut self, source: Source) -> Self {
        self.source = source;
        self
    }

    /// Adds the records of a range; of rollups, those of the first `levels` levels may be used.
    pub fn add(&mut self, range: Range, levels: usize) -> rusqlite::Result<()> {
        let (since, until) = range.bounds();
        // Not min and max at once: each alone is found through the primary key.
        let edge =
            |sql| self.connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, Option<i64>>(0));
        let first = edge("SELECT min(time) FROM record")?;
        let last = edge("SELECT max(time) FROM record")?;
        let (Some(first), Some(last)) = (first, last) else { return Ok(()) };
        self.span(since.max(first), until.min(last), levels)
    }

    /// What was added up; empty when no record counted.
    pub fn finish(mut self) -> Sums {
        self.flush();
        self.sums
    }

    /// The sum of everything since the last call.
    pub fn take_total(&mut self) -> Amounts {
        self.flush();
        let mut total = Amounts::default();
        for (_, amounts) in self.sums.drain() {
            total += amounts;
        }
        total
    }

    fn span(&mut self, from: i64, to: i64, levels: usize) -> rusqlite::Result<()> {
        if from > to {
            return Ok(());
        }
        let Some(level) = levels.checked_sub(1) else { return self.records(from, to) };
        let Some((table, columns)) = self.source.table(level) else { return self.span(from, to, level) };
        let span = LEVELS[level].span;
        // The first bucket that begins in the range, and the one after the last that ends in it.
        let first = from.div_euclid(span) + i64::from(from.rem_euclid(span) != 0);
        let end = (to.saturating_add(1)).div_euclid(span);
        let mut next = from;
        let mut gaps = Vec::new();
        if first < end {
            let sql =
                format!("SELECT start, {columns} FROM {table} WHERE start BETWEEN ?1 AND ?2 ORDER BY start");
            let mut statement = self.connection.prepare_cached(&sql)?;
            let mut rows = statement.query([first * span, (end - 1) * span])?;
            while let Some(row) = rows.next()? {
                let start: i64 = row.get(0)?;
                if start < next || start.rem_euclid(span) != 0 {
                    return Err(damaged());
                }
                if start > next {
                    gaps.push((next, start - 1));
                }
                next = start + span;
                self.bucket(row)?;
                self.check()?;
            }
        }
        gaps.push((next, to));
        for (from, to) in gaps {
            self.span(from, to, level)?;
        }
        Ok(())
    }

    fn bucket(&mut self, row: &rusqlite::Row<'_>) -> rusqlite::Result<()> {
        if self.source == Source::Totals {
            let amounts = amounts(row, 1)?;
            self.put(Key::default(), amounts);
            return Ok(());
        }
        let local = self.source == Source::LocalPorts;
        let bytes = row.get_ref(1)?.as_blob()?;
        unpack(bytes, |Cell { talker, endpoint, port }, amounts| {
            let (port, local_port) = if local { (0, port) } else { (port, 0) };
            self.put(Key { talker, endpoint, time: 0, port, local_port }, amounts);
        })
        .ok_or_else(damaged)
    }

    fn records(&mut self, from: i64, to: i64) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare_cached(
            "SELECT time, talker, endpoint, remote_port, local_port, connections, sent, received FROM record \
             WHERE time BETWEEN ?1 AND ?2",
        )?;
        let mut rows = statement.query([from, to])?;
        let mut count = 0_u32;
        while let Some(row) = rows.next()? {
            let key = Key {
                time: row.get(0)?,
                talker: row.get(1)?,
                endpoint: row.get(2)?,
                port: row.get(3)?,
                local_port: row.get(4)?,
            };
            let amounts = amounts(row, 5)?;
            self.put(key, amounts);
            count = count.wrapping_add(1);
            if count.is_multiple_of(1024) {
                self.check()?;
            }
        }
        Ok(())
    }

    #[inline]
    fn put(&mut self, key: Key, amounts: Amounts) {
        if !(self.keep)(&key) {
            return;
        }
        let key = self.parts.of(key);
        if key != self.last.0 {
            self.flush();
            self.last.0 = key;
        }
        self.last.1 += amounts;
        self.some = true;
    }

    fn flush(&mut self) {
        if std::mem::take(&mut self.some) {
            *self.sums.entry(self.last.0).or_default() += std::mem::take(&mut self.last.1);
        }
    }

    fn check(&self) -> rusqlite::Result<()> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(interruption());
        }
        if self.sums.len() > self.most {
            return Err(failure(ffi::SQLITE_TOOBIG));
        }
        Ok(())
    }
}

fn amounts(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Amounts> {
    let amount = |at| row.get(at).map(|amount: i64| amount.max(0) as u64);
    Ok(Amounts { connections: amount(at)?, sent: amount(at + 1)?, received: amount(at + 2)? })
}

fn failure(code: std::ffi::c_int) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
}

/// Nobody wants the answer any more.
pub(super) fn interruption() -> rusqlite::Error {
    failure(ffi::SQLITE_INTERRUPT)
}

/// A rollup that cannot be read.
fn damaged() -> rusqlite::Error {
    failure(ffi::SQLITE_CORRUPT)
}
