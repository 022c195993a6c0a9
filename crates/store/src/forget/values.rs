//! Replaces what is forgotten in all other values of the log: whole values, since a part may tell the rest.

use model::{Bytes, MANY, Program, Sha256};
use rusqlite::{Connection, Row, params, types::ValueRef};

use super::{FORGOTTEN, Forget, Target, TextMatcher};
use crate::{
    address_bytes::address_to_bytes,
    intern::{bytes_hash, program_hash},
    query::Value,
    text_or_blob::{ManyText, TextOrBlob},
};

/// Returns the number of events that were deleted, and that of the values that were replaced or deleted.
pub(super) fn replace_values(connection: &Connection, what: &Forget) -> rusqlite::Result<(u64, u64)> {
    let events = delete_events(connection, what)?;
    let mut values = delete_values(connection, what)?;
    let matcher = what.matcher();
    if matcher != TextMatcher::nothing() {
        values += replace_programs(connection, &matcher)?;
        values += replace_cgroups(connection, &matcher)?;
        values += replace_domains(connection, &matcher)?;
        values += replace_programs_seen(connection, &matcher)?;
        values += replace_in_events(connection, &matcher)?;
        values += replace_configuration(connection, &matcher)?;
    }
    Ok((events, values))
}

fn delete_events(connection: &Connection, what: &Forget) -> rusqlite::Result<u64> {
    let deleted = match &what.0 {
        Target::Program(path) => {
            connection.execute("DELETE FROM event WHERE path = ?1", [TextOrBlob(path)])?
        }
        Target::Time(from, to) => {
            connection.execute("DELETE FROM event WHERE time BETWEEN ?1 AND ?2", [from, to])?
        }
        _ => 0,
    };
    Ok(deleted as u64)
}

/// Deletes the rows that are what is forgotten, and to which nothing refers any more.
fn delete_values(connection: &Connection, what: &Forget) -> rusqlite::Result<u64> {
    let addresses = "DELETE FROM address WHERE length(bytes) = length(?1) AND bytes BETWEEN ?1 AND ?2";
    let deleted = match &what.0 {
        Target::Program(path) => {
            connection.execute("DELETE FROM program_seen WHERE path = ?1", [TextOrBlob(path)])?
        }
        Target::Domain(name) => {
            connection.execute("DELETE FROM domain WHERE name = ?1", [TextOrBlob(name)])?
        }
        Target::Address(Value::Address(address)) => {
            let bytes = address_to_bytes(*address);
            connection.execute(addresses, params![bytes, bytes])?
        }
        Target::Network(first, last) => {
            let (first, last) = (address_to_bytes((*first).into()), address_to_bytes((*last).into()));
            connection.execute(addresses, params![first, last])?
        }
        Target::Address(_) | Target::Time(..) => 0,
    };
    Ok(deleted as u64)
}

/// The bytes of a text column; `None` for NULL and for "many".
fn bytes(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Bytes>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Blob(bytes) if bytes == MANY.as_bytes() => None,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes.to_vec()),
        _ => None,
    })
}

/// Rows of a statement whose columns from the second on have what is forgotten: the first column, and for each of the others
/// the value, replaced where it must be.
fn matching_rows(
    connection: &Connection,
    sql: &str,
    matcher: &TextMatcher,
) -> rusqlite::Result<Vec<(i64, Vec<Option<Bytes>>)>> {
    let mut statement = connection.prepare(sql)?;
    let columns = statement.column_count();
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let mut values =
            (1..columns).map(|column| bytes(row, column)).collect::<rusqlite::Result<Vec<_>>>()?;
        let mut has_any = false;
        for value in values.iter_mut().flatten().filter(|value| matcher.matches(value)) {
            *value = FORGOTTEN.into();
            has_any = true;
        }
        if has_any {
            found.push((row.get(0)?, values));
        }
    }
    Ok(found)
}

fn replace_programs(connection: &Connection, matcher: &TextMatcher) -> rusqlite::Result<u64> {
    let rows = matching_rows(connection, "SELECT id, path, name, command_line FROM program", matcher)?;
    let mut update = connection.prepare(
        "UPDATE program SET content_hash = ?2, path = ?3, name = ?4, command_line = ?5 WHERE id = ?1",
    )?;
    for (id, values) in &rows {
        let [Some(path), Some(name), command_line] = values.as_slice() else { continue };
        let digest: Option<Vec<u8>> =
            connection.query_row("SELECT sha256 FROM program WHERE id = ?1", [id], |row| row.get(0))?;
        let program = Program {
            path: path.clone(),
            name: name.clone(),
            // Of "many" only it matters that there is a command line.
            command_line: command_line.clone().unwrap_or_else(|| MANY.into()),
            sha256: digest.and_then(|digest| digest.try_into().ok()).map(Sha256),
        };
        let hash = program_hash(&program, command_line.is_none());
        match command_line {
            Some(line) => {
                update.execute(params![id, hash, TextOrBlob(path), TextOrBlob(name), TextOrBlob(line)])?
            }
            None => update.execute(params![id, hash, TextOrBlob(path), TextOrBlob(name), ManyText])?,
        };
    }
    Ok(rows.len() as u64)
}

