//! A query as one statement of ClickHouse, in the SQL that its version 18 knows: one join in a SELECT, with a subquery.

use std::collections::BTreeSet;

use export::{Dialect, ExportError, Kind, Repeated, Server};
use store::{Dimension, Query};

use crate::{
    column::{BUCKET, Column, Table},
    condition::{Condition, Conditions},
    statement::{Builder, SUMS, Statement, clause, columns_of, within},
    sums::{Plan, last_claimed},
};

const COUNTERS: [&str; 3] = ["connections", "sent", "received"];

const READING_ENDS: &str = "cannot read when records begin and end";
/// A time of which all records are read for the first or the last one, seconds: a fleet has millions in it.
const HOUR: i64 = 3600;

/// The times of the first and the last record. There is no index at whose ends to look, but records of a time are found quickly: so it
/// begins where the windows begin and end, though these may be there when their records were dropped.
pub(crate) async fn extent(server: &mut Server) -> Result<Option<(i64, i64)>, ExportError> {
    let Some((begin, end)) = ends(server, "picosnitch_window", "1 = 1").await? else { return Ok(None) };
    let (early, late) = (begin.saturating_add(HOUR), end.saturating_sub(HOUR));
    let found = records(server, &[(begin, early), (late, end)]).await?;
    if let Some((first, last)) = found.filter(|(first, last)| *first <= early && late <= *last) {
        return Ok(Some((first, last)));
    }
    let first = narrowed(server, (begin, end), End::First).await?;
    let last = narrowed(server, (begin, end), End::Last).await?;
    records(server, &[first, last]).await
}

/// One of the two ends of the records.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    First,
    Last,
}

/// Halves a time until it is short; the first or the last record of it stays in it.
async fn narrowed(
    server: &mut Server,
    (mut from, mut to): (i64, i64),
    end: End,
) -> Result<(i64, i64), ExportError> {
    while to.saturating_sub(from) > HOUR {
        let middle = from + to.saturating_sub(from) / 2;
        let (near, far) = match end {
            End::First => ((from, middle), (middle + 1, to)),
            End::Last => ((middle + 1, to), (from, middle)),
        };
        let sql = format!("SELECT 1 FROM picosnitch_record WHERE {} LIMIT 1", within("time", &[near]));
        let is_empty = server.select(&sql, &[], &[Kind::Integer], READING_ENDS).await?.is_empty();
        (from, to) = if is_empty { far } else { near };
    }
    Ok((from, to))
}

/// The times of the first and the last record of some spans.
async fn records(server: &mut Server, spans: &[(i64, i64)]) -> Result<Option<(i64, i64)>, ExportError> {
    ends(server, "picosnitch_record", &within("time", spans)).await
}

async fn ends(server: &mut Server, table: &str, condition: &str) -> Result<Option<(i64, i64)>, ExportError> {
    // Without rows there would be the zeros of nothing.
    let sql = format!("SELECT min(time), max(time) FROM {table} WHERE {condition} HAVING count() > 0");
    let rows = server.select(&sql, &[], &[Kind::Integer; 2], READING_ENDS).await?;
    let Some([first, last]) = rows.first().map(Vec::as_slice) else { return Ok(None) };
    Ok(first.integer().zip(last.integer()))
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
    /// The sums that are asked in place of records.
    pub plan: Option<&'a Plan>,
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
        let times = ["MIN(begin_time) AS first_time", "MAX(end_time) AS last_time"].map(str::to_owned);
        let selected: Vec<String> = selected.chain(sums).chain(rough).chain(times).collect();
        let grouped: Vec<&str> = keys.iter().map(|(_, alias)| alias.as_str()).collect();
        format!(
            "SELECT {} FROM ({}){} HAVING count() > 0",
            selected.join(", "),
            self.parts(&needed(keys, columns), builder).join(" UNION ALL "),
            clause(" GROUP BY ", &grouped.join(", ")),
        )
    }

    /// The statements that together have each record of the range once, by itself or in a sum.
    fn parts(&self, names: &BTreeSet<&str>, builder: &mut Builder) -> Vec<String> {
        let names: Vec<&str> = names.iter().copied().collect();
        let names = names.join(", ");
        let mut records = |spans: &[(i64, i64)], condition: &str| {
            self.repeated.parts(|table, repeated| {
                format!(
                    "SELECT time, {names}, time AS begin_time, time AS end_time FROM {table} WHERE {}{condition}{}{repeated}",
                    within("time", spans),
                    self.conditions(builder)
                )
            })
        };
        let Some(plan) = self.plan else { return records(&[self.range], "") };
        let last_claimed = last_claimed(&plan.claims);
        let mut parts = Vec::new();
        if !plan.recorded.is_empty() {
            parts.extend(records(&plan.recorded, ""));
        }
        if !plan.behind.is_empty() {
            parts.extend(records(&plan.behind, &format!(" AND window_number > {last_claimed}")));
        }
        let kind = plan.kind.number();
        let void: Vec<String> = plan.void.iter().map(i64::to_string).collect();
        let void = match void.is_empty() {
            true => String::new(),
            false => format!(" AND attempt NOT IN ({})", void.join(", ")),
        };
        // Claims that were made since the others were read do not count: the records of their windows do.
        parts.push(format!(
            "SELECT start AS time, {names}, first_time AS begin_time, last_time AS end_time FROM picosnitch_sum \
             WHERE kind = {kind} AND {} AND last_window <= {last_claimed} \
             AND attempt GLOBAL IN (SELECT attempt FROM picosnitch_sum_claim WHERE kind = {kind}){void}{}",
            within("start", &plan.summed),
            self.conditions(builder)
        ));
        parts
    }

    /// The conditions on records and sums, each after AND.
    fn conditions(&self, builder: &mut Builder) -> String {
        let of_tables =
            self.conditions.of_tables.iter().map(|(table, condition)| of_record(*table, condition));
        let of_record = self.conditions.of_record.iter().cloned();
        of_record.chain(of_tables).map(|condition| format!(" AND {}", builder.add(&condition))).collect()
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

/// The columns of records that are added up by keys, besides the time.
fn needed<'a>(keys: &'a [(String, String)], columns: &[Dimension]) -> BTreeSet<&'a str> {
    let mut names: BTreeSet<&str> = COUNTERS.into_iter().collect();
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
    names
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
