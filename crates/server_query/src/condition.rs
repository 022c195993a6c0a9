//! The filters of a query: those that a server compares as the log does, and those that are compared here.

use std::collections::BTreeMap;

use export::{Cell, Dialect, Kind};
use store::{Dimension, Filter, Query, Value};

use crate::column::{Column, Table, cell};

/// A condition in SQL; its placeholders are `\0`, since those of PostgreSQL have numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Condition {
    pub sql: String,
    pub parameters: Vec<Cell>,
}

/// The filters of a query.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    /// On columns of the records.
    pub of_record: Vec<Condition>,
    /// On columns of other tables, with these. Some let pass more than the filter, which is in `rest` then.
    pub of_tables: Vec<(Table, Condition)>,
    /// The columns of records that lead to those of both.
    pub record_columns: Vec<&'static str>,
    /// Those that are compared here.
    pub rest: Vec<Filter>,
}

impl Conditions {
    pub fn new(query: &Query, dialect: Dialect) -> Self {
        let mut conditions = Self::default();
        let mut by_dimension: BTreeMap<Dimension, Vec<&Filter>> = BTreeMap::new();
        for filter in &query.filters {
            by_dimension.entry(filter.dimension()).or_default().push(filter);
        }
        for (dimension, filters) in by_dimension {
            let column = Column::of(dimension);
            match (all(dimension, &filters, dialect), column.table) {
                (None, table) => {
                    // Fewer values have to be compared here.
                    if let Some((condition, table)) = rough(dimension, &filters, dialect).zip(table) {
                        conditions.of_tables.push((table, condition));
                        conditions.record_columns.push(column.key());
                    }
                    conditions.rest.extend(filters.into_iter().cloned());
                }
                (Some(condition), None) => {
                    conditions.of_record.push(condition);
                    conditions.record_columns.push(match dimension {
                        Dimension::Time => "time",
                        _ => column.key(),
                    });
                }
                (Some(condition), Some(table)) => {
                    conditions.of_tables.push((table, condition));
                    conditions.record_columns.push(column.key());
                }
            }
        }
        conditions
    }

    /// All that the server compares, as conditions on records: those which do not match are neither grouped nor joined.
    pub fn on_records(&self) -> Vec<Condition> {
        let of_tables = self.of_tables.iter().map(|(table, condition)| of_record(*table, condition));
        self.of_record.iter().cloned().chain(of_tables).collect()
    }

    /// Whether a filter on a dimension is compared here.
    pub fn rest_has(&self, dimension: Dimension) -> bool {
        self.dimensions().any(|other| other == dimension)
    }

    /// The dimensions of the filters that are compared here.
    pub fn dimensions(&self) -> impl Iterator<Item = Dimension> {
        self.rest.iter().map(Filter::dimension)
    }
}

/// A condition on another table as one on records.
fn of_record(table: Table, condition: &Condition) -> Condition {
    let Condition { sql, parameters } = condition;
    let rows = match table {
        Table::Log => "SELECT l.id FROM picosnitch_log l".to_owned(),
        Table::Endpoint => "SELECT e.digest FROM picosnitch_endpoint e".to_owned(),
        Table::Context => "SELECT c.digest FROM picosnitch_context c".to_owned(),
        Table::Program | Table::Parent | Table::Grandparent => {
            format!("SELECT c.digest FROM picosnitch_context c {}", table.join())
        }
    };
    Condition { sql: format!("{} IN ({rows} WHERE {sql})", table.key()), parameters: parameters.clone() }
}

