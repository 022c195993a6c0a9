//! A query as one statement of ClickHouse, in the SQL that its version 18 knows: one join in a SELECT, with a subquery.
//!
//! Nothing is unique there (`export`): windows that were sent more than once are read with FINAL, which makes one of equal rows. It
//! takes several times as long, so that only the times of such windows are read with it.

use std::collections::BTreeSet;

use export::{Cell, Dialect, Kind, Server};
use store::{Dimension, Query};

use crate::{
    column::{BUCKET, Column, Table},
    condition::{Condition, Conditions},
    error::ServerQueryError,
    statement::{Builder, SUMS, Statement, clause, columns_of},
};

/// Times of repeated windows that are written into a statement. Beyond it the whole range is read with FINAL.
const MAX_REPEATED: usize = 5000;
const COUNTERS: [&str; 3] = ["connections", "sent", "received"];

/// The times of windows in a range that may be there more than once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Repeated {
    /// These, and no others.
    Times(Vec<i64>),
    /// More than are looked at.
    Many,
}

impl Repeated {
    /// Asks a server about the time from one second to another.
    pub async fn read(server: &mut Server, (since, until): (i64, i64)) -> Result<Self, ServerQueryError> {
        let p = Dialect::ClickHouse.placeholder(1);
        let sql = format!(
            "SELECT DISTINCT time FROM picosnitch_repeated WHERE time BETWEEN {p} AND {p} LIMIT {}",
            MAX_REPEATED + 1
        );
        let parameters = [Cell::Integer(since), Cell::Integer(until)];
        let doing = "cannot read which windows were sent twice";
        let rows = server.select(&sql, &parameters, &[Kind::Integer], doing).await?;
        Ok(match rows.len() > MAX_REPEATED {
            true => Self::Many,
            false => Self::Times(rows.iter().flatten().filter_map(Cell::integer).collect()),
        })
    }
}

/// What a statement is made of.
pub(crate) struct Question<'a> {
    pub query: &'a Query,
    pub conditions: &'a Conditions,
    /// The first and the last second.
    pub range: (i64, i64),
    /// The expression of the time, if the query needs it.
    pub bucket: Option<&'a str>,
    pub repeated: &'a Repeated,
    /// Rows that are returned at most.
    pub max_rows: usize,
}

impl Question<'_> {
    /// Compiles the question.
    pub fn statement(&self) -> Statement {
        let columns = columns_of(self.query, self.conditions);
        let mut tables: BTreeSet<Table> = BTreeSet::new();
        let used = columns.iter().filter_map(|dimension| Column::of(*dimension).table);
        let of_others = used.filter(|table| *table != Table::Endpoint);
        of_others.for_each(|table| tables.extend(table.needs()));
        // The values that the records have themselves, and the keys of other tables.
        let mut keys: Vec<(String, String)> = Vec::new();
        for (at, dimension) in columns.iter().enumerate() {
            if let Some(expression) = self.own_expression(*dimension) {
                keys.push((expression, format!("k{at}")));
            }
        }
        let others: BTreeSet<&str> = tables.iter().map(|table| table.key()).collect();
        keys.extend(others.into_iter().map(|key| (key.to_owned(), key.to_owned())));
        let mut builder = Builder::new(Dialect::ClickHouse);
        let mut from = format!("({})", self.inner(&keys, &columns, &mut builder));
        for table in &tables {
            let (right, key) = (right_side(*table), join_key(*table));
            from = format!("(SELECT * FROM {from} AS this ANY LEFT JOIN ({right}) AS other USING ({key}))");
        }
        let selected: Vec<String> = columns
            .iter()
            .enumerate()
            .map(|(at, dimension)| match self.own_expression(*dimension) {
                Some(_) => format!("k{at}"),
                None => Column::of(*dimension).expression_in(Dialect::ClickHouse),
            })
            .collect();
        let sums = COUNTERS.map(sum);
        let times = ["MIN(first_time)".to_owned(), "MAX(last_time)".to_owned()];
        // A sum of nothing is a row here, too.
        let sql = format!(
            "SELECT {} FROM {from}{} HAVING count() > 0 LIMIT {}",
            [&selected[..], &sums, &times].concat().join(", "),
            clause(" GROUP BY ", &selected.join(", ")),
            self.max_rows.saturating_add(1)
        );
        let kinds = columns.iter().map(|dimension| Column::of(*dimension).kind);
        let kinds = kinds.chain([Kind::Integer; SUMS]).collect();
        Statement { sql, parameters: builder.parameters, kinds, columns }
    }

    /// The expression of a dimension that the records have themselves.
    fn own_expression(&self, dimension: Dimension) -> Option<String> {
        let column = Column::of(dimension);
        match column.table {
            None if column.key() == BUCKET => self.bucket.map(str::to_owned),
            None | Some(Table::Endpoint) => Some(column.expression_in(Dialect::ClickHouse)),
            Some(_) => None,
        }
    }

    /// The statement that adds up records by keys.
    fn inner(&self, keys: &[(String, String)], columns: &[Dimension], builder: &mut Builder) -> String {
        let selected = keys.iter().map(|(expression, alias)| match expression == alias {
            true => alias.clone(),
            false => format!("{expression} AS {alias}"),
        });
        let sums = COUNTERS.map(|name| format!("SUM({name}) AS sum_{name}"));
        // As numbers that do not wrap.
        let rough = COUNTERS.map(|name| format!("SUM(toFloat64({name})) AS rough_{name}"));
        let times = ["MIN(time) AS first_time", "MAX(time) AS last_time"].map(str::to_owned);
        let selected: Vec<String> = selected.chain(sums).chain(rough).chain(times).collect();
        let grouped: Vec<&str> = keys.iter().map(|(_, alias)| alias.as_str()).collect();
        let source = match self.repeated {
            Repeated::Times(times) if times.is_empty() => {
                format!("picosnitch_record WHERE {}", self.inner_where(builder))
            }
            Repeated::Times(times) => {
                let list: Vec<String> = times.iter().map(i64::to_string).collect();
                let list = list.join(", ");
                let names = needed(keys, columns);
                let mut part = |table: &str, condition: &str| {
                    format!(
                        "SELECT {names} FROM {table} WHERE {} AND time {condition} ({list})",
                        self.inner_where(builder)
                    )
                };
                format!(
                    "({} UNION ALL {})",
                    part("picosnitch_record", "NOT IN"),
                    part("picosnitch_record FINAL", "IN")
                )
            }
            Repeated::Many => format!("picosnitch_record FINAL WHERE {}", self.inner_where(builder)),
        };
        format!(
            "SELECT {} FROM {source}{} HAVING count() > 0",
            selected.join(", "),
            clause(" GROUP BY ", &grouped.join(", ")),
        )
    }

    fn inner_where(&self, builder: &mut Builder) -> String {
        let (since, until) = self.range;
        let range = Condition {
            sql: "time BETWEEN \0 AND \0".to_owned(),
            parameters: vec![Cell::Integer(since), Cell::Integer(until)],
        };
        let of_tables =
            self.conditions.of_tables.iter().map(|(table, condition)| of_record(*table, condition));
        let of_record = self.conditions.of_record.iter().cloned();
        let all = [range].into_iter().chain(of_record).chain(of_tables);
        all.map(|condition| builder.add(&condition)).collect::<Vec<String>>().join(" AND ")
    }
}

