//! When each remote port was seen first and last. It outlives the records.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use model::{PORT_EXECUTION, Port};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::seen_times::SeenTimes;

/// Rows of the table: all ports of TCP and UDP, and some of the larger ones of vsock. Beyond it those that were not seen for
/// the longest time are deleted.
pub(crate) const MAX_PORTS: i64 = 70_000;
/// Rows that are deleted at once.
const DELETED_AT_ONCE: i64 = 1000;
/// Ports whose stored times are known. A full cache is emptied.
const MAX_CACHED: usize = 8192;

/// Keeps the table `port_seen`.
#[derive(Default)]
pub(crate) struct SeenPorts {
    /// The stored times.
    stored: HashMap<Port, SeenTimes, FixedState>,
    /// Rows of the table, once they were counted.
    count: Option<i64>,
    /// Those that the open transaction stores.
    pending: HashMap<Port, SeenTimes, FixedState>,
    pending_count: i64,
}

/// Whether a remote port is one that the table has: no port, and an executed program, are none.
pub(crate) fn is_port(port: Port) -> bool {
    port != 0 && port != PORT_EXECUTION
}

impl SeenPorts {
    /// Stores the ports of a window that ended at `time`, unix seconds UTC.
    pub fn add(
        &mut self,
        connection: &Connection,
        time: i64,
        ports: impl IntoIterator<Item = Port>,
    ) -> rusqlite::Result<()> {
        let mut count = match self.count {
            Some(count) => count,
            None => connection.query_row("SELECT count(*) FROM port_seen", [], |row| row.get(0))?,
        };
        for port in ports.into_iter().filter(|port| is_port(*port)) {
            let known = self.pending.get(&port).or_else(|| self.stored.get(&port)).copied();
            let known = match known {
                Some(known) => Some(known),
                None => read_one(connection, port)?,
            };
            let seen = match known {
                Some(known) => known.extended(time),
                None => Some(SeenTimes::at(time)),
            };
            if let Some(seen) = seen {
                store(connection, port, seen)?;
                count += i64::from(known.is_none());
            }
            if let Some(seen) = seen.or(known) {
                self.pending.insert(port, seen);
            }
        }
        while count > MAX_PORTS {
            let deleted = delete_oldest(connection)?;
            if deleted == 0 {
                break;
            }
            count -= deleted;
            // Nothing is known of the rows that are gone.
            self.stored.clear();
            self.pending.clear();
        }
        self.pending_count = count;
        Ok(())
    }

    /// Takes note that the transaction is committed.
    pub fn commit(&mut self) {
        if self.stored.len() + self.pending.len() > MAX_CACHED {
            self.stored.clear();
        }
        self.stored.extend(self.pending.drain());
        self.count = Some(self.pending_count);
    }

    /// Takes note that the transaction is rolled back.
    pub fn roll_back(&mut self) {
        self.pending.clear();
    }
}

fn read_one(connection: &Connection, port: Port) -> rusqlite::Result<Option<SeenTimes>> {
    let sql = "SELECT first, last FROM port_seen WHERE port = ?1";
    let times = |row: &Row<'_>| Ok(SeenTimes { first: row.get(0)?, last: row.get(1)? });
    connection.prepare_cached(sql)?.query_row([port], times).optional()
}

fn store(connection: &Connection, port: Port, seen: SeenTimes) -> rusqlite::Result<()> {
    let sql = "INSERT INTO port_seen (port, first, last) VALUES (?1, ?2, ?3) \
               ON CONFLICT DO UPDATE SET first = min(first, excluded.first), last = max(last, excluded.last)";
    connection.prepare_cached(sql)?.execute(params![port, seen.first, seen.last])?;
    Ok(())
}

fn delete_oldest(connection: &Connection) -> rusqlite::Result<i64> {
    let sql = "DELETE FROM port_seen WHERE port IN (SELECT port FROM port_seen ORDER BY last LIMIT ?1)";
    connection.execute(sql, [DELETED_AT_ONCE]).map(|deleted| deleted as i64)
}

/// When a remote port was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PortSeen {
    pub port: Port,
    pub times: SeenTimes,
}

/// Reads a row with the columns port, first, last.
pub(crate) fn from_row(row: &Row<'_>) -> rusqlite::Result<PortSeen> {
    Ok(PortSeen { port: row.get(0)?, times: SeenTimes { first: row.get(1)?, last: row.get(2)? } })
}

/// Stores when ports were seen in another log.
pub(crate) fn merge(connection: &Connection, ports: &[PortSeen]) -> rusqlite::Result<()> {
    for seen in ports {
        store(connection, seen.port, seen.times)?;
    }
    let mut count: i64 = connection.query_row("SELECT count(*) FROM port_seen", [], |row| row.get(0))?;
    while count > MAX_PORTS {
        count -= delete_oldest(connection)?.max(1);
    }
    Ok(())
}
