//! The part of the migration to version 7 that follows from records and rollups: when things were seen.

use model::Port;
use rusqlite::{Connection, params};

use crate::{
    port_seen::MAX_PORTS,
    seen_times::{SeenInLog, SeenTimes},
};

/// Fills the tables and columns that are new in version 7.
pub(crate) fn fill(connection: &Connection) -> rusqlite::Result<()> {
    let SeenInLog { contexts, endpoints, ports } = SeenInLog::read(connection)?;
    for (table, seen) in [("context", &contexts), ("endpoint", &endpoints)] {
        // The time of the first record is known since version 6, but not that of one that came later with an earlier time.
        let sql = format!("UPDATE {table} SET first = min(first, ?2), last = ?3 WHERE id = ?1");
        let mut update = connection.prepare(&sql)?;
        for (id, seen) in seen {
            update.execute([*id, seen.first, seen.last])?;
        }
        connection.execute(&format!("UPDATE {table} SET last = first WHERE last < first"), [])?;
    }
    let mut insert = connection.prepare("INSERT INTO port_seen (port, first, last) VALUES (?1, ?2, ?3)")?;
    // The largest ports are those of vsock, of which there may be very many.
    let mut ports: Vec<(Port, SeenTimes)> = ports.into_iter().collect();
    ports.sort_unstable_by_key(|(port, seen)| (std::cmp::Reverse(seen.last), *port));
    ports.truncate(MAX_PORTS as usize);
    for (port, seen) in ports {
        insert.execute(params![port, seen.first, seen.last])?;
    }
    Ok(())
}
