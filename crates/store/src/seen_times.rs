//! When something was first and last seen: a context, an endpoint, a port.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use model::Port;
use rusqlite::Connection;

use crate::rollup;

/// How old the stored time of the last sight may be while something goes on, seconds: writing it with each window would
/// write as much as the records. A reader takes the rest from the records of the last `2 * MAX_AGE`.
pub(crate) const MAX_AGE: i64 = 900;

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

    /// The times to store after a record at `time`; `None` if the stored ones are good enough.
    pub fn extended(self, time: i64) -> Option<Self> {
        let is_early = time < self.first;
        let is_late = time.saturating_sub(self.last) >= MAX_AGE;
        (is_early || is_late).then(|| Self { first: self.first.min(time), last: self.last.max(time) })
    }

    /// Adds times of the same thing.
    pub fn union(self, other: Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }
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
    fn add(&mut self, number: i64, times: SeenTimes) {
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
        let mut select = connection.prepare("SELECT time, context, endpoint, remote_port FROM record")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            seen.add(row.get(1)?, row.get(2)?, row.get(3)?, SeenTimes::at(row.get(0)?));
        }
        rollup::for_each_cut_row(connection, |key, times| {
            seen.add(key.context, key.endpoint, key.remote_port, times);
        })?;
        Ok(seen)
    }

    fn add(&mut self, context: i64, endpoint: i64, port: Port, times: SeenTimes) {
        self.contexts.add(context, times);
        self.endpoints.add(endpoint, times);
        self.ports.add(port, times);
    }
}
