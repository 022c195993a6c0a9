//! Sums over any range of time: whole buckets from their rollups, the rest from the records.

use std::sync::atomic::{AtomicBool, Ordering};

use model::Counters;
use rusqlite::{Connection, ffi};

use super::{
    group_sums::{GroupKey, GroupSums, KeyFields},
    level::{DAYS, LEVELS, Level, RollupKey},
    packed::{PackedFields, PackedKey, unpack},
};
use crate::id_map::IdMap;

/// The levels that tell quarters of an hour apart.
const QUARTER_LEVELS: usize = DAYS + 1;

/// Selects records. A record counts if all three checks pass. Cheapest first.
pub(crate) trait Predicate {
    /// The fields of the key that the checks depend on.
    fn fields(&self) -> KeyFields;
    /// Whether records of this context (an id) can count.
    fn accepts_context(&self, context: i64) -> bool;
    /// Whether records of this endpoint (an id) can count.
    fn accepts_endpoint(&self, endpoint: i64) -> bool;
    /// Whether records with the ports and the time of this key can count.
    fn accepts_numbers(&self, key: &GroupKey) -> bool;
}

/// A predicate that every record passes.
pub(crate) struct AcceptAll;

impl Predicate for AcceptAll {
    fn fields(&self) -> KeyFields {
        KeyFields::default()
    }

    fn accepts_context(&self, _: i64) -> bool {
        true
    }

    fn accepts_endpoint(&self, _: i64) -> bool {
        true
    }

    fn accepts_numbers(&self, _: &GroupKey) -> bool {
        true
    }
}

/// Contexts, endpoints and ports that groups do not tell apart: by id, or port, the one that stands for it. One that is not there
/// stands for itself.
#[derive(Default)]
pub(crate) struct Classes {
    pub contexts: IdMap<i64>,
    pub endpoints: IdMap<i64>,
    pub remote_ports: IdMap<i64>,
    pub local_ports: IdMap<i64>,
}

impl Classes {
    #[inline]
    fn apply(&self, key: GroupKey) -> GroupKey {
        GroupKey {
            context: self.contexts.get(key.context).unwrap_or(key.context),
            endpoint: self.endpoints.get(key.endpoint).unwrap_or(key.endpoint),
            remote_port: self.remote_ports.get(key.remote_port).unwrap_or(key.remote_port),
            local_port: self.local_ports.get(key.local_port).unwrap_or(key.local_port),
            ..key
        }
    }
}

/// The rollups that have enough detail for an aggregation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detail {
    /// The sum of the whole bucket is enough.
    Total,
    /// Sums by this single key are enough.
    SingleKey(RollupKey),
    /// Packed rows are needed, with or without local ports.
    Rows,
    /// Packed rows with local ports are needed.
    RowsWithLocalPorts,
    /// No rollup has enough detail.
    Records,
}

impl Detail {
    /// The least detail that distinguishes these fields.
    fn of(fields: KeyFields) -> Self {
        let KeyFields { context, endpoint, time, remote_port, local_port } = fields;
        match (time, context, endpoint, remote_port, local_port) {
            (true, ..) => Self::Records,
            (_, false, false, false, false) => Self::Total,
            (_, true, false, false, false) => Self::SingleKey(RollupKey::Context),
            (_, false, true, false, false) => Self::SingleKey(RollupKey::Endpoint),
            (_, false, false, true, false) => Self::SingleKey(RollupKey::RemotePort),
            (_, false, false, false, true) => Self::SingleKey(RollupKey::LocalPort),
            (_, _, _, _, true) => Self::RowsWithLocalPorts,
            _ => Self::Rows,
        }
    }

    /// The smallest table of a level with this detail, of buckets as a whole or by quarters of an hour; `None` if the
    /// level has none.
    fn table(self, level: &Level, whole: bool) -> Option<&'static str> {
        let key = match self {
            Self::Records => return None,
            Self::Total => Some(RollupKey::QuarterHour),
            Self::SingleKey(key) if whole => Some(key),
            _ => None,
        };
        if let Some((_, table)) = level.single_key_tables.iter().find(|(single, _)| Some(*single) == key) {
            return Some(table);
        }
        (level.detailed || whole && !self.needs_local_ports()).then_some(level.table)
    }

    fn needs_local_ports(self) -> bool {
        matches!(self, Self::RowsWithLocalPorts | Self::SingleKey(RollupKey::LocalPort))
    }
}

