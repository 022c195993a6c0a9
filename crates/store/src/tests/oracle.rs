//! An independent answer: every query as one SQL statement over the records, without any rollup.

use std::collections::BTreeMap;

use jiff::{Timestamp, ToSpan};
use model::Scope;
use rusqlite::{
    Connection,
    functions::{Context, FunctionFlags},
    types::{Value as Sql, ValueRef},
};

use super::*;
use crate::{
    address_bytes::address_to_bytes,
    query::{FilterOperand, value_from_sql, value_to_sql},
};

/// The answer of the records alone.
pub(super) fn answer(connection: &Connection, query: &Query) -> Vec<Row> {
    add_functions(connection, query);
    let compiled = compile(query);
    let mut statement = connection.prepare_cached(&compiled.sql).unwrap();
    let dimensions = &query.group_by;
    let rows = statement.query_map(rusqlite::params_from_iter(&compiled.parameters), |row| {
        let values = dimensions.iter().enumerate();
        let values = values
            .map(|(index, dimension)| value_from_sql(*dimension, row.get_ref(index).unwrap()))
            .collect();
        let counter = |index| row.get(dimensions.len() + index).map(|sum: i64| sum as u64);
        Ok(Row {
            values,
            counters: Counters { connections: counter(0)?, sent: counter(1)?, received: counter(2)? },
            seen: None,
        })
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// Adds the functions that SQLite lacks: parts of the calendar, scopes, and the patterns of the query.
fn add_functions(connection: &Connection, query: &Query) {
    let zone = query.zone();
    let add = |name, arguments, function: Function| {
        connection.create_scalar_function(name, arguments, FunctionFlags::SQLITE_UTF8, move |context| {
            Ok(function(context))
        })
    };
    let calendar: Function = Box::new(move |context| {
        let (dimension, time): (String, i64) = (context.get(0).unwrap(), context.get(1).unwrap());
        Sql::Integer(calendar_value(&dimension, time, &zone))
    });
    add("calendar_value", 2, calendar).unwrap();
    let scope: Function = Box::new(|context| match context.get_raw(0) {
        ValueRef::Blob(bytes) => {
            let address = crate::address_bytes::address_from_bytes(bytes).unwrap();
            Sql::Text(Scope::of(address).name().to_owned())
        }
        _ => Sql::Null,
    });
    add("scope_of", 1, scope).unwrap();
    let find = query.find.iter().flat_map(|find| &find.alternatives);
    let filters: Vec<Filter> = query.filters.iter().chain(find).cloned().collect();
    let matches: Function = Box::new(move |context| {
        let filter = &filters[context.get::<i64>(0).unwrap() as usize];
        let FilterOperand::Pattern(pattern) = &filter.operand else { panic!("{filter:?} is no pattern") };
        Sql::Integer(pattern.matches_stored(filter.dimension, context.get_raw(1)).into())
    });
    add("matches", 2, matches).unwrap();
}

type Function = Box<dyn Fn(&Context<'_>) -> Sql + Send>;

/// The value of a dimension of the calendar, by the calendar alone.
fn calendar_value(dimension: &str, time: i64, zone: &TimeZone) -> i64 {
    let local = zone.to_datetime(Timestamp::from_second(time).unwrap());
    let date = local.date();
    let midnight = |date: jiff::civil::Date| zone.to_timestamp(date.at(0, 0, 0, 0)).unwrap().as_second();
    match dimension {
        "weekday" => local.weekday().to_monday_one_offset().into(),
        "hour-of-day" => local.hour().into(),
        "day" => midnight(date),
        "week" => {
            midnight(date.checked_sub(i64::from(local.weekday().to_monday_zero_offset()).days()).unwrap())
        }
        "month" => midnight(date.first_of_month()),
        "year" => midnight(date.first_of_year()),
        // The seconds since the hour began; after a change of half an hour it began with the change.
        _ => {
            let seconds = i64::from(local.minute()) * 60 + i64::from(local.second());
            let start = time - seconds;
            let offset = |point| zone.to_offset(Timestamp::from_second(point).unwrap()).seconds();
            match (start..=time).find(|point| offset(*point) != offset(start)) {
                Some(change) if (offset(start) - offset(time)) % 3600 != 0 => change,
                _ => start,
            }
        }
    }
}

/// An SQL statement with its parameters.
#[derive(Debug)]
struct Compiled {
    sql: String,
    parameters: Vec<Sql>,
}

/// The table with the values of a dimension.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Table {
    Record,
    Context,
    Program,
    Parent,
    Grandparent,
    Cgroup,
    Endpoint,
    Domain,
    Country,
    Network,
    RemoteAddress,
    LocalAddress,
}

trait Stored {
    fn table(self) -> Table;
    fn expression(self) -> &'static str;
}

impl Stored for Dimension {
    fn table(self) -> Table {
        match self {
            Self::Executable | Self::Name | Self::CommandLine | Self::Sha256 => Table::Program,
            Self::ParentExecutable | Self::ParentName | Self::ParentCommandLine | Self::ParentSha256 => {
                Table::Parent
            }
            Self::GrandparentExecutable
            | Self::GrandparentName
            | Self::GrandparentCommandLine
            | Self::GrandparentSha256 => Table::Grandparent,
            Self::Uid | Self::NetworkNamespace => Table::Context,
            Self::Cgroup | Self::Unit | Self::Container | Self::App => Table::Cgroup,
            Self::Country => Table::Country,
            Self::Asn | Self::Network => Table::Network,
            Self::Protocol | Self::Family | Self::DomainSource => Table::Endpoint,
            Self::Domain => Table::Domain,
            Self::Address | Self::Scope => Table::RemoteAddress,
            Self::LocalAddress => Table::LocalAddress,
            Self::Port | Self::LocalPort | Self::Time => Table::Record,
            // Derived from the time of each record.
            _ => Table::Record,
        }
    }

    /// The SQL expression of the value.
    fn expression(self) -> &'static str {
        match self {
            Self::Executable => "program.path",
            Self::Name => "program.name",
            Self::CommandLine => "program.command_line",
            Self::Sha256 => "program.sha256",
            Self::ParentExecutable => "parent.path",
            Self::ParentName => "parent.name",
            Self::ParentCommandLine => "parent.command_line",
            Self::ParentSha256 => "parent.sha256",
            Self::GrandparentExecutable => "grandparent.path",
            Self::GrandparentName => "grandparent.name",
            Self::GrandparentCommandLine => "grandparent.command_line",
            Self::GrandparentSha256 => "grandparent.sha256",
            Self::Uid => "context.uid",
            Self::NetworkNamespace => "context.network_namespace",
            Self::Cgroup => "cgroup.path",
            Self::Unit => "cgroup.unit",
            Self::Container => "cgroup.container",
            Self::App => "cgroup.app",
            Self::Country => "country.name",
            Self::Asn => "network.number",
            Self::Network => "network.name",
            Self::Protocol => "endpoint.protocol",
            Self::Family => "endpoint.family",
            Self::Domain => "domain.name",
            Self::DomainSource => "endpoint.domain_source",
            Self::Address => "remote.bytes",
            Self::LocalAddress => "local.bytes",
            Self::Port => "record.remote_port",
            Self::LocalPort => "record.local_port",
            Self::Scope => "scope_of(remote.bytes)",
            Self::Time => "record.time",
            Self::Hour => "calendar_value('hour', record.time)",
            Self::Day => "calendar_value('day', record.time)",
            Self::Week => "calendar_value('week', record.time)",
            Self::Month => "calendar_value('month', record.time)",
            Self::Year => "calendar_value('year', record.time)",
            Self::Weekday => "calendar_value('weekday', record.time)",
            Self::HourOfDay => "calendar_value('hour-of-day', record.time)",
            Self::Host => "0",
        }
    }
}

impl Table {
    /// The joins from the record to the table, in their order.
    fn joins(self) -> &'static [&'static str] {
        const CONTEXT: &str = "JOIN context ON context.id = record.context";
        const ENDPOINT: &str = "JOIN endpoint ON endpoint.id = record.endpoint";
        match self {
            Self::Record => &[],
            Self::Context => &[CONTEXT],
            Self::Program => &[CONTEXT, "JOIN program ON program.id = context.program"],
            Self::Parent => &[CONTEXT, "JOIN program AS parent ON parent.id = context.parent"],
            Self::Grandparent => {
                &[CONTEXT, "JOIN program AS grandparent ON grandparent.id = context.grandparent"]
            }
            Self::Cgroup => &[CONTEXT, "JOIN cgroup ON cgroup.id = context.cgroup"],
            Self::Endpoint => &[ENDPOINT],
            Self::Country => &[ENDPOINT, "JOIN country ON country.id = endpoint.country"],
            Self::Network => &[ENDPOINT, "JOIN network ON network.id = endpoint.network"],
            Self::Domain => &[ENDPOINT, "JOIN domain ON domain.id = endpoint.domain"],
            Self::RemoteAddress => {
                &[ENDPOINT, "LEFT JOIN address AS remote ON remote.id = endpoint.remote_address"]
            }
            Self::LocalAddress => {
                &[ENDPOINT, "LEFT JOIN address AS local ON local.id = endpoint.local_address"]
            }
        }
    }

    /// The column of `record` that refers to the table.
    fn key(self) -> Option<&'static str> {
        match self {
            Self::Record => None,
            Self::Context | Self::Program | Self::Parent | Self::Grandparent | Self::Cgroup => {
                Some("context")
            }
            Self::Endpoint
            | Self::Domain
            | Self::Country
            | Self::Network
            | Self::RemoteAddress
            | Self::LocalAddress => Some("endpoint"),
        }
    }
}

