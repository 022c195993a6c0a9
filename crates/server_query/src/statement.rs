//! A query as one statement.

use export::{Cell, Dialect, Kind};
use store::{Dimension, Query};

use crate::{
    column::{BUCKET, Column, Table},
    condition::{Condition, Conditions},
    sums::Plan,
};

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
    /// Compiles a query for the records from `since` to `until`, or for what `plan` has in their place. `bucket` is the expression of
    /// the time over a column with this name, if the query needs it, and at most `max_rows` rows are returned.
    pub fn new(
        query: &Query,
        conditions: &Conditions,
        (since, until): (i64, i64),
        bucket: impl Fn(&str) -> Option<String>,
        plan: Option<&Plan>,
        (dialect, max_rows): (Dialect, usize),
    ) -> Self {
        let (columns, keys, tables) = used(query, conditions);
        let mut builder = Builder::new(dialect);
        let inner_keys = |time: &str| -> Vec<String> {
            let key = |key: &&str| match (*key, bucket(time)) {
                (BUCKET, Some(expression)) => format!("{expression} AS {BUCKET}"),
                (key, _) => key.to_owned(),
            };
            keys.iter().map(key).collect()
        };
        let inner_sums = ["connections", "sent", "received"].map(|name| format!("SUM({name}) AS {name}"));
        let group = clause(" GROUP BY ", &keys.join(", "));
        let inner = match plan {
            None => {
                let inner_times = ["MIN(time) AS first_time", "MAX(time) AS last_time"].map(str::to_owned);
                let range = Condition {
                    sql: "time BETWEEN \0 AND \0".to_owned(),
                    parameters: vec![Cell::Integer(since), Cell::Integer(until)],
                };
                let inner_where =
                    [vec![builder.add(&range)], builder.add_all(&conditions.on_records())].concat();
                format!(
                    "SELECT {} FROM picosnitch_record WHERE {}{group}",
                    [&inner_keys("time")[..], &inner_sums, &inner_times].concat().join(", "),
                    inner_where.join(" AND "),
                )
            }
            Some(plan) => {
                let parts: Vec<String> = plan
                    .parts()
                    .into_iter()
                    .map(|part| {
                        let [first, last] = part.times;
                        let values = ["connections", "sent", "received"].map(str::to_owned);
                        let times = [format!("{first} AS first_time"), format!("{last} AS last_time")];
                        let of_record = builder.add_all(&conditions.on_records());
                        format!(
                            "SELECT {} FROM {} WHERE {}",
                            [&inner_keys(part.time)[..], &values, &times].concat().join(", "),
                            part.table,
                            [vec![part.condition], of_record].concat().join(" AND ")
                        )
                    })
                    .collect();
                let own_keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
                let inner_times =
                    ["MIN(first_time) AS first_time", "MAX(last_time) AS last_time"].map(str::to_owned);
                format!(
                    "SELECT {} FROM ({}) u{group}",
                    [&own_keys[..], &inner_sums, &inner_times].concat().join(", "),
                    parts.join(" UNION ALL ")
                )
            }
        };
        let (selected, grouped): (Vec<String>, Vec<String>) =
            columns.iter().map(|dimension| Column::of(*dimension).grouped(dialect)).unzip();
        let sums = ["connections", "sent", "received"].map(|column| dialect.sum(&format!("r.{column}")));
        let times = ["MIN(r.first_time)".to_owned(), "MAX(r.last_time)".to_owned()];
        let joins: Vec<&str> = tables.iter().map(|table| table.join()).collect();
        let sql = format!(
            "SELECT {} FROM ({inner}) r {}{} LIMIT {}",
            [&selected[..], &sums, &times].concat().join(", "),
            joins.join(" "),
            clause(" GROUP BY ", &grouped.join(", ")),
            max_rows.saturating_add(1)
        );
        let kinds = columns.iter().map(|dimension| Column::of(*dimension).kind);
        let kinds = kinds.chain([Kind::Integer; SUMS]).collect();
        Self { sql, parameters: builder.parameters, kinds, columns }
    }
}