/// Adds up the counters of records by group. The time of the log is cut into intervals by edges; only records in an
/// interval count.
pub(crate) struct Aggregation<'a, P> {
    connection: &'a Connection,
    detail: Detail,
    predicate: P,
    /// Unix seconds, ascending. Interval `n` is from edge `n` to the second before edge `n + 1`.
    edges: &'a [i64],
    /// Whether the time of a key is the index of its interval, or its slot.
    by_interval: bool,
    /// By interval the number that stands for it in keys; `None` for an interval that does not count. Without the vector
    /// every interval counts and has its index.
    slots: Option<&'a [Option<i64>]>,
    classes: Option<&'a Classes>,
    /// Whether records of windows that came after their time was cut count: no rollup has them.
    with_late_records: bool,
    /// Whether the time of a key is the start of a quarter of an hour.
    by_quarter: bool,
    /// The records before this time are deleted, and their rollups stay.
    detail_since: i64,
    /// Another thread sets this when the result is no longer needed.
    interrupted: &'a AtomicBool,
    max_groups: usize,
    sums: GroupSums,
}

/// How the edges cut a bucket.
struct BucketIntervals {
    /// Whether the whole bucket is in one interval.
    whole: bool,
    /// The index, for each unit of the bucket, of the interval that contains it; `None` if none contains all of it.
    by_unit: Vec<Option<i64>>,
}

impl<'a, P: Predicate> Aggregation<'a, P> {
    /// Groups the records that `predicate` selects by the fields `by`.
    pub fn new(
        connection: &'a Connection,
        edges: &'a [i64],
        by: KeyFields,
        predicate: P,
        interrupted: &'a AtomicBool,
    ) -> Self {
        Self {
            connection,
            detail: Detail::of(by.union(predicate.fields())),
            predicate,
            edges,
            by_interval: false,
            slots: None,
            classes: None,
            with_late_records: true,
            by_quarter: false,
            detail_since: i64::MIN,
            interrupted,
            max_groups: usize::MAX,
            sums: GroupSums::new(by),
        }
    }

    /// Groups by interval as well: the time of a key is the index of its interval.
    pub fn by_interval(mut self) -> Self {
        self.by_interval = true;
        self.sums.fields.time = true;
        self
    }

    /// Replaces the indexes of intervals by these numbers; intervals without one do not count.
    pub fn slots(mut self, slots: &'a [Option<i64>]) -> Self {
        self.slots = Some(slots);
        self
    }

    /// Groups by classes.
    pub fn classes(mut self, classes: &'a Classes) -> Self {
        self.classes = Some(classes);
        self
    }

    /// The number that stands for an interval in keys; `None` if it does not count.
    #[inline]
    fn slot(&self, interval: i64) -> Option<i64> {
        match self.slots {
            None => Some(interval),
            Some(slots) => {
                usize::try_from(interval).ok().and_then(|interval| slots.get(interval).copied()?)
            }
        }
    }

    /// Leaves out the records that no rollup has: those of windows that came after their time was cut.
    pub fn without_late_records(mut self) -> Self {
        self.with_late_records = false;
        self
    }

    /// Makes the aggregation fail with `SQLITE_TOOBIG` when it has more groups than this.
    pub fn max_groups(mut self, max_groups: usize) -> Self {
        self.max_groups = max_groups;
        self
    }

    /// The sums of all groups, in no particular order; groups without records have none. Reads rollups of the first
    /// `levels` levels only.
    pub fn run(mut self, levels: usize) -> rusqlite::Result<Vec<(GroupKey, Counters)>> {
        self.detail_since = detail_since(self.connection)?.unwrap_or(i64::MIN);
        if let (Some((first, last)), [begin, .., end]) = (extent(self.connection)?, self.edges) {
            self.add_all(first.max(*begin), last.min(end.saturating_sub(1)), levels)?;
        }
        self.check()?;
        let sums = self.sums.take();
        if sums.len() > self.max_groups { Err(failure(ffi::SQLITE_TOOBIG)) } else { Ok(sums) }
    }

    /// Adds what is from `from` to `to`, both included.
    fn add_all(&mut self, from: i64, to: i64, levels: usize) -> rusqlite::Result<()> {
        let cut_end = to.min(self.detail_since.saturating_sub(1));
        if self.detail == Detail::Records && from <= cut_end {
            self.add_quarters(from, cut_end)?;
        }
        self.add_range(from, to, levels)?;
        if self.with_late_records {
            self.add_records(from, cut_end)?;
        }
        Ok(())
    }

