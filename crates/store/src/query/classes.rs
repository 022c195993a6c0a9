//! Contexts and endpoints that a query does not tell apart: those with the same values in the columns that it groups by.
//!
//! Sums by context and endpoint have a group for each pair that occurs, which are many more than the rows of an answer. With one
//! id for all members of a class there are as few groups as values.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use rusqlite::{Connection, types::ValueRef};

use super::{
    dimension::Dimension,
    dimension_column::{DimensionColumn, KeyField},
};
use crate::{id_map::IdMap, rollup::Classes};

/// Reads the classes of contexts and endpoints for groups by these dimensions.
pub(super) fn read(connection: &Connection, group_by: &[Dimension]) -> rusqlite::Result<Classes> {
    let of = |field: KeyField| -> Vec<DimensionColumn> {
        let columns = group_by.iter().map(|dimension| DimensionColumn::of(*dimension));
        columns.filter(|column| column.field == field).collect()
    };
    Ok(Classes {
        contexts: representatives(connection, "context", &of(KeyField::Context))?,
        endpoints: representatives(connection, "endpoint", &of(KeyField::Endpoint))?,
        ..Classes::default()
    })
}

/// By id the first id with the same values in these columns.
fn representatives(
    connection: &Connection,
    table: &str,
    columns: &[DimensionColumn],
) -> rusqlite::Result<IdMap<i64>> {
    let mut ids = IdMap::default();
    if columns.is_empty() {
        return Ok(ids);
    }
    let names: Vec<&str> = columns.iter().map(|column| column.column).collect();
    let equal =
        columns.iter().map(|column| equal_values(connection, column)).collect::<Result<Vec<_>, _>>()?;
    let sql = format!("SELECT id, {} FROM {table}", names.join(", "));
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([])?;
    let mut first: HashMap<Vec<i64>, i64, FixedState> = HashMap::default();
    let mut values = Vec::with_capacity(columns.len());
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        values.clear();
        for (at, equal) in equal.iter().enumerate() {
            let value = row.get(at + 1)?;
            values.push(equal.get(value).unwrap_or(value));
        }
        let representative = match first.get(&values) {
            Some(representative) => *representative,
            None => {
                first.insert(values.clone(), id);
                id
            }
        };
        ids.insert(id, representative);
    }
    Ok(ids)
}

/// By reference the first reference with the same value, for the tables whose rows have several columns. Many command lines are of one
/// program; they themselves are hardly ever the same, and take much memory.
fn equal_values(connection: &Connection, column: &DimensionColumn) -> rusqlite::Result<IdMap<i64>> {
    let mut equal = IdMap::default();
    let Some((table @ ("program" | "cgroup" | "network"), value)) = column.referenced else {
        return Ok(equal);
    };
    if value == "command_line" {
        return Ok(equal);
    }
    let mut statement = connection.prepare_cached(&format!("SELECT id, {value} FROM {table}"))?;
    let mut rows = statement.query([])?;
    let mut first: HashMap<Vec<u8>, i64, FixedState> = HashMap::default();
    let mut stored = Vec::new();
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        stored.clear();
        // The kind comes first: a text and a number are never the same.
        let mut add = |kind: u8, bytes: &[u8]| {
            stored.push(kind);
            stored.extend_from_slice(bytes);
        };
        match row.get_ref(1)? {
            ValueRef::Null => {}
            ValueRef::Integer(number) => add(b'i', &number.to_be_bytes()),
            ValueRef::Real(number) => add(b'r', &number.to_be_bytes()),
            ValueRef::Text(bytes) => add(b't', bytes),
            ValueRef::Blob(bytes) => add(b'b', bytes),
        }
        match first.get(&stored) {
            Some(first) => equal.insert(id, *first),
            None => drop(first.insert(stored.clone(), id)),
        }
    }
    Ok(equal)
}
