//! The filters of a query, evaluated once: the ids of contexts and endpoints that match, and the conditions on numbers.

use std::collections::BTreeMap;

use rusqlite::{Connection, types::Value as SqlValue};

use super::{
    dimension::Dimension,
    dimension_column::{DimensionColumn, KeyField, key_fields},
    filter::{Filter, FilterOperand},
    sql_value::value_to_sql,
    value::Value,
};
use crate::{
    address_bytes::address_to_bytes,
    rollup::{GroupKey, KeyFields, Predicate},
};

/// Selects the records that match all filters of a query.
pub(super) struct FilterSet {
    fields: KeyFields,
    /// Ids of the contexts that match; `None`: all of them.
    contexts: Option<IdSet>,
    /// Ids of the endpoints that match; `None`: all of them.
    endpoints: Option<IdSet>,
    numbers: Vec<NumberFilter>,
}

impl FilterSet {
    pub fn new(connection: &Connection, filters: &[Filter]) -> rusqlite::Result<Self> {
        // The including filters of one dimension are alternatives.
        let mut by_dimension: BTreeMap<Dimension, Vec<&Filter>> = BTreeMap::new();
        for filter in filters {
            by_dimension.entry(filter.dimension).or_default().push(filter);
        }
        let mut numbers = Vec::new();
        let (mut contexts, mut endpoints) = (TableCondition::default(), TableCondition::default());
        for (dimension, filters) in &by_dimension {
            let column = DimensionColumn::of(*dimension);
            match column.field {
                KeyField::Context => contexts.add(&column, filters),
                KeyField::Endpoint => endpoints.add(&column, filters),
                field => numbers.push(NumberFilter::new(field, filters)),
            }
        }
        Ok(Self {
            fields: key_fields(by_dimension.into_keys()),
            contexts: contexts.matching_ids(connection, "context")?,
            endpoints: endpoints.matching_ids(connection, "endpoint")?,
            numbers,
        })
    }
}

impl Predicate for &FilterSet {
    fn fields(&self) -> KeyFields {
        self.fields
    }

    #[inline]
    fn accepts_context(&self, context: i64) -> bool {
        self.contexts.as_ref().is_none_or(|ids| ids.contains(context))
    }

    #[inline]
    fn accepts_endpoint(&self, endpoint: i64) -> bool {
        self.endpoints.as_ref().is_none_or(|ids| ids.contains(endpoint))
    }

    #[inline]
    fn accepts_numbers(&self, key: &GroupKey) -> bool {
        self.numbers.iter().all(|filter| filter.accepts(filter.field.of(key)))
    }
}

/// The filters of a dimension whose value is a number in the record: a port or a time.
struct NumberFilter {
    field: KeyField,
    excluded: Vec<i64>,
    /// `None` if there is no including filter.
    included: Option<Vec<i64>>,
}

impl NumberFilter {
    fn new(field: KeyField, filters: &[&Filter]) -> Self {
        let (excluding, including): (Vec<&Filter>, Vec<&Filter>) =
            filters.iter().partition(|filter| filter.exclude);
        let numbers = |filters: &[&Filter]| {
            let number = |filter: &&Filter| match &filter.operand {
                FilterOperand::Value(Value::Integer(number)) => Some(*number),
                _ => None,
            };
            filters.iter().filter_map(number).collect()
        };
        let included = (!including.is_empty()).then(|| numbers(&including));
        Self { field, excluded: numbers(&excluding), included }
    }

    fn accepts(&self, number: i64) -> bool {
        !self.excluded.contains(&number)
            && self.included.as_ref().is_none_or(|included| included.contains(&number))
    }
}

/// A set of ids with one bit each: filters match from one to all of some hundred thousand ids.
#[derive(Default)]
struct IdSet(Vec<u64>);

impl IdSet {
    fn insert(&mut self, id: i64) {
        let Ok(id) = usize::try_from(id) else { return };
        if self.0.len() <= id / 64 {
            self.0.resize(id / 64 + 1, 0);
        }
        self.0[id / 64] |= 1 << (id % 64);
    }

    #[inline]
    fn contains(&self, id: i64) -> bool {
        usize::try_from(id)
            .is_ok_and(|id| self.0.get(id / 64).is_some_and(|word| word & (1 << (id % 64)) != 0))
    }
}

/// The condition on the rows of `context` or `endpoint`. Values are bound parameters, never part of the SQL.
#[derive(Default)]
struct TableCondition {
    /// A row passes if every condition holds.
    conditions: Vec<String>,
    parameters: Vec<SqlValue>,
}

impl TableCondition {
    /// Adds the filters of one dimension.
    fn add(&mut self, column: &DimensionColumn, filters: &[&Filter]) {
        let (excluding, including): (Vec<&Filter>, Vec<&Filter>) =
            filters.iter().partition(|filter| filter.exclude);
        let value_column = column.referenced.map_or(column.column, |(_, column)| column);
        let mut all = Vec::new();
        for filter in &excluding {
            all.push(format!("NOT {}", self.comparison(value_column, &filter.operand)));
        }
        if !including.is_empty() {
            let alternatives: Vec<String> =
                including.iter().map(|filter| self.comparison(value_column, &filter.operand)).collect();
            all.push(format!("({})", alternatives.join(" OR ")));
        }
        let all = all.join(" AND ");
        let Some((table, _)) = column.referenced else {
            self.conditions.push(format!("({all})"));
            return;
        };
        // A reference of 0 means that there is no address: there is no row to compare with.
        let has_none = |filters: &[&Filter]| {
            filters.iter().any(|filter| filter.operand == FilterOperand::Value(Value::None))
        };
        let none_matches = !has_none(&excluding) && (including.is_empty() || has_none(&including));
        self.conditions.push(format!(
            "CASE WHEN {reference} = 0 THEN {none_matches} ELSE {reference} IN (SELECT id FROM {table} WHERE {all}) END",
            reference = column.column,
            none_matches = i32::from(none_matches),
        ));
    }

    /// A comparison that is 0 or 1, never NULL, so that NOT can negate it.
    fn comparison(&mut self, column: &str, operand: &FilterOperand) -> String {
        let mut bind = |value: SqlValue| {
            self.parameters.push(value);
            self.parameters.len()
        };
        match operand {
            FilterOperand::Value(value) => format!("({column} IS ?{})", bind(value_to_sql(value))),
            FilterOperand::Network(first, last) => {
                let (first, last) = (address_to_bytes((*first).into()), address_to_bytes((*last).into()));
                let length = first.len();
                let (first, last) = (bind(SqlValue::Blob(first)), bind(SqlValue::Blob(last)));
                format!("coalesce(length({column}) = {length} AND {column} BETWEEN ?{first} AND ?{last}, 0)")
            }
        }
    }

    /// The ids of the rows that match; `None` without any condition.
    fn matching_ids(&self, connection: &Connection, table: &str) -> rusqlite::Result<Option<IdSet>> {
        if self.conditions.is_empty() {
            return Ok(None);
        }
        let sql = format!("SELECT id FROM {table} WHERE {}", self.conditions.join(" AND "));
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(&self.parameters))?;
        let mut ids = IdSet::default();
        while let Some(row) = rows.next()? {
            ids.insert(row.get(0)?);
        }
        Ok(Some(ids))
    }
}
