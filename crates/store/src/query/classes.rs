//! Contexts and endpoints that a query does not tell apart: those with the same values in the columns that it groups by.
//!
//! Sums by context and endpoint have a group for each pair that occurs, which are many more than the rows of an answer. With one
//! id for all members of a class there are as few groups as values.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use rusqlite::Connection;

use super::{
    dimension::Dimension,
    dimension_column::{DimensionColumn, KeyField},
};
use crate::{id_map::IdMap, rollup::Classes};

/// Reads the classes of contexts and endpoints for groups by these dimensions.
pub(super) fn read(connection: &Connection, group_by: &[Dimension]) -> rusqlite::Result<Classes> {
    let of = |field: KeyField| -> Vec<&'static str> {
        let columns = group_by.iter().map(|dimension| DimensionColumn::of(*dimension));
        columns.filter(|column| column.field == field).map(|column| column.column).collect()
    };
    Ok(Classes {
        contexts: representatives(connection, "context", &of(KeyField::Context))?,
        endpoints: representatives(connection, "endpoint", &of(KeyField::Endpoint))?,
        ..Classes::default()
    })
}

/// By id the first id with the same values in these columns.
fn representatives(connection: &Connection, table: &str, columns: &[&str]) -> rusqlite::Result<IdMap<i64>> {
    let mut ids = IdMap::default();
    if columns.is_empty() {
        return Ok(ids);
    }
    let sql = format!("SELECT id, {} FROM {table}", columns.join(", "));
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([])?;
    let mut first: HashMap<Vec<i64>, i64, FixedState> = HashMap::default();
    let mut values = Vec::with_capacity(columns.len());
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        values.clear();
        for column in 1..=columns.len() {
            values.push(row.get(column)?);
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
