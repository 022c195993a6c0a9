//! Corrects when things were first and last seen, after records were deleted.

use std::collections::BTreeSet;

use model::Port;
use rusqlite::{Connection, Row, params, types::Value as SqlValue};

use super::Forget;
use crate::seen_times::{SeenInLog, SeenTimes, TimesById};

/// Of a span of time, the times in it become those of what is left; what was seen before or after it stays known, also without
/// records. Otherwise those of the ports are deleted that nothing has any more.
pub(super) fn correct(
    connection: &Connection,
    what: &Forget,
    ports: &BTreeSet<Port>,
) -> rusqlite::Result<()> {
    let Some(span) = what.span() else { return delete_ports(connection, ports) };
    let seen = SeenInLog::read(connection)?;
    for (table, seen) in [("context", &seen.contexts), ("endpoint", &seen.endpoints)] {
        correct_table(connection, (table, "id"), seen, span)?;
        // Those that nothing has any more tell of the span.
        let mut delete = connection.prepare(&format!("DELETE FROM {table} WHERE id = ?1"))?;
        for id in ids(connection, table)?.into_iter().filter(|id| !seen.contains_key(id)) {
            delete.execute([id])?;
        }
    }
    correct_table(connection, ("port_seen", "port"), &seen.ports, span)?;
    correct_programs(connection, span)
}

/// Deletes those of the ports that nothing has any more.
fn delete_ports(connection: &Connection, ports: &BTreeSet<Port>) -> rusqlite::Result<()> {
    if ports.is_empty() {
        return Ok(());
    }
    let seen = SeenInLog::read(connection)?;
    let mut delete = connection.prepare("DELETE FROM port_seen WHERE port = ?1")?;
    for port in ports.iter().filter(|port| !seen.ports.contains_key(port)) {
        delete.execute([port])?;
    }
    Ok(())
}

fn ids(connection: &Connection, table: &str) -> rusqlite::Result<Vec<i64>> {
    let mut statement = connection.prepare(&format!("SELECT id FROM {table}"))?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// The times without a span: those of what is left in their place; `None` if nothing is left.
fn without(stored: SeenTimes, left: Option<SeenTimes>, (from, to): (i64, i64)) -> Option<SeenTimes> {
    let is_outside = |time: &i64| !(from..=to).contains(time);
    let first = Some(stored.first).filter(is_outside).or(left.map(|left| left.first));
    let last = Some(stored.last).filter(is_outside).or(left.map(|left| left.last));
    let (first, last) = (first.or(last)?, last.or(first)?);
    Some(SeenTimes { first: first.min(last), last: last.max(first) })
}

fn correct_table(
    connection: &Connection,
    (table, key): (&str, &str),
    seen: &TimesById,
    span: (i64, i64),
) -> rusqlite::Result<()> {
    let sql = format!(
        "SELECT {key}, first, last FROM {table} WHERE first BETWEEN ?1 AND ?2 OR last BETWEEN ?1 AND ?2"
    );
    let mut select = connection.prepare(&sql)?;
    let rows = select.query_map([span.0, span.1], |row| Ok((row.get(0)?, times(row, 1)?)))?;
    let rows = rows.collect::<rusqlite::Result<Vec<(i64, SeenTimes)>>>()?;
    for (number, stored) in rows {
        match without(stored, seen.get(&number).copied(), span) {
            Some(new) => {
                let sql = format!("UPDATE {table} SET first = ?2, last = ?3 WHERE {key} = ?1");
                connection.prepare_cached(&sql)?.execute([number, new.first, new.last])?;
            }
            None => {
                let sql = format!("DELETE FROM {table} WHERE {key} = ?1");
                connection.prepare_cached(&sql)?.execute([number])?;
            }
        }
    }
    Ok(())
}

fn times(row: &Row<'_>, column: usize) -> rusqlite::Result<SeenTimes> {
    Ok(SeenTimes { first: row.get(column)?, last: row.get(column + 1)? })
}

/// Corrects the times of programs by those of their contexts, which are correct.
fn correct_programs(connection: &Connection, span: (i64, i64)) -> rusqlite::Result<()> {
    let mut select = connection.prepare(
        "SELECT path, sha256, uid, first, last, (SELECT min(c.first) FROM context AS c JOIN program AS p ON p.id = c.program \
         WHERE p.path = s.path AND coalesce(p.sha256, x'') = s.sha256 AND c.uid = s.uid), (SELECT max(c.last) FROM context \
         AS c JOIN program AS p ON p.id = c.program WHERE p.path = s.path AND coalesce(p.sha256, x'') = s.sha256 AND \
         c.uid = s.uid) FROM program_seen AS s WHERE first BETWEEN ?1 AND ?2 OR last BETWEEN ?1 AND ?2",
    )?;
    let rows = select.query_map([span.0, span.1], |row| {
        let key: [SqlValue; 3] = [row.get(0)?, row.get(1)?, row.get(2)?];
        let left: Option<i64> = row.get(5)?;
        let left = left.zip(row.get(6)?).map(|(first, last)| SeenTimes { first, last });
        Ok((key, times(row, 3)?, left))
    })?;
    for row in rows.collect::<rusqlite::Result<Vec<_>>>()? {
        let ([path, digest, uid], stored, left) = row;
        match without(stored, left, span) {
            Some(new) => connection.execute(
                "UPDATE program_seen SET first = ?4, last = ?5 WHERE path = ?1 AND sha256 = ?2 AND uid = ?3",
                params![path, digest, uid, new.first, new.last],
            )?,
            None => connection.execute(
                "DELETE FROM program_seen WHERE path = ?1 AND sha256 = ?2 AND uid = ?3",
                params![path, digest, uid],
            )?,
        };
    }
    Ok(())
}
