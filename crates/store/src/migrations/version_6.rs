//! The part of the migration to version 6 that follows from the records: windows, and when things were seen. One pass over
//! the records in their order needs no sorting, so neither a temporary file nor much memory.

use rusqlite::{Connection, params};

/// When the rows of a table, by their ids, were first and last seen; (0, 0) for ids without a record.
#[derive(Default)]
struct SeenById(Vec<(i64, i64)>);

impl SeenById {
    fn add(&mut self, id: i64, time: i64) {
        let Ok(id) = usize::try_from(id) else { return };
        if self.0.len() <= id {
            self.0.resize(id + 1, (0, 0));
        }
        let (first, last) = &mut self.0[id];
        if *last == 0 {
            *first = time;
        }
        *last = time;
    }

    fn iter(&self) -> impl Iterator<Item = (i64, i64, i64)> {
        let ids = (0..).zip(&self.0).filter(|(_, (_, last))| *last != 0);
        ids.map(|(id, (first, last))| (id, *first, *last))
    }
}

/// Fills the tables and columns that are new in version 6.
pub(crate) fn fill(connection: &Connection) -> rusqlite::Result<()> {
    let (mut contexts, mut endpoints) = (SeenById::default(), SeenById::default());
    let windows = fill_windows(connection, &mut contexts, &mut endpoints)?;
    for (table, seen) in [("context", &contexts), ("endpoint", &endpoints)] {
        let mut update = connection.prepare(&format!("UPDATE {table} SET first = ?2 WHERE id = ?1"))?;
        for (id, first, _) in seen.iter() {
            update.execute([id, first])?;
        }
    }
    let mut insert = connection.prepare(
        "INSERT INTO program_seen (path, sha256, uid, first, last) \
         SELECT path, coalesce(sha256, x''), uid, ?2, ?3 FROM context JOIN program ON program.id = context.program \
         WHERE context.id = ?1 \
         ON CONFLICT DO UPDATE SET first = min(first, excluded.first), last = max(last, excluded.last)",
    )?;
    for (id, first, last) in contexts.iter() {
        insert.execute([id, first, last])?;
    }
    let last: i64 =
        connection.query_row("SELECT coalesce(max(time), 0) FROM record", [], |row| row.get(0))?;
    connection.execute(
        "UPDATE log SET last_window = ?1, time = ?2, trusted_time = ?2, created = \
         coalesce((SELECT min(time) FROM record), created)",
        [windows, last],
    )?;
    Ok(())
}

/// Makes a window of the records of each second. Returns the number of windows.
fn fill_windows(
    connection: &Connection,
    contexts: &mut SeenById,
    endpoints: &mut SeenById,
) -> rusqlite::Result<i64> {
    let mut insert = connection.prepare(
        "INSERT INTO window (id, time, boot, uptime, first_sequence, count) VALUES (?1, ?2, 0, 0, ?3, ?4)",
    )?;
    let mut select =
        connection.prepare("SELECT time, sequence, context, endpoint FROM record ORDER BY time, sequence")?;
    let mut rows = select.query([])?;
    let mut windows = 0;
    // Time, first sequence and number of records.
    let mut open: Option<(i64, i64, i64)> = None;
    let mut close = |window: Option<(i64, i64, i64)>| -> rusqlite::Result<()> {
        if let Some((time, first, count)) = window {
            windows += 1;
            insert.execute(params![windows, time, first, count])?;
        }
        Ok(())
    };
    while let Some(row) = rows.next()? {
        let (time, sequence): (i64, i64) = (row.get(0)?, row.get(1)?);
        contexts.add(row.get(2)?, time);
        endpoints.add(row.get(3)?, time);
        match &mut open {
            Some((known, _, count)) if *known == time => *count += 1,
            _ => close(open.replace((time, sequence, 1)))?,
        }
    }
    close(open)?;
    Ok(windows)
}
