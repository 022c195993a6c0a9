//! The values of one dimension in an answer.

use std::collections::{BTreeMap, BTreeSet};

use calendar::TimeZone;
use rusqlite::{Connection, types::ValueRef};

use super::{
    calendar_parts::{Slot, calendar_value},
    dimension::Dimension,
    dimension_column::{DimensionColumn, KeyField},
    sql_value::value_from_sql,
    value::Value,
};
use crate::{id_map::IdMap, rollup::GroupKey};

/// Encodes the values of one dimension as integers that sort like the values.
pub(super) struct ResultColumn {
    field: KeyField,
    /// By the value of the field the index in `values`; `None` if the field itself is the value and its own code.
    codes: Option<IdMap<i64>>,
    /// The values, sorted and without duplicates; empty if the codes are the values.
    values: Vec<Value>,
}

impl ResultColumn {
    /// Reads the values that the groups with these keys have.
    pub fn read<'a>(
        connection: &Connection,
        dimension: Dimension,
        keys: impl Iterator<Item = &'a GroupKey>,
    ) -> rusqlite::Result<Self> {
        let DimensionColumn { field, column, referenced } = DimensionColumn::of(dimension);
        let Some(table) = field.table() else {
            return Ok(Self { field, codes: None, values: Vec::new() });
        };
        let ids: IdMap<i64> = keys.map(|key| (field.of(key), 0)).collect();
        let mut references = IdMap::default();
        read_column(connection, table, column, &ids, |id, found| {
            if let ValueRef::Integer(reference) = found {
                references.insert(id, reference);
            }
        })?;
        let wanted: IdMap<i64> = references.iter().map(|(_, reference)| (reference, 0)).collect();
        let mut found: Vec<(Value, i64)> = Vec::with_capacity(wanted.len());
        match referenced {
            None => found.extend(wanted.iter().map(|(number, _)| (Value::Integer(number), number))),
            Some((table, column)) => read_column(connection, table, column, &wanted, |reference, stored| {
                found.push((value_from_sql(dimension, stored), reference));
            })?,
        }
        found.sort_unstable();
        // The smallest value is that of ids without a value.
        let mut values = vec![Value::None];
        let mut codes_by_reference = IdMap::default();
        for (value, reference) in found {
            if values.last() != Some(&value) {
                values.push(value);
            }
            codes_by_reference.insert(reference, values.len() as i64 - 1);
        }
        let codes =
            references.iter().map(|(id, reference)| (id, codes_by_reference.get(reference).unwrap_or(0)));
        Ok(Self { field, codes: Some(codes.collect()), values })
    }

    /// The values of a dimension of the calendar, by slot.
    pub fn of_slots(values: BTreeMap<Slot, i64>) -> Self {
        Self { field: KeyField::Time, codes: Some(values.into_iter().collect()), values: Vec::new() }
    }

    /// The values of a dimension of the calendar for groups by time.
    pub fn of_times<'a>(
        dimension: Dimension,
        zone: &TimeZone,
        keys: impl Iterator<Item = &'a GroupKey>,
    ) -> Self {
        let times: BTreeSet<i64> = keys.map(|key| key.time).collect();
        Self::of_slots(times.into_iter().map(|time| (time, calendar_value(dimension, time, zone))).collect())
    }

    /// The code of a group's value.
    pub fn code(&self, key: &GroupKey) -> i64 {
        let field = self.field.of(key);
        match &self.codes {
            Some(codes) => codes.get(field).unwrap_or(-1),
            None => field,
        }
    }

    /// The code of a value; `None` if no group has it.
    pub fn code_of(&self, value: &Value) -> Option<i64> {
        match value {
            Value::Integer(number) if self.values.is_empty() => Some(*number),
            value => self.values.binary_search(value).ok().map(|index| index as i64),
        }
    }

    /// The value with a code.
    pub fn value(&self, code: i64) -> Value {
        if self.values.is_empty() {
            return Value::Integer(code);
        }
        usize::try_from(code).ok().and_then(|index| self.values.get(index).cloned()).unwrap_or(Value::None)
    }
}

/// Calls `found` with the value of a column for each row of a table whose id is in `ids`.
fn read_column(
    connection: &Connection,
    table: &str,
    column: &str,
    ids: &IdMap<i64>,
    mut found: impl FnMut(i64, ValueRef<'_>),
) -> rusqlite::Result<()> {
    /// Finding a row by its id takes about as long as reading this number of rows in order.
    const SEEK_COST: usize = 5;
    let last: i64 =
        connection.query_row(&format!("SELECT coalesce(max(id), 0) FROM {table}"), [], |row| row.get(0))?;
    if ids.len().saturating_mul(SEEK_COST) > usize::try_from(last).unwrap_or(0) {
        let mut statement = connection.prepare_cached(&format!("SELECT id, {column} FROM {table}"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            if ids.get(id).is_some() {
                found(id, row.get_ref(1)?);
            }
        }
        return Ok(());
    }
    let mut statement = connection.prepare_cached(&format!("SELECT {column} FROM {table} WHERE id = ?1"))?;
    for (id, _) in ids.iter() {
        let mut rows = statement.query([id])?;
        if let Some(row) = rows.next()? {
            found(id, row.get_ref(0)?);
        }
    }
    Ok(())
}
