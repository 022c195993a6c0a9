//! When each remote port was seen first and last. It outlives the records.

use model::Port;
use rusqlite::{Connection, Row, params};

use crate::seen_times::SeenTimes;

/// Rows of the table: all ports of TCP and UDP, and some of the larger ones of vsock. Beyond it those that were not seen for
/// the longest time are deleted.
pub(crate) const MAX_PORTS: i64 = 70_000;
/// Rows that are deleted at once.
const DELETED_AT_ONCE: i64 = 1000;

/// Stores when ports were seen. Of too many those go that were not seen for the longest time.
pub(crate) fn add(
    connection: &Connection,
    ports: impl IntoIterator<Item = (Port, SeenTimes)>,
) -> rusqlite::Result<()> {
    for (port, seen) in ports {
        store(connection, port, seen)?;
    }
    let mut count: i64 = connection.query_row("SELECT count(*) FROM port_seen", [], |row| row.get(0))?;
    while count > MAX_PORTS {
        count -= delete_oldest(connection)?.max(1);
    }
    Ok(())
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

/// Reads a row with the columns port, first, last.
pub(crate) fn from_row(row: &Row<'_>) -> rusqlite::Result<(Port, SeenTimes)> {
    Ok((row.get(0)?, SeenTimes { first: row.get(1)?, last: row.get(2)? }))
}
