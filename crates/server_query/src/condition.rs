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
    /// On columns of other tables, with these.
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
                (None, _) => conditions.rest.extend(filters.into_iter().cloned()),
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

fn column_is_quoted(dimension: Dimension) -> bool {
    matches!(
        dimension,
        Dimension::CommandLine | Dimension::ParentCommandLine | Dimension::GrandparentCommandLine
    )
}

/// Whether a column has a value: true or false, never null, so that NOT can negate it.
fn equality(dimension: Dimension, value: &Value, dialect: Dialect) -> Condition {
    let column = Column::of(dimension);
    let expression = if dimension == Dimension::Time { "time" } else { column.expression };
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
        Some(cell @ Cell::Bytes(_)) => {
            Condition { sql: format!("COALESCE({expression} = \0, FALSE)"), parameters: vec![cell] }
        }
        Some(cell) => Condition { sql: format!("({expression} = \0)"), parameters: vec![cell] },
    }
}

fn never() -> Condition {
    Condition { sql: "(1 = 0)".to_owned(), parameters: Vec::new() }
}
