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
    for (table, times) in [("context", &seen.contexts), ("endpoint", &seen.endpoints)] {
        let sql = format!(
            "UPDATE {table} SET first = min(first, ?2), last = max(last, ?3) \
             WHERE id = ?1 AND (first > ?2 OR last < ?3)"
        );
        let mut update = connection.prepare_cached(&sql)?;
        for (id, times) in times.iter() {
            update.execute([id, times.first, times.last])?;
        }
    }
    port_seen::add(connection, seen.ports.iter())?;
    program_seen::settle(connection, quarter)
}

/// Ids below this have an entry in a vector. Tables number their rows from 1 on, so hardly one is larger.
const MAX_DIRECT: usize = 1 << 22;

/// When things with these numbers were seen: `None` if they were not.
#[derive(Default)]
pub(crate) struct SeenByNumber {
    direct: Vec<Option<SeenTimes>>,
    others: HashMap<i64, SeenTimes, FixedState>,
}

impl SeenByNumber {
    #[inline]
    pub fn add(&mut self, number: i64, times: SeenTimes) {
        if let Some(index) = usize::try_from(number).ok().filter(|index| *index < MAX_DIRECT) {
            if self.direct.len() <= index {
                self.direct.resize((index + 1).next_power_of_two(), None);
            }
            let seen = &mut self.direct[index];
            *seen = Some(seen.map_or(times, |seen| seen.union(times)));
        } else {
            let seen = self.others.entry(number).or_insert(times);
            *seen = seen.union(times);
        }
    }

    /// The times of a number; `None` if it was not seen.
    pub fn get(&self, number: i64) -> Option<SeenTimes> {
        let index = usize::try_from(number).ok().filter(|index| *index < MAX_DIRECT);
        match index {
            Some(index) => self.direct.get(index).copied().flatten(),
            None => self.others.get(&number).copied(),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (i64, SeenTimes)> {
        let direct = (0..).zip(&self.direct).filter_map(|(number, seen)| seen.map(|seen| (number, seen)));
        direct.chain(self.others.iter().map(|(number, seen)| (*number, *seen)))
    }
}

/// When contexts, endpoints and remote ports were seen, by all that the log has.
#[derive(Default)]
pub(crate) struct SeenInLog {
    pub contexts: SeenByNumber,
    pub endpoints: SeenByNumber,
    pub ports: SeenByNumber,
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

    fn add(&mut self, context: i64, endpoint: i64, port: Port, times: SeenTimes) {
        self.contexts.add(context, times);
        self.endpoints.add(endpoint, times);
        self.ports.add(port, times);
    }
}
