//! The part of the migration to version 7 that follows from records and rollups: when things were seen.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use model::Port;
use rusqlite::{Connection, params};

use crate::{
    port_seen::{MAX_PORTS, is_port},
    rollup,
    seen_times::SeenTimes,
};

/// Ids below this have an entry in a vector. Tables number their rows from 1 on, so hardly one is larger.
const MAX_DIRECT: usize = 1 << 22;

/// When things with these numbers were seen: `None` if they were not.
#[derive(Default)]
struct SeenByNumber {
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

    fn iter(&self) -> impl Iterator<Item = (i64, SeenTimes)> {
        let direct = (0..).zip(&self.direct).filter_map(|(number, seen)| seen.map(|seen| (number, seen)));
        direct.chain(self.others.iter().map(|(number, seen)| (*number, *seen)))
    }
}

/// Fills the tables and columns that are new in version 7.
pub(crate) fn fill(connection: &Connection) -> rusqlite::Result<()> {
    let (mut contexts, mut endpoints) = (SeenByNumber::default(), SeenByNumber::default());
    let mut ports = SeenByNumber::default();
    let mut add = |context, endpoint, port, times| {
        contexts.add(context, times);
        endpoints.add(endpoint, times);
        ports.add(port, times);
    };
    read_records(connection, &mut add)?;
    // Where single windows were deleted, a time is that of its quarter of an hour.
    rollup::for_each_cut_row(connection, |key, times| {
        add(key.context, key.endpoint, key.remote_port, times);
    })?;
    for (table, seen) in [("context", &contexts), ("endpoint", &endpoints)] {
        // The time of the first record is known since version 6, but not that of one that came later with an earlier time.
        let sql = format!("UPDATE {table} SET first = min(first, ?2), last = ?3 WHERE id = ?1");
        let mut update = connection.prepare(&sql)?;
        for (id, seen) in seen.iter() {
            update.execute([id, seen.first, seen.last])?;
        }
        connection.execute(&format!("UPDATE {table} SET last = first WHERE last < first"), [])?;
    }
    let mut insert = connection.prepare("INSERT INTO port_seen (port, first, last) VALUES (?1, ?2, ?3)")?;
    // The largest ports are those of vsock, of which there may be very many.
    let mut ports: Vec<(Port, SeenTimes)> = ports.iter().filter(|(port, _)| is_port(*port)).collect();
    ports.sort_unstable_by_key(|(port, seen)| (std::cmp::Reverse(seen.last), *port));
    ports.truncate(MAX_PORTS as usize);
    for (port, seen) in ports {
        insert.execute(params![port, seen.first, seen.last])?;
    }
    Ok(())
}

/// Calls `add` with context, endpoint, remote port and time of each record.
fn read_records(
    connection: &Connection,
    add: &mut impl FnMut(i64, i64, Port, SeenTimes),
) -> rusqlite::Result<()> {
    let mut select = connection.prepare("SELECT time, context, endpoint, remote_port FROM record")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        add(row.get(1)?, row.get(2)?, row.get(3)?, SeenTimes::at(row.get(0)?));
    }
    Ok(())
}
