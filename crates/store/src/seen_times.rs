//! When something was first and last seen: a context, an endpoint, a port, a program.
//!
//! The tables are brought up to date when the writer goes on to another quarter of an hour ([`settle`]): writing the times with
//! each window would write as much as the records. Until then the records of the quarter of the last window have the rest,
//! which readers add ([`UNSETTLED`]).

use std::collections::HashMap;

use foldhash::fast::FixedState;
use model::Port;
use rusqlite::{Connection, Params};

use crate::{port_seen, program_seen, rollup};

/// The times of the first and the last record, unix seconds UTC, as a table has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeenTimes {
    pub first: i64,
    pub last: i64,
}

impl SeenTimes {
    /// Seen once.
    pub fn at(time: i64) -> Self {
        Self { first: time, last: time }
    }

    /// Adds times of the same thing.
    pub fn union(self, other: Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }
}

/// The condition on records that the tables may not know yet: those in the quarter of an hour of the last window. The remainder
/// of a negative time is negative.
pub(crate) const UNSETTLED: &str = "time >= (SELECT time - (time % 900 + 900) % 900 FROM log) \
     AND time < (SELECT time - (time % 900 + 900) % 900 + 900 FROM log)";

/// Brings the tables up to date with the records of the quarter of an hour that contains `time`.
pub(crate) fn settle(connection: &Connection, time: i64) -> rusqlite::Result<()> {
    let start = rollup::quarter_start(time);
    let quarter = [start, start + rollup::QUARTER_HOUR - 1];
    let mut seen = SeenInLog::default();
    seen.add_records(connection, "time BETWEEN ?1 AND ?2", quarter)?;
    seen.store(connection)?;
    program_seen::settle(connection, &seen.contexts)?;
    port_seen::add(connection, seen.ports)
}

/// Times by the ids of rows, or by ports. Hashed: a vector would be as long as the log is old, and the daemon makes such maps.
pub(crate) type TimesById = HashMap<i64, SeenTimes, FixedState>;

/// The times in the order of the ids, in which rows lie beside each other: the cache of pages is small.
pub(crate) fn in_order(times: &TimesById) -> Vec<(i64, SeenTimes)> {
    let mut times: Vec<(i64, SeenTimes)> = times.iter().map(|(id, seen)| (*id, *seen)).collect();
    times.sort_unstable_by_key(|(id, _)| *id);
    times
}

/// When contexts, endpoints and remote ports were seen.
#[derive(Default)]
pub(crate) struct SeenInLog {
    pub contexts: TimesById,
    pub endpoints: TimesById,
    pub ports: TimesById,
}

impl SeenInLog {
    /// Reads all records. Where single windows were deleted, a time is that of its quarter of an hour.
    pub fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut seen = Self::default();
        seen.add_records(connection, "true", [])?;
        rollup::for_each_cut_row(connection, |key, times| {
            seen.add(key.context, key.endpoint, key.remote_port, times);
        })?;
        Ok(seen)
    }

    /// Adds the records that a condition selects.
    pub fn add_records(
        &mut self,
        connection: &Connection,
        condition: &str,
        parameters: impl Params,
    ) -> rusqlite::Result<()> {
        let sql = format!("SELECT time, context, endpoint, remote_port FROM record WHERE {condition}");
        let mut select = connection.prepare_cached(&sql)?;
        let mut rows = select.query(parameters)?;
        while let Some(row) = rows.next()? {
            self.add(row.get(1)?, row.get(2)?, row.get(3)?, SeenTimes::at(row.get(0)?));
        }
        Ok(())
    }

    /// Brings the columns of contexts and endpoints up to date.
    pub fn store(&self, connection: &Connection) -> rusqlite::Result<()> {
        for (table, times) in [("context", &self.contexts), ("endpoint", &self.endpoints)] {
            let sql = format!(
                "UPDATE {table} SET first = min(first, ?2), last = max(last, ?3) \
                 WHERE id = ?1 AND (first > ?2 OR last < ?3)"
            );
            let mut update = connection.prepare_cached(&sql)?;
            for (id, times) in in_order(times) {
                update.execute([id, times.first, times.last])?;
            }
        }
        Ok(())
    }

    /// Adds times of a context, an endpoint and a remote port.
    pub fn add(&mut self, context: i64, endpoint: i64, port: Port, times: SeenTimes) {
        for (map, id) in
            [(&mut self.contexts, context), (&mut self.endpoints, endpoint), (&mut self.ports, port)]
        {
            map.entry(id).and_modify(|seen| *seen = seen.union(times)).or_insert(times);
        }
    }
}