/// Compiles a query to SQL over the records alone.
fn compile(query: &Query) -> Compiled {
    let (since, until) = query.range.bounds();
    let mut parameters = vec![Sql::Integer(since), Sql::Integer(until)];
    let mut inner_conditions = vec!["record.time BETWEEN ?1 AND ?2".to_owned()];
    let mut conditions = Vec::new();
    let mut dimensions = query.group_by.clone();
    // The including filters of one dimension are alternatives.
    let mut by_dimension: BTreeMap<Dimension, Vec<(usize, &Filter)>> = BTreeMap::new();
    for (number, filter) in query.filters.iter().enumerate() {
        by_dimension.entry(filter.dimension).or_default().push((number, filter));
    }
    let found = query.find.iter().map(|find| {
        let numbers = query.filters.len()..;
        (find.alternatives[0].dimension, numbers.zip(&find.alternatives).collect())
    });
    for (dimension, filters) in by_dimension.into_iter().chain(found) {
        let (excluded, included): (Vec<_>, Vec<_>) =
            filters.into_iter().partition(|(_, filter)| filter.exclude);
        let mut compare = |(number, filter): &(usize, &Filter)| condition(*number, filter, &mut parameters);
        let mut both: Vec<String> =
            excluded.iter().map(|filter| format!("NOT {}", compare(filter))).collect();
        if !included.is_empty() {
            let alternatives: Vec<_> = included.iter().map(&mut compare).collect();
            both.push(format!("({})", alternatives.join(" OR ")));
        }
        if dimension.table() == Table::Record {
            inner_conditions.append(&mut both);
        } else {
            conditions.append(&mut both);
            dimensions.push(dimension);
        }
    }

    let mut keys: Vec<&str> = Vec::new();
    let mut joins: Vec<&str> = Vec::new();
    for dimension in dimensions {
        let key = dimension.table().key();
        let key = key.unwrap_or_else(|| match dimension.is_calendar() {
            true => "time",
            false => dimension.expression().trim_start_matches("record."),
        });
        if !keys.contains(&key) {
            keys.push(key);
        }
        for join in dimension.table().joins() {
            if !joins.contains(join) {
                joins.push(join);
            }
        }
    }
    let keys = keys.join(", ");
    let columns: String =
        query.group_by.iter().map(|dimension| dimension.expression().to_owned() + ", ").collect();
    let groups: Vec<_> = query.group_by.iter().map(|dimension| dimension.expression()).collect();
    let order = order(query, &groups);
    parameters.push(Sql::Integer(query.limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX))));
    let sql = format!(
        "SELECT {columns}coalesce(sum(record.connections), 0), coalesce(sum(record.sent), 0), \
             coalesce(sum(record.received), 0) \
             FROM (SELECT {inner}sum(connections) AS connections, sum(sent) AS sent, sum(received) AS received \
             FROM record WHERE {inner_where}{inner_group}) AS record {joins}{outer_where}{group} \
             ORDER BY {order} LIMIT ?{limit}",
        inner = if keys.is_empty() { String::new() } else { format!("{keys}, ") },
        inner_where = inner_conditions.join(" AND "),
        inner_group = clause(" GROUP BY ", &keys),
        joins = joins.join(" "),
        outer_where = clause(" WHERE ", &conditions.join(" AND ")),
        group = clause(" GROUP BY ", &groups.join(", ")),
        limit = parameters.len(),
    );
    Compiled { sql, parameters }
}

