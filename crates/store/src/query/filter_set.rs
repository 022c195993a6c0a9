//! The filters of a query, evaluated once: the ids of contexts and endpoints that match, and the conditions on numbers.

use std::collections::BTreeMap;

use rusqlite::{Connection, functions::FunctionFlags, types::Value as SqlValue};

use super::{
    dimension::Dimension,
    dimension_column::{DimensionColumn, KeyField, key_fields},
    filter::{Filter, FilterOperand, Find},
    pattern::Pattern,
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
    /// Reads what the filters select. Those on the calendar's dimensions are not part of the set: they select intervals of
    /// time (`CalendarParts`).
    pub fn new(connection: &Connection, filters: &[Filter], find: Option<&Find>) -> rusqlite::Result<Self> {
        // The including filters of one dimension are alternatives.
        let mut by_dimension: BTreeMap<Dimension, Vec<&Filter>> = BTreeMap::new();
        for filter in filters.iter().filter(|filter| !filter.dimension.is_calendar()) {
            by_dimension.entry(filter.dimension).or_default().push(filter);
        }
        let mut groups: Vec<(Dimension, Vec<&Filter>)> = by_dimension.into_iter().collect();
        if let Some((find, first)) = find.and_then(|find| Some((find, find.alternatives.first()?))) {
            groups.push((first.dimension, find.alternatives.iter().collect()));
        }
        let mut numbers = Vec::new();
        let (mut contexts, mut endpoints) = (TableCondition::default(), TableCondition::default());
        for (dimension, filters) in &groups {
            let column = DimensionColumn::of(*dimension);
            match column.field {
                KeyField::Context => contexts.add(&column, filters),
                KeyField::Endpoint => endpoints.add(&column, filters),
                field => numbers.push(NumberFilter::new(field, filters)),
            }
        }
        Ok(Self {
            fields: key_fields(groups.iter().map(|(dimension, _)| *dimension)),
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
    excluded: Vec<Filter>,
    /// `None` if there is no including filter.
    included: Option<Vec<Filter>>,
}

impl NumberFilter {
    fn new(field: KeyField, filters: &[&Filter]) -> Self {
        let (excluded, included): (Vec<Filter>, Vec<Filter>) =
            filters.iter().map(|filter| (*filter).clone()).partition(Filter::is_exclude);
        Self { field, excluded, included: (!included.is_empty()).then_some(included) }
    }

    fn accepts(&self, number: i64) -> bool {
        let matches = |filter: &Filter| match &filter.operand {
            FilterOperand::Value(value) => *value == Value::Integer(number),
            FilterOperand::Pattern(pattern) => pattern.matches(filter.dimension, &Value::Integer(number)),
            FilterOperand::Network(..) => false,
        };
        !self.excluded.iter().any(matches)
            && self.included.as_ref().is_none_or(|included| included.iter().any(matches))
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
    /// The patterns of [`MATCHES`], by their number.
    patterns: Vec<(Dimension, Pattern)>,
}

/// The SQL function that tells whether a value (second argument) matches the pattern with a number (first argument).
const MATCHES: &str = "picosnitch_matches";

impl TableCondition {
    /// Adds the filters of one dimension.
    fn add(&mut self, column: &DimensionColumn, filters: &[&Filter]) {
        let (excluding, including): (Vec<&Filter>, Vec<&Filter>) =
            filters.iter().partition(|filter| filter.exclude);
        let value_column = column.referenced.map_or(column.column, |(_, column)| column);
        let mut all = Vec::new();
        for filter in &excluding {
            all.push(format!("NOT {}", self.comparison(value_column, filter)));
        }
        if !including.is_empty() {
            let alternatives: Vec<String> =
                including.iter().map(|filter| self.comparison(value_column, filter)).collect();
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
    fn comparison(&mut self, column: &str, filter: &Filter) -> String {
        let mut bind = |value: SqlValue| {
            self.parameters.push(value);
            self.parameters.len()
        };
        match &filter.operand {
            FilterOperand::Pattern(pattern) => {
                self.patterns.push((filter.dimension, pattern.clone()));
                format!("{MATCHES}({}, {column})", self.patterns.len() - 1)
            }
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
        if !self.patterns.is_empty() {
            let patterns = self.patterns.clone();
            let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
            connection.create_scalar_function(MATCHES, 2, flags, move |context| {
                let number = usize::try_from(context.get::<i64>(0)?).unwrap_or(usize::MAX);
                let matches = |(dimension, pattern): &(Dimension, Pattern)| {
                    pattern.matches_stored(*dimension, context.get_raw(1))
                };
                Ok(patterns.get(number).is_some_and(matches))
            })?;
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