/// A condition on another table as one on records, so that those which do not match are neither grouped nor joined.
fn of_record(table: Table, condition: &Condition) -> Condition {
    let Condition { sql, parameters } = condition;
    let parameters = parameters.clone();
    let rows = match table {
        // A record has its ends in itself.
        Table::Endpoint => return condition.clone(),
        Table::Log | Table::Context => format!("({})", right_side(table)),
        Table::Program | Table::Parent | Table::Grandparent => format!(
            "({}) AS this ANY LEFT JOIN ({}) AS other USING ({})",
            right_side(Table::Context),
            right_side(table),
            join_key(table)
        ),
    };
    // Asked once, if the tables are those of a cluster.
    let key = table.key();
    Condition { sql: format!("{key} GLOBAL IN (SELECT {key} FROM {rows} WHERE {sql})"), parameters }
}

/// The columns of records that are added up by keys.
fn needed(keys: &[(String, String)], columns: &[Dimension]) -> String {
    let mut names: BTreeSet<&str> = COUNTERS.into_iter().chain(["time"]).collect();
    names.extend(keys.iter().filter(|(expression, alias)| expression == alias).map(|(key, _)| key.as_str()));
    for dimension in columns {
        match (dimension, Column::of(*dimension)) {
            (Dimension::Domain, _) => names.extend(["domain", "domain_source"]),
            (_, Column { table: None, expression, .. }) if expression != "r.bucket" => {
                names.insert(expression.trim_start_matches("r."));
            }
            (_, Column { table: Some(Table::Endpoint), expression, .. }) => {
                names.insert(expression.trim_start_matches("e."));
            }
            _ => {}
        }
    }
    names.into_iter().collect::<Vec<&str>>().join(", ")
}

/// The column that a record, or a context that was joined to it, has in common with a table.
fn join_key(table: Table) -> &'static str {
    match table {
        Table::Log => "log",
        Table::Context => "context",
        Table::Program => "program",
        Table::Parent => "parent",
        Table::Grandparent => "grandparent",
        Table::Endpoint => "endpoint",
    }
}

/// The columns of a table under the names that expressions have for them. Those that a statement does not use are not read.
fn right_side(table: Table) -> String {
    let program = |key: &str, prefix: &str| {
        format!(
            "SELECT digest AS {key}, path AS {prefix}_path, name AS {prefix}_name, \
             command_line AS {prefix}_command_line, sha256 AS {prefix}_sha256 FROM picosnitch_program"
        )
    };
    match table {
        Table::Log => "SELECT id AS log, host AS l_host FROM picosnitch_log".to_owned(),
        Table::Context => "SELECT digest AS context, program, parent, grandparent, uid AS c_uid, \
             network_namespace AS c_network_namespace, cgroup_path AS c_cgroup_path, unit AS c_unit, \
             container AS c_container, app AS c_app FROM picosnitch_context"
            .to_owned(),
        Table::Program => program("program", "p"),
        Table::Parent => program("parent", "pp"),
        Table::Grandparent => program("grandparent", "gp"),
        Table::Endpoint => String::new(),
    }
}

/// The sum of a column; those that are larger than 64 bits stop there.
fn sum(column: &str) -> String {
    format!("if(SUM(rough_{column}) > {:e}, toInt64({}), SUM(sum_{column}))", i64::MAX as f64, i64::MAX)
}