fn order(query: &Query, groups: &[&str]) -> String {
    const TOTAL: &str = "sum(record.sent) + sum(record.received) DESC, sum(record.connections) DESC";
    let first = match query.sort {
        Sort::Total => TOTAL,
        Sort::Connections => "sum(record.connections) DESC",
        Sort::Sent => "sum(record.sent) DESC",
        Sort::Received => "sum(record.received) DESC",
        // Sorting by a dimension that is not grouped by would sort by an arbitrary record of each group.
        Sort::Dimension(dimension) if query.group_by.contains(&dimension) => dimension.expression(),
        _ => TOTAL,
    };
    // The groups make the order unambiguous.
    [&[first], groups].concat().join(", ")
}

fn clause(keyword: &str, content: &str) -> String {
    if content.is_empty() { String::new() } else { format!("{keyword}{content}") }
}

/// A condition that is 0 or 1, never NULL, so that NOT can negate it.
fn condition(number: usize, filter: &Filter, parameters: &mut Vec<Sql>) -> String {
    let expression = filter.dimension.expression();
    let mut bind = |value: Sql| {
        parameters.push(value);
        parameters.len()
    };
    match &filter.operand {
        FilterOperand::Pattern(_) => {
            // The scope is a function of the address.
            let stored = if filter.dimension == Dimension::Scope { "remote.bytes" } else { expression };
            format!("matches({number}, {stored})")
        }
        FilterOperand::Value(value) => format!("({expression} IS ?{})", bind(value_to_sql(value))),
        FilterOperand::Network(first, last) => {
            let (first, last) = (address_to_bytes((*first).into()), address_to_bytes((*last).into()));
            let length = first.len();
            let (first, last) = (bind(Sql::Blob(first)), bind(Sql::Blob(last)));
            format!(
                "coalesce(length({expression}) = {length} AND {expression} BETWEEN ?{first} AND ?{last}, 0)"
            )
        }
    }
}
