//! Adding up the records of a range: whole buckets from their rollups, the rest from the records themselves.
//!
//! A rollup that is there is exact, always (`rollup.rs` sees to that): so whatever the range, the sum is that of its
//! records, and a rollup that is missing costs time only.

use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{Connection, ffi};

use super::{
    packed::{Cell, Kept, unpack},
    rollup::{Alone, LEVELS, Level},
    sums::{Key, Parts, Sums},
};
use model::Counters;

/// What a rollup has to know to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The sum of the whole bucket.
    Totals,
    /// One thing, and nothing else.
    Alone(Alone),
    /// [`Cell`]s.
    Traffic,
    /// [`Cell`]s with their local ports.
    Detailed,
    /// No rollup knows it.
    Records,
}

impl Source {
    /// The cheapest one that knows these parts.
    fn of(parts: Parts) -> Self {
        let Parts { context, endpoint, time, port, local_port } = parts;
        match (time, context, endpoint, port, local_port) {
            (true, ..) => Self::Records,
            (_, false, false, false, false) => Self::Totals,
            (_, true, false, false, false) => Self::Alone(Alone::ProcessContext),
            (_, false, true, false, false) => Self::Alone(Alone::Endpoint),
            (_, false, false, true, false) => Self::Alone(Alone::Port),
            (_, false, false, false, true) => Self::Alone(Alone::LocalPort),
            (_, _, _, _, true) => Self::Detailed,
            _ => Self::Traffic,
        }
    }

    /// The column that tells it of a bucket, whole or in quarters, with the table; `None` where this level does not know it.
    fn column(self, level: &Level, whole: bool) -> Option<(&'static str, &'static str)> {
        let alone = match self {
            Self::Records => return None,
            Self::Totals => Some(Alone::Quarter),
            Self::Alone(alone) if whole => Some(alone),
            _ => None,
        };
        if let Some((_, table)) = level.alone.iter().find(|(by, _)| Some(*by) == alone) {
            return Some((table, "packed_rows"));
        }
        (level.detailed || whole && !self.needs_local_ports()).then_some((level.table, "packed_rows"))
    }

    fn needs_local_ports(self) -> bool {
        matches!(self, Self::Detailed | Self::Alone(Alone::LocalPort))
    }
}

/// Adds up.
pub(super) struct Adder<'a, K> {
    connection: &'a Connection,
    source: Source,
    keep: K,
    /// Where pieces of time begin and end; what is outside of all does not count.
    edges: &'a [i64],
    /// Whether the time of a key is the number of its piece.
    by_piece: bool,
    /// Set when nobody wants the answer any more.
    interrupted: &'a AtomicBool,
    /// With more sums than this it gives up.
    most: usize,
    sums: Sums,
}

/// Which records count: all of it must hold. In this order, so that most of what does not count is found early.
pub(super) trait Keep {
    /// Whether those of a context may.
    fn context(&self, _id: i64) -> bool {
        true
    }
    /// Whether those with an endpoint may.
    fn endpoint(&self, _id: i64) -> bool {
        true
    }
    /// Whether those of these ports and this time may.
    fn numbers(&self, _key: &Key) -> bool {
        true
    }
}

/// All of them.
pub(super) struct All;

impl Keep for All {}

impl<'a, K: Keep> Adder<'a, K> {
    /// `edges`: where the one piece of time begins and ends. `looked_at`: the parts that `keep` looks at, besides `parts`.
    pub fn new(
        connection: &'a Connection,
        edges: &'a [i64],
        (parts, looked_at): (Parts, Parts),
        keep: K,
        interrupted: &'a AtomicBool,
    ) -> Self {
        Self {
            connection,
            source: Source::of(parts.and(looked_at)),
            keep,
            edges,
            by_piece: false,
            interrupted,
            most: usize::MAX,
            sums: Sums::by(parts),
        }
    }

    /// Tells the pieces between each two of the edges apart, by their numbers as the time of the keys.
    pub fn by_piece(mut self) -> Self {
        self.by_piece = true;
        self.sums.parts.time = true;
        self
    }

    /// Gives up, with `SQLITE_TOOBIG`, when there are more sums than `most`.
    pub fn at_most(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    /// The sums, in no order; none for what no record counted to. Of rollups, those of the first `levels` levels may be
    /// used.
    pub fn add(mut self, levels: usize) -> rusqlite::Result<Vec<(Key, Counters)>> {
        // Not min and max at once: each alone is found through the primary key.
        let edge =
            |sql| self.connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, Option<i64>>(0));
        let extent = edge("SELECT min(time) FROM record")?.zip(edge("SELECT max(time) FROM record")?);
        if let (Some((first, last)), [begin, .., end]) = (extent, self.edges) {
            self.span(first.max(*begin), last.min(end.saturating_sub(1)), levels)?;
        }
        self.check()?;
        Ok(self.sums.take())
    }