/// The filters of one dimension as one condition; `None` if the server cannot compare all of them.
fn all(dimension: Dimension, filters: &[&Filter], dialect: Dialect) -> Option<Condition> {
    // Parts of the calendar are points in a zone, the scope a property of the address; and of a command line a server has the text
    // with the quotes of a shell.
    let is_computed = dimension.is_calendar() || dimension == Dimension::Scope;
    if is_computed || column_is_quoted(dimension) {
        return None;
    }
    let mut all = Condition::default();
    let mut included: Vec<String> = Vec::new();
    let mut excluded: Vec<String> = Vec::new();
    // In the order of the placeholders: what is excluded comes first.
    let (excluding, including): (Vec<&&Filter>, Vec<&&Filter>) =
        filters.iter().partition(|filter| filter.is_exclude());
    for (filters, sql) in [(excluding, &mut excluded), (including, &mut included)] {
        for filter in filters {
            let condition = equality(dimension, filter.single_value()?, dialect);
            sql.push(condition.sql);
            all.parameters.extend(condition.parameters);
        }
    }
    let mut parts: Vec<String> = excluded.iter().map(|sql| format!("NOT {sql}")).collect();
    if !included.is_empty() {
        parts.push(format!("({})", included.join(" OR ")));
    }
    all.sql = parts.join(" AND ");
    Some(all)
}

/// A condition that all values fulfil which some filters of one dimension select, and perhaps others; `None` if there is none.
fn rough(dimension: Dimension, filters: &[&Filter], dialect: Dialect) -> Option<Condition> {
    let column = Column::of(dimension);
    if column.kind != Kind::Text || dimension == Dimension::Scope || column_is_quoted(dimension) {
        return None;
    }
    let expression = column.expression_in(dialect);
    let mut rough = Condition::default();
    let mut alternatives = Vec::new();
    for filter in filters.iter().filter(|filter| !filter.is_exclude()) {
        let condition = match filter.single_value() {
            Some(value) => equality(dimension, value, dialect),
            None => {
                let text = std::str::from_utf8(filter.literal()?).ok()?;
                // Other characters may be escaped in a column.
                let is_plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b'\\';
                if text.is_empty() || !text.as_bytes().iter().all(is_plain) {
                    return None;
                }
                let sql = match dialect {
                    Dialect::PostgreSql => format!("(strpos({expression}, \0) > 0)"),
                    Dialect::MySql => format!("(LOCATE(\0, CAST({expression} AS BINARY)) > 0)"),
                    Dialect::ClickHouse => format!("(position({expression}, \0) > 0)"),
                };
                Condition { sql, parameters: vec![Cell::Text(text.to_owned())] }
            }
        };
        alternatives.push(condition.sql);
        rough.parameters.extend(condition.parameters);
    }
    rough.sql = format!("({})", alternatives.join(" OR "));
    (!alternatives.is_empty()).then_some(rough)
}

fn column_is_quoted(dimension: Dimension) -> bool {
    matches!(
        dimension,
        Dimension::CommandLine | Dimension::ParentCommandLine | Dimension::GrandparentCommandLine
    )
}

/// Whether a column has a value: true or false, never null, so that NOT can negate it.
fn equality(dimension: Dimension, value: &Value, dialect: Dialect) -> Condition {
    let column = Column::of(dimension);
    let expression = column.expression_in(dialect);
    let expression = if dimension == Dimension::Time { "time" } else { &expression };
    let expression = match column.table {
        None => expression.trim_start_matches("r."),
        Some(_) => expression,
    };
    match cell(dimension, value) {
        // A path that is the word for several values is not a path.
        Some(_)
            if crate::column::value(dimension, cell(dimension, value).unwrap_or(Cell::Null)) != *value =>
        {
            never()
        }
        None => never(),
        Some(Cell::Null) => Condition { sql: format!("({expression} IS NULL)"), parameters: Vec::new() },
        Some(Cell::Text(text)) if dialect == Dialect::MySql && column.kind == Kind::Text => Condition {
            // As bytes, so that blanks at the end count.
            sql: format!("(CAST({expression} AS BINARY) = \0)"),
            parameters: vec![Cell::Bytes(text.into_bytes())],
        },
        Some(cell @ Cell::Bytes(_)) if dialect == Dialect::ClickHouse => {
            Condition { sql: format!("ifNull({expression} = \0, 0)"), parameters: vec![cell] }
        }
        Some(cell @ Cell::Bytes(_)) => {
            Condition { sql: format!("COALESCE({expression} = \0, FALSE)"), parameters: vec![cell] }
        }
        Some(cell) => Condition { sql: format!("({expression} = \0)"), parameters: vec![cell] },
    }
}

fn never() -> Condition {
    Condition { sql: "(1 = 0)".to_owned(), parameters: Vec::new() }
}
