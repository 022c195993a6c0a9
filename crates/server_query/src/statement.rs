//! A query as one statement.

use export::{Cell, Dialect, Kind};
use store::{Dimension, Query};

use crate::{
    column::{BUCKET, Column, Table},
    condition::{Condition, Conditions},
};

/// The largest number of a column: sums that are larger stop there, as those of the log do far above.
const MAX_SUM: i64 = i64::MAX;
/// Columns behind those of the values: connections, bytes sent, bytes received, and the times of the first and the last record.
pub(crate) const SUMS: usize = 5;

/// A statement that adds up records, and how its rows are read.
#[derive(Debug)]
pub(crate) struct Statement {
    pub sql: String,
    pub parameters: Vec<Cell>,
    /// The kinds of all columns.
    pub kinds: Vec<Kind>,
    /// The dimensions whose values the first columns have. All dimensions of time have the one of the bucket.
    pub columns: Vec<Dimension>,
}

impl Statement {
    /// Compiles a query for the records from `since` to `until`. `bucket` is the expression of the time, if the query needs it, and
    /// at most `max_rows` rows are returned.
    pub fn new(
        query: &Query,
        conditions: &Conditions,
        (since, until): (i64, i64),
        bucket: Option<&str>,
        (dialect, max_rows): (Dialect, usize),
    ) -> Self {
        let mut columns: Vec<Dimension> = Vec::new();
        let find = query.find.as_ref().and_then(store::Find::dimension);
        for dimension in query.group_by.iter().copied().chain(conditions.dimensions()).chain(find) {
            let is_same =
                |other: &Dimension| Column::of(*other).expression == Column::of(dimension).expression;
            if !columns.iter().any(is_same) {
                columns.push(dimension);
            }
        }
        let (mut keys, mut tables): (Vec<&str>, Vec<Table>) = (Vec::new(), Vec::new());
        let used = columns.iter().map(|dimension| Column::of(*dimension).table);
        let filtered = conditions.of_tables.iter().map(|(table, _)| Some(*table));
        for table in used.chain(filtered).flatten() {
            tables.extend(table.needs());
        }
        tables.sort_unstable();
        tables.dedup();
        let own = columns.iter().map(|dimension| Column::of(*dimension).key());
        for key in own.chain(tables.iter().map(|table| table.key())) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let mut builder = Builder { dialect, parameters: Vec::new() };
        let inner_keys: Vec<String> = keys
            .iter()
            .map(|key| match (*key, bucket) {
                (BUCKET, Some(expression)) => format!("{expression} AS {BUCKET}"),
                (key, _) => key.to_owned(),
            })
            .collect();
        let range = Condition {
            sql: "time BETWEEN \0 AND \0".to_owned(),
            parameters: vec![Cell::Integer(since), Cell::Integer(until)],
        };
        let mut inner_where = vec![builder.add(&range)];
        inner_where.extend(conditions.of_record.iter().map(|condition| builder.add(condition)));
        let outer_where: Vec<String> =
            conditions.of_tables.iter().map(|(_, condition)| builder.add(condition)).collect();
        let (selected, grouped): (Vec<String>, Vec<String>) =
            columns.iter().map(|dimension| Column::of(*dimension).grouped(dialect)).unzip();
        let sums = ["connections", "sent", "received"].map(|column| sum(column, dialect));
        let times = ["MIN(r.first_time)".to_owned(), "MAX(r.last_time)".to_owned()];
        let inner_sums = ["connections", "sent", "received"].map(|name| format!("SUM({name}) AS {name}"));
        let inner_times = ["MIN(time) AS first_time", "MAX(time) AS last_time"].map(str::to_owned);
        let joins: Vec<&str> = tables.iter().map(|table| table.join()).collect();
        let sql = format!(
            "SELECT {} FROM (SELECT {} FROM picosnitch_record WHERE {}{}) r {}{}{} LIMIT {}",
            [&selected[..], &sums, &times].concat().join(", "),
            [&inner_keys[..], &inner_sums, &inner_times].concat().join(", "),
            inner_where.join(" AND "),
            clause(" GROUP BY ", &keys.join(", ")),
            joins.join(" "),
            clause(" WHERE ", &outer_where.join(" AND ")),
            clause(" GROUP BY ", &grouped.join(", ")),
            max_rows.saturating_add(1)
        );
        let kinds = columns.iter().map(|dimension| Column::of(*dimension).kind);
        let kinds = kinds.chain([Kind::Integer; SUMS]).collect();
        Self { sql, parameters: builder.parameters, kinds, columns }
    }
}

impl Table {
    /// The table, and those that lead to it.
    fn needs(self) -> Vec<Self> {
        match self {
            Self::Program | Self::Parent | Self::Grandparent => vec![Self::Context, self],
            Self::Log | Self::Context | Self::Endpoint => vec![self],
        }
    }
}

/// Gives parameters the placeholders of a dialect.
struct Builder {
    dialect: Dialect,
    parameters: Vec<Cell>,
}

impl Builder {
    fn add(&mut self, condition: &Condition) -> String {
        let mut parts = condition.sql.split('\0');
        let mut sql = parts.next().unwrap_or_default().to_owned();
        for (part, parameter) in parts.zip(&condition.parameters) {
            self.parameters.push(parameter.clone());
            sql += &self.dialect.placeholder(self.parameters.len());
            sql += part;
        }
        sql
    }
}

/// The sum of a column as a number of 64 bits.
fn sum(column: &str, dialect: Dialect) -> String {
    let type_name = match dialect {
        Dialect::PostgreSql => "BIGINT",
        Dialect::MySql => "SIGNED",
    };
    format!("CAST(LEAST(COALESCE(SUM(r.{column}), 0), {MAX_SUM}) AS {type_name})")
}

fn clause(keyword: &str, content: &str) -> String {
    if content.is_empty() { String::new() } else { format!("{keyword}{content}") }
}