    /// Adds a part of the range: all of it, or what coarser rollups do not tell, which is whole buckets of this level.
    fn span(&mut self, from: i64, to: i64, levels: usize) -> rusqlite::Result<()> {
        if from > to {
            return Ok(());
        }
        let Some(number) = levels.checked_sub(1).filter(|_| self.source != Source::Records) else {
            return self.records(from, to);
        };
        let level = &LEVELS[number];
        let mut gaps = Vec::new();
        let mut next = from;
        let sql = format!(
            "SELECT start, connections, sent, received FROM {} WHERE start BETWEEN ?1 AND ?2 ORDER BY start",
            level.table
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query([level.start(from), to])?;
        while let Some(row) = rows.next()? {
            let start: i64 = row.get(0)?;
            if start != level.start(start) {
                return Err(damaged());
            }
            let whole = self.piece(start, level.span);
            let units = level.units();
            let unit = |number: usize| (start + level.unit() * number as i64, level.unit());
            let pieces: Vec<Option<i64>> = match whole {
                Some(_) => vec![whole; units],
                None => (0..units).map(unit).map(|(start, seconds)| self.piece(start, seconds)).collect(),
            };
            let known = match whole {
                Some(time) if self.source == Source::Totals => {
                    self.sums.add(Key { time, ..Key::default() }, counters(row, 1)?);
                    true
                }
                _ => self.bucket(level, start, (whole.is_some(), &pieces))?,
            };
            if known {
                gaps.push((next, start - 1));
                next = start + level.span;
                let cut = (0..units).filter(|number| pieces[*number].is_none()).map(unit);
                gaps.extend(cut.map(|(start, seconds)| (start, start + seconds - 1)));
            }
            self.check()?;
        }
        gaps.push((next, to));
        for (gap_from, gap_to) in gaps {
            self.span(gap_from.max(from), gap_to.min(to), number)?;
        }
        Ok(())
    }

    /// The number of the piece that so many seconds are in; `None` when an edge cuts them, or they are in none.
    fn piece(&self, start: i64, seconds: i64) -> Option<i64> {
        let before = self.edges.partition_point(|edge| *edge <= start);
        let same = self.edges.get(before).is_some_and(|end| start + seconds <= *end);
        (same && before > 0).then(|| before as i64 - 1)
    }

    /// Adds a bucket, each unit of it to its piece; whether it knows enough.
    fn bucket(
        &mut self,
        level: &Level,
        start: i64,
        (whole, pieces): (bool, &[Option<i64>]),
    ) -> rusqlite::Result<bool> {
        if pieces.iter().all(Option::is_none) {
            return Ok(false);
        }
        let Some((table, column)) = self.source.column(level, whole) else { return Ok(false) };
        let mut statement =
            self.connection.prepare_cached(&format!("SELECT {column} FROM {table} WHERE start = ?1"))?;
        let mut rows = statement.query([start])?;
        let Some(row) = rows.next()? else { return Ok(false) };
        let bytes = row.get_ref(0)?.as_blob()?;
        let kept = Kept::of(bytes).ok_or_else(damaged)?;
        if self.source.needs_local_ports() && !kept.local_port || !whole && !kept.quarter {
            return Ok(false);
        }
        let Self { keep, sums, .. } = self;
        let mut sound = true;
        let add = |cell: Cell, counters| {
            let Cell { context, endpoint, port, local_port, quarter } = cell;
            let Some(piece) = pieces.get(usize::from(quarter)) else { return sound = false };
            let key = Key { context, endpoint, time: piece.unwrap_or(0), port, local_port };
            if piece.is_some() && keep.numbers(&key) {
                sums.add(key, counters);
            }
        };
        unpack(bytes, |context| keep.context(context), |endpoint| keep.endpoint(endpoint), add)
            .filter(|()| sound)
            .map(|()| true)
            .ok_or_else(damaged)
    }

    fn records(&mut self, from: i64, to: i64) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare_cached(
            "SELECT time, context, endpoint, remote_port, local_port, connections, sent, received FROM record \
             WHERE time BETWEEN ?1 AND ?2",
        )?;
        let mut rows = statement.query([from, to])?;
        let mut count = 0_u32;
        while let Some(row) = rows.next()? {
            let mut key = Key {
                time: row.get(0)?,
                context: row.get(1)?,
                endpoint: row.get(2)?,
                port: row.get(3)?,
                local_port: row.get(4)?,
            };
            if self.keep.context(key.context) && self.keep.endpoint(key.endpoint) && self.keep.numbers(&key) {
                if self.by_piece {
                    key.time = self.piece(key.time, 1).unwrap_or(-1);
                }
                self.sums.add(key, counters(row, 5)?);
            }
            count = count.wrapping_add(1);
            if count.is_multiple_of(1024) {
                self.check()?;
            }
        }
        Ok(())
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

fn counters(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Counters> {
    let amount = |at| row.get(at).map(|amount: i64| amount.max(0) as u64);
    Ok(Counters { connections: amount(at)?, sent: amount(at + 1)?, received: amount(at + 2)? })
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