    /// Adds the sums of quarters of an hour, for a time whose records are deleted. The time of their keys is the start of
    /// the quarter.
    fn add_quarters(&mut self, from: i64, to: i64) -> rusqlite::Result<()> {
        let fields = KeyFields { time: false, ..self.sums.fields.union(self.predicate.fields()) };
        self.detail = Detail::of(fields);
        self.by_quarter = true;
        self.add_range(from, to, QUARTER_LEVELS)?;
        self.by_quarter = false;
        self.detail = Detail::Records;
        Ok(())
    }

    /// Adds the records from `from` to `to`, both included, with rollups of the first `levels` levels. Buckets that
    /// the coarsest of these lacks are left to the next one, in the end to the records.
    fn add_range(&mut self, from: i64, to: i64, levels: usize) -> rusqlite::Result<()> {
        if from > to {
            return Ok(());
        }
        let Some(index) = levels.checked_sub(1).filter(|_| self.detail != Detail::Records) else {
            return self.add_records(from.max(self.detail_since), to);
        };
        let level = &LEVELS[index];
        let mut gaps = Vec::new();
        let mut next = from;
        let sql = format!(
            "SELECT start, connections, sent, received FROM {} WHERE start BETWEEN ?1 AND ?2 ORDER BY start",
            level.table
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query([level.bucket_start(from), to])?;
        while let Some(row) = rows.next()? {
            let start: i64 = row.get(0)?;
            if start != level.bucket_start(start) {
                return Err(damaged());
            }
            let whole = self.interval(start, level.span).filter(|_| !self.by_quarter || level.units() == 1);
            let units = level.units();
            let unit = |number: usize| (start + level.unit() * number as i64, level.unit());
            let by_unit: Vec<Option<i64>> = match whole {
                Some(_) => vec![whole; units],
                None => (0..units).map(unit).map(|(start, seconds)| self.interval(start, seconds)).collect(),
            };
            let intervals = BucketIntervals { whole: whole.is_some(), by_unit };
            let is_added = match whole {
                Some(interval) if self.detail == Detail::Total => {
                    let time = if self.by_quarter { Some(start) } else { self.slot(interval) };
                    let key = GroupKey { time: time.unwrap_or(0), ..GroupKey::default() };
                    if time.is_some() && self.predicate.accepts_numbers(&key) {
                        self.sums.add(key, counters(row, 1)?);
                    }
                    true
                }
                _ => self.add_bucket(level, start, &intervals)?,
            };
            if is_added {
                gaps.push((next, start - 1));
                next = start + level.span;
                let cut = (0..units).filter(|number| intervals.by_unit[*number].is_none()).map(unit);
                gaps.extend(cut.map(|(start, seconds)| (start, start + seconds - 1)));
            }
            self.check()?;
        }
        gaps.push((next, to));
        for (gap_from, gap_to) in gaps {
            self.add_range(gap_from.max(from), gap_to.min(to), index)?;
        }
        Ok(())
    }

    /// The index of the interval that contains all `seconds` from `start` on; `None` if there is none.
    fn interval(&self, start: i64, seconds: i64) -> Option<i64> {
        let before = self.edges.partition_point(|edge| *edge <= start);
        let is_inside = self.edges.get(before).is_some_and(|end| start + seconds <= *end);
        (is_inside && before > 0).then(|| before as i64 - 1)
    }

    /// Adds each unit of a bucket that is inside of an interval. Returns false, and adds nothing, if the rollup does not
    /// exist or lacks the detail.
    fn add_bucket(
        &mut self,
        level: &Level,
        start: i64,
        intervals: &BucketIntervals,
    ) -> rusqlite::Result<bool> {
        let BucketIntervals { whole, by_unit } = intervals;
        if by_unit.iter().all(Option::is_none) {
            return Ok(false);
        }
        let slots: Vec<Option<i64>> =
            by_unit.iter().map(|interval| interval.and_then(|interval| self.slot(interval))).collect();
        if self.slots.is_some() && slots.iter().all(Option::is_none) {
            return Ok(true);
        }
        let Some(table) = self.detail.table(level, *whole) else { return Ok(false) };
        let sql = format!("SELECT packed_rows FROM {table} WHERE start = ?1");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query([start])?;
        let Some(row) = rows.next()? else { return Ok(false) };
        let bytes = row.get_ref(0)?.as_blob()?;
        let fields = PackedFields::of(bytes).ok_or_else(damaged)?;
        if self.detail.needs_local_ports() && !fields.local_port || !whole && !fields.quarter {
            return Ok(false);
        }
        let Self { predicate, sums, by_quarter, classes, max_groups, .. } = self;
        let mut is_sound = true;
        let add = |key: PackedKey, counters| {
            let PackedKey { context, endpoint, remote_port, local_port, quarter } = key;
            let Some(slot) = slots.get(usize::from(quarter)) else { return is_sound = false };
            let time = match by_quarter {
                true => start + level.unit() * i64::from(quarter),
                false => slot.unwrap_or(0),
            };
            let key = GroupKey { context, endpoint, time, remote_port, local_port };
            // A bucket may have more groups than there is room for.
            if slot.is_some() && sums.len() <= *max_groups && predicate.accepts_numbers(&key) {
                sums.add(classes.map_or(key, |classes| classes.apply(key)), counters);
            }
        };
        unpack(bytes, |id| predicate.accepts_context(id), |id| predicate.accepts_endpoint(id), add)
            .filter(|()| is_sound)
            .map(|()| true)
            .ok_or_else(damaged)
    }

    fn add_records(&mut self, from: i64, to: i64) -> rusqlite::Result<()> {
        // Reading a column takes a tenth of the time for a record.
        let by_slot = self.by_interval || self.slots.is_some();
        let fields = self.sums.fields.union(self.predicate.fields());
        let KeyFields { context, endpoint, time, remote_port, local_port } = fields;
        let columns = [
            ("time", time || by_slot),
            ("context", context),
            ("endpoint", endpoint),
            ("remote_port", remote_port),
            ("local_port", local_port),
        ];
        let selected = columns.map(|(name, is_needed)| if is_needed { name } else { "NULL" }).join(", ");
        let sql = format!(
            "SELECT {selected}, connections, sent, received FROM record WHERE time BETWEEN ?1 AND ?2"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query([from, to])?;
        let mut count = 0_u32;
        while let Some(row) = rows.next()? {
            let field = |column: usize| if columns[column].1 { row.get(column) } else { Ok(0) };
            let mut key = GroupKey {
                time: field(0)?,
                context: field(1)?,
                endpoint: field(2)?,
                remote_port: field(3)?,
                local_port: field(4)?,
            };
            if self.predicate.accepts_context(key.context)
                && self.predicate.accepts_endpoint(key.endpoint)
                && self.predicate.accepts_numbers(&key)
            {
                let slot = match by_slot {
                    true => self.interval(key.time, 1).and_then(|interval| self.slot(interval)),
                    false => Some(key.time),
                };
                if let Some(slot) = slot {
                    key.time = slot;
                    let key = self.classes.map_or(key, |classes| classes.apply(key));
                    self.sums.add(key, counters(row, 5)?);
                }
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
        if self.sums.len() > self.max_groups {
            return Err(failure(ffi::SQLITE_TOOBIG));
        }
        Ok(())
    }
}

/// The time before which records are deleted while their rollups stay, unix seconds; `None` if there is none.
pub(crate) fn detail_since(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    connection.prepare_cached("SELECT detail_since FROM log")?.query_row([], |row| row.get(0))
}

/// The first and the last second of what the log has: records, or rollups of quarters and days; `None` for an empty log.
pub(crate) fn extent(connection: &Connection) -> rusqlite::Result<Option<(i64, i64)>> {
    // A statement for each: SQLite finds a minimum or a maximum by the primary key, but scans the table for both at once.
    let edge = |sql: &str| connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, Option<i64>>(0));
    let mut first = edge("SELECT min(time) FROM record")?;
    let mut last = edge("SELECT max(time) FROM record")?;
    if detail_since(connection)?.is_some() {
        for level in &LEVELS[..QUARTER_LEVELS] {
            let start = edge(&format!("SELECT min(start) FROM {}", level.table))?;
            first = first.into_iter().chain(start).min();
            let end = edge(&format!("SELECT max(start) FROM {}", level.table))?;
            last = last.into_iter().chain(end.map(|start| start + level.span - 1)).max();
        }
    }
    Ok(first.zip(last))
}

/// The counters in three columns from `column` on.
fn counters(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Counters> {
    let counter = |column| row.get(column).map(|counter: i64| counter.max(0) as u64);
    Ok(Counters { connections: counter(column)?, sent: counter(column + 1)?, received: counter(column + 2)? })
}

fn failure(code: std::ffi::c_int) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
}

/// Whether this is the error of [`Aggregation::max_groups`].
pub(crate) fn is_too_many_groups(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::TooBig)
}

/// The error of a query that was interrupted.
pub(crate) fn interruption() -> rusqlite::Error {
    failure(ffi::SQLITE_INTERRUPT)
}

/// The error of a rollup that cannot be decoded.
pub(super) fn damaged() -> rusqlite::Error {
    failure(ffi::SQLITE_CORRUPT)
}