/// The columns of a record that a query needs besides the time; with that of a filter on the time.
pub(crate) fn record_keys(query: &Query, conditions: &Conditions) -> Vec<&'static str> {
    let (_, mut keys, _) = used(query, conditions);
    keys.retain(|key| *key != BUCKET);
    keys.extend(&conditions.record_columns);
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// The dimensions whose values a statement returns, the columns of records that lead to them, and the tables.
fn used(query: &Query, conditions: &Conditions) -> (Vec<Dimension>, Vec<&'static str>, Vec<Table>) {
    let columns = columns_of(query, conditions);
    let (mut keys, mut tables): (Vec<&str>, Vec<Table>) = (Vec::new(), Vec::new());
    for table in columns.iter().filter_map(|dimension| Column::of(*dimension).table) {
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
    (columns, keys, tables)
}

/// The dimensions whose values a statement returns, each column once.
pub(crate) fn columns_of(query: &Query, conditions: &Conditions) -> Vec<Dimension> {
    let mut columns: Vec<Dimension> = Vec::new();
    let find = query.find.as_ref().and_then(store::Find::dimension);
    for dimension in query.group_by.iter().copied().chain(conditions.dimensions()).chain(find) {
        let is_same = |other: &Dimension| Column::of(*other).expression == Column::of(dimension).expression;
        if !columns.iter().any(is_same) {
            columns.push(dimension);
        }
    }
    columns
}

/// What one part of a plan reads.
struct Part {
    table: &'static str,
    condition: String,
    /// The column with a time in the part of the calendar.
    time: &'static str,
    /// The columns with the times of the first and the last record.
    times: [&'static str; 2],
}

impl Plan {
    fn parts(&self) -> Vec<Part> {
        let record =
            |condition| Part { table: "picosnitch_record", condition, time: "time", times: ["time", "time"] };
        let sums = Part {
            table: "picosnitch_sum",
            condition: format!("kind = {} AND {}", self.kind.number(), within("start", &self.summed)),
            time: "start",
            times: ["first_time", "last_time"],
        };
        let behind: Vec<String> = self
            .claims
            .iter()
            .map(|(log, window)| format!("log = {log} AND window_number > {window}"))
            .collect();
        let behind = record(format!("{} AND ({})", within("time", &self.behind), behind.join(" OR ")));
        let mut parts = vec![sums, behind];
        if !self.recorded.is_empty() {
            parts.push(record(within("time", &self.recorded)));
        }
        parts
    }
}

/// The condition that a column has a time in one of some spans.
pub(crate) fn within(column: &str, spans: &[(i64, i64)]) -> String {
    let spans: Vec<String> =
        spans.iter().map(|(first, last)| format!("{column} BETWEEN {first} AND {last}")).collect();
    format!("({})", spans.join(" OR "))
}

impl Table {
    /// The table, and those that lead to it.
    pub fn needs(self) -> Vec<Self> {
        match self {
            Self::Program | Self::Parent | Self::Grandparent => vec![Self::Context, self],
            Self::Log | Self::Context | Self::Endpoint => vec![self],
        }
    }
}

/// Gives parameters the placeholders of a dialect.
pub(crate) struct Builder {
    dialect: Dialect,
    pub parameters: Vec<Cell>,
}

impl Builder {
    pub fn new(dialect: Dialect) -> Self {
        Self { dialect, parameters: Vec::new() }
    }

    pub fn add(&mut self, condition: &Condition) -> String {
        let mut parts = condition.sql.split('\0');
        let mut sql = parts.next().unwrap_or_default().to_owned();
        for (part, parameter) in parts.zip(&condition.parameters) {
            self.parameters.push(parameter.clone());
            sql += &self.dialect.placeholder(self.parameters.len());
            sql += part;
        }
        sql
    }

    fn add_all(&mut self, conditions: &[Condition]) -> Vec<String> {
        conditions.iter().map(|condition| self.add(condition)).collect()
    }
}

pub(crate) fn clause(keyword: &str, content: &str) -> String {
    if content.is_empty() { String::new() } else { format!("{keyword}{content}") }
}