fn replace_cgroups(connection: &Connection, matcher: &TextMatcher) -> rusqlite::Result<u64> {
    let rows = matching_rows(connection, "SELECT id, path, unit, container, app FROM cgroup", matcher)?;
    let sql =
        "UPDATE cgroup SET content_hash = ?2, path = ?3, unit = ?4, container = ?5, app = ?6 WHERE id = ?1";
    let mut update = connection.prepare(sql)?;
    for (id, values) in &rows {
        let [path, unit, container, app] = [0, 1, 2, 3].map(|at| values[at].as_deref().unwrap_or_default());
        update.execute(params![
            id,
            bytes_hash(path),
            TextOrBlob(path),
            TextOrBlob(unit),
            TextOrBlob(container),
            TextOrBlob(app)
        ])?;
    }
    Ok(rows.len() as u64)
}

fn replace_domains(connection: &Connection, matcher: &TextMatcher) -> rusqlite::Result<u64> {
    let rows = matching_rows(connection, "SELECT id, name FROM domain", matcher)?;
    let mut update = connection.prepare("UPDATE domain SET content_hash = ?2, name = ?3 WHERE id = ?1")?;
    for (id, _) in &rows {
        update.execute(params![id, bytes_hash(FORGOTTEN.as_bytes()), FORGOTTEN])?;
    }
    Ok(rows.len() as u64)
}

fn replace_programs_seen(connection: &Connection, matcher: &TextMatcher) -> rusqlite::Result<u64> {
    let mut select = connection.prepare("SELECT path FROM program_seen GROUP BY path")?;
    let mut rows = select.query([])?;
    let mut paths = Vec::new();
    while let Some(row) = rows.next()? {
        paths.extend(bytes(row, 0)?.filter(|path| matcher.matches(path)));
    }
    let mut insert = connection.prepare(
        "INSERT INTO program_seen (path, sha256, uid, first, last) \
         SELECT ?2, sha256, uid, first, last FROM program_seen WHERE path = ?1 \
         ON CONFLICT DO UPDATE SET first = min(first, excluded.first), last = max(last, excluded.last)",
    )?;
    for path in &paths {
        insert.execute(params![TextOrBlob(path), FORGOTTEN])?;
        connection.execute("DELETE FROM program_seen WHERE path = ?1", [TextOrBlob(path)])?;
    }
    Ok(paths.len() as u64)
}

fn replace_in_events(connection: &Connection, matcher: &TextMatcher) -> rusqlite::Result<u64> {
    let sql = "SELECT id, path, name, subject, text, writer_path, writer_name FROM event";
    let rows = matching_rows(connection, sql, matcher)?;
    let mut update = connection.prepare(
        "UPDATE event SET path = ?2, name = ?3, subject = ?4, text = ?5, writer_path = ?6, writer_name = ?7 WHERE id = ?1",
    )?;
    for (id, values) in &rows {
        let [path, name, subject, text] = [0, 1, 2, 3].map(|at| values[at].as_deref().unwrap_or_default());
        let [writer_path, writer_name] = [4, 5].map(|at| values[at].as_deref().map(TextOrBlob));
        update.execute(params![
            id,
            TextOrBlob(path),
            TextOrBlob(name),
            TextOrBlob(subject),
            TextOrBlob(text),
            writer_path,
            writer_name
        ])?;
    }
    Ok(rows.len() as u64)
}

fn replace_configuration(connection: &Connection, matcher: &TextMatcher) -> rusqlite::Result<u64> {
    let before: String = connection.query_row("SELECT configuration FROM log", [], |row| row.get(0))?;
    let mut replaced = 0;
    let lines: Vec<&str> = before
        .lines()
        .map(|line| match matcher.matches(line.as_bytes()) {
            true => {
                replaced += 1;
                FORGOTTEN
            }
            false => line,
        })
        .collect();
    if replaced > 0 {
        connection.execute("UPDATE log SET configuration = ?1", [lines.join("\n")])?;
    }
    Ok(replaced)
}
