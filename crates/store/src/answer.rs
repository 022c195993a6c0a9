//! Answering a question: which ids the filters let through, the sums by id, and the values behind the ids.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
    sync::atomic::AtomicBool,
};

use rusqlite::{Connection, types::Value as Sql};

use super::{
    adder::{Adder, Keep},
    dimension::{Dimension, Filter, Value, Wanted},
    intern::octets,
    query::{Query, Sort},
    reader::{Row, value},
    rollup::LEVELS,
    sums::{Key, Parts},
};
use model::Counters;

/// A part of a record's key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    ProcessContext,
    Endpoint,
    Time,
    Port,
    LocalPort,
}

/// Where the values of a dimension are.
struct Place {
    part: Part,
    /// The column of `context` or `endpoint`.
    column: &'static str,
    /// The table that the column leads to, and the column there; without one the column is the value.
    table: Option<(&'static str, &'static str)>,
}

impl Dimension {
    fn place(self) -> Place {
        let context =
            |column, table, value| Place { part: Part::ProcessContext, column, table: Some((table, value)) };
        let endpoint =
            |column, table, value| Place { part: Part::Endpoint, column, table: Some((table, value)) };
        let own = |part, column| Place { part, column, table: None };
        match self {
            Self::Executable => context("program", "program", "path"),
            Self::Name => context("program", "program", "name"),
            Self::CommandLine => context("program", "program", "command_line"),
            Self::Sha256 => context("program", "program", "sha256"),
            Self::ParentExecutable => context("parent", "program", "path"),
            Self::ParentName => context("parent", "program", "name"),
            Self::ParentCommandLine => context("parent", "program", "command_line"),
            Self::ParentSha256 => context("parent", "program", "sha256"),
            Self::GrandparentExecutable => context("grandparent", "program", "path"),
            Self::GrandparentName => context("grandparent", "program", "name"),
            Self::GrandparentCommandLine => context("grandparent", "program", "command_line"),
            Self::GrandparentSha256 => context("grandparent", "program", "sha256"),
            Self::Cgroup => context("cgroup", "cgroup", "path"),
            Self::Unit => context("cgroup", "cgroup", "unit"),
            Self::Container => context("cgroup", "cgroup", "container"),
            Self::App => context("cgroup", "cgroup", "app"),
            Self::Country => endpoint("country", "country", "name"),
            Self::Asn => endpoint("network", "network", "number"),
            Self::Network => endpoint("network", "network", "name"),
            Self::Uid => own(Part::ProcessContext, "uid"),
            Self::NetworkNamespace => own(Part::ProcessContext, "network_namespace"),
            Self::Protocol => own(Part::Endpoint, "protocol"),
            Self::Family => own(Part::Endpoint, "family"),
            Self::Domain => endpoint("domain", "domain", "name"),
            Self::DomainSource => own(Part::Endpoint, "domain_source"),
            Self::Address => endpoint("remote_address", "address", "bytes"),
            Self::LocalAddress => endpoint("local_address", "address", "bytes"),
            Self::Port => own(Part::Port, ""),
            Self::LocalPort => own(Part::LocalPort, ""),
            Self::Time => own(Part::Time, ""),
        }
    }
}

impl Part {
    fn table(self) -> Option<&'static str> {
        match self {
            Self::ProcessContext => Some("context"),
            Self::Endpoint => Some("endpoint"),
            _ => None,
        }
    }

    fn of(self, key: &Key) -> i64 {
        match self {
            Self::ProcessContext => key.context,
            Self::Endpoint => key.endpoint,
            Self::Time => key.time,
            Self::Port => key.port.into(),
            Self::LocalPort => key.local_port.into(),
        }
    }
}

fn parts(dimensions: impl Iterator<Item = Dimension>) -> Parts {
    let mut parts = Parts::default();
    for dimension in dimensions {
        *match dimension.place().part {
            Part::ProcessContext => &mut parts.context,
            Part::Endpoint => &mut parts.endpoint,
            Part::Time => &mut parts.time,
            Part::Port => &mut parts.port,
            Part::LocalPort => &mut parts.local_port,
        } = true;
    }
    parts
}

/// Answers a question: the rows, and the sum of all of them, also of those beyond the limit. Must run in a transaction:
/// the answer is made of several statements.
pub(super) fn rows(
    connection: &Connection,
    query: &Query,
    interrupted: &AtomicBool,
) -> rusqlite::Result<(Vec<Row>, Counters)> {
    let sieve = Sieve::new(connection, &query.filters)?;
    let by = parts(query.group_by.iter().copied());
    let (since, until) = query.range.bounds();
    let edges = [since, until.saturating_add(1)];
    let sums = Adder::new(connection, &edges, (by, sieve.looks_at), &sieve, interrupted).add(LEVELS.len())?;
    let mut total = Counters::default();
    sums.iter().for_each(|(_, counters)| total += *counters);
    if query.group_by.is_empty() {
        let row = Row { values: Vec::new(), counters: total };
        return Ok((if query.limit == Some(0) { Vec::new() } else { vec![row] }, total));
    }
    let columns = columns(connection, &query.group_by, sums.iter().map(|(key, _)| key))?;
    let mut groups: HashMap<Vec<i64>, Counters, foldhash::fast::FixedState> = HashMap::default();
    let mut group = Vec::with_capacity(columns.len());
    for (key, counters) in &sums {
        group.clear();
        group.extend(columns.iter().map(|column| column.code(key)));
        match groups.get_mut(&group) {
            Some(sum) => *sum += *counters,
            None => drop(groups.insert(group.clone(), *counters)),
        }
    }
    drop(sums);
    let mut groups: Vec<(Vec<i64>, Counters)> = groups.into_iter().collect();
    sort(query, &mut groups);
    let limit = query.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    groups.truncate(limit);
    let row = |(codes, counters): (Vec<i64>, Counters)| {
        let values = codes.into_iter().zip(&columns).map(|(code, column)| column.value(code)).collect();
        Row { values, counters }
    };
    Ok((groups.into_iter().map(row).collect(), total))
}

/// The sums between each two of `edges`, which grow: from the first second to the one before the second, and so on.
pub(super) fn series(
    connection: &Connection,
    (filters, edges): (&[Filter], &[i64]),
    interrupted: &AtomicBool,
) -> rusqlite::Result<Vec<Counters>> {
    let sieve = Sieve::new(connection, filters)?;
    let adder = Adder::new(connection, edges, (Parts::default(), sieve.looks_at), &sieve, interrupted);
    let mut pieces = vec![Counters::default(); edges.len().saturating_sub(1)];
    for (key, counters) in adder.by_piece().add(LEVELS.len())? {
        if let Some(piece) = usize::try_from(key.time).ok().and_then(|number| pieces.get_mut(number)) {
            *piece = counters;
        }
    }
    Ok(pieces)
}

/// Codes sort as their values do, so equal counters come in the order of the values.
fn sort(query: &Query, groups: &mut [(Vec<i64>, Counters)]) {
    let bytes = |counters: &Counters| counters.sent.saturating_add(counters.received);
    match query.sort {
        Sort::Connections => groups
            .sort_unstable_by(|a, b| (Reverse(a.1.connections), &a.0).cmp(&(Reverse(b.1.connections), &b.0))),
        Sort::Sent => {
            groups.sort_unstable_by(|a, b| (Reverse(a.1.sent), &a.0).cmp(&(Reverse(b.1.sent), &b.0)))
        }
        Sort::Received => {
            groups.sort_unstable_by(|a, b| (Reverse(a.1.received), &a.0).cmp(&(Reverse(b.1.received), &b.0)));
        }
        Sort::Dimension(dimension) if query.group_by.contains(&dimension) => {
            let at = query.group_by.iter().position(|grouped| *grouped == dimension).unwrap_or(0);
            groups.sort_unstable_by(|a, b| (a.0[at], &a.0).cmp(&(b.0[at], &b.0)));
        }
        // Ordering by what is not grouped by would order by an arbitrary record of each group.
        Sort::Total | Sort::Dimension(_) => groups.sort_unstable_by(|a, b| {
            let key = |group: &(Vec<i64>, Counters)| (Reverse(bytes(&group.1)), Reverse(group.1.connections));
            key(a).cmp(&key(b)).then_with(|| a.0.cmp(&b.0))
        }),
    }
}

/// One dimension of an answer.
struct Column {
    part: Part,
    /// By id: the place of its value among `values`. `None`: the part is the value.
    codes: Option<HashMap<i64, i64, foldhash::fast::FixedState>>,
    /// Sorted.
    values: Vec<Value>,
}

impl Column {
    fn code(&self, key: &Key) -> i64 {
        let id = self.part.of(key);
        match &self.codes {
            Some(codes) => codes.get(&id).copied().unwrap_or(-1),
            None => id,
        }
    }

    fn value(&self, code: i64) -> Value {
        if self.codes.is_none() {
            return Value::Integer(code);
        }
        usize::try_from(code).ok().and_then(|code| self.values.get(code).cloned()).unwrap_or(Value::None)
    }
}

fn columns<'a>(
    connection: &Connection,
    dimensions: &[Dimension],
    keys: impl Iterator<Item = &'a Key> + Clone,
) -> rusqlite::Result<Vec<Column>> {
    let column = |dimension: &Dimension| {
        let Place { part, column, table } = dimension.place();
        let Some(side) = part.table() else {
            return Ok(Column { part, codes: None, values: Vec::new() });
        };
        let ids: HashSet<i64, foldhash::fast::FixedState> = keys.clone().map(|key| part.of(key)).collect();
        let mut links = Vec::with_capacity(ids.len());
        look_up(connection, (side, column), &ids, |id, found| {
            if let rusqlite::types::ValueRef::Integer(link) = found {
                links.push((id, link));
            }
        })?;
        let mut by_link: HashMap<i64, Value, foldhash::fast::FixedState> = HashMap::default();
        match table {
            None => by_link.extend(links.iter().map(|(_, link)| (*link, Value::Integer(*link)))),
            Some(table) => {
                let wanted = links.iter().map(|(_, link)| *link).collect();
                look_up(connection, table, &wanted, |link, found| {
                    by_link.insert(link, value(*dimension, found));
                })?;
            }
        }
        let mut values: Vec<Value> = by_link.values().cloned().chain([Value::None]).collect();
        values.sort_unstable();
        values.dedup();
        let code = |value: &Value| values.binary_search(value).map_or(-1, |code| code as i64);
        let by_link: HashMap<i64, i64, foldhash::fast::FixedState> =
            by_link.iter().map(|(link, value)| (*link, code(value))).collect();
        let none = code(&Value::None);
        let codes = links.into_iter().map(|(id, link)| (id, by_link.get(&link).copied().unwrap_or(none)));
        Ok(Column { part, codes: Some(codes.collect()), values })
    };
    dimensions.iter().map(column).collect()
}

/// Calls `found` with the value of a column of each of some rows of a table.
fn look_up(
    connection: &Connection,
    (table, column): (&str, &str),
    ids: &HashSet<i64, foldhash::fast::FixedState>,
    mut found: impl FnMut(i64, rusqlite::types::ValueRef<'_>),
) -> rusqlite::Result<()> {
    /// How much longer it takes to find a row than to read the next one.
    const SEEK: usize = 5;
    let last: i64 =
        connection.query_row(&format!("SELECT coalesce(max(id), 0) FROM {table}"), [], |row| row.get(0))?;
    if ids.len().saturating_mul(SEEK) > usize::try_from(last).unwrap_or(0) {
        let mut statement = connection.prepare_cached(&format!("SELECT id, {column} FROM {table}"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            if ids.contains(&id) {
                found(id, row.get_ref(1)?);
            }
        }
        return Ok(());
    }
    let mut statement = connection.prepare_cached(&format!("SELECT {column} FROM {table} WHERE id = ?1"))?;
    for id in ids {
        let mut rows = statement.query([id])?;
        if let Some(row) = rows.next()? {
            found(*id, row.get_ref(0)?);
        }
    }
    Ok(())
}

/// What the filters let through.
struct Sieve {
    looks_at: Parts,
    contexts: Option<Ids>,
    endpoints: Option<Ids>,
    numbers: Vec<Numbers>,
}

/// The filters of a dimension that is a number in the record.
struct Numbers {
    part: Part,
    excluded: Vec<i64>,
    wanted: Option<Vec<i64>>,
}

impl Sieve {
    fn new(connection: &Connection, filters: &[Filter]) -> rusqlite::Result<Self> {
        // One dimension at a time, so that its filters can be alternatives.
        let mut by_dimension: BTreeMap<Dimension, Vec<&Filter>> = BTreeMap::new();
        for filter in filters {
            by_dimension.entry(filter.dimension).or_default().push(filter);
        }
        let mut numbers = Vec::new();
        let mut sides = [("context", Vec::new(), Vec::new()), ("endpoint", Vec::new(), Vec::new())];
        for (dimension, filters) in &by_dimension {
            let place = dimension.place();
            let side = match place.part {
                Part::ProcessContext => &mut sides[0],
                Part::Endpoint => &mut sides[1],
                part => {
                    numbers.push(Numbers::new(part, filters));
                    continue;
                }
            };
            let condition = condition(&place, filters, &mut side.2);
            side.1.push(condition);
        }
        let mut ids = Vec::new();
        for (table, conditions, parameters) in sides {
            ids.push(if conditions.is_empty() {
                None
            } else {
                let sql = format!("SELECT id FROM {table} WHERE {}", conditions.join(" AND "));
                let mut statement = connection.prepare(&sql)?;
                let mut rows = statement.query(rusqlite::params_from_iter(&parameters))?;
                let mut found = Ids::default();
                while let Some(row) = rows.next()? {
                    found.insert(row.get(0)?);
                }
                Some(found)
            });
        }
        let endpoints = ids.pop().flatten();
        let contexts = ids.pop().flatten();
        Ok(Self { looks_at: parts(by_dimension.into_keys()), contexts, endpoints, numbers })
    }
}

impl Keep for &Sieve {
    #[inline]
    fn context(&self, id: i64) -> bool {
        self.contexts.as_ref().is_none_or(|ids| ids.contains(id))
    }

    #[inline]
    fn endpoint(&self, id: i64) -> bool {
        self.endpoints.as_ref().is_none_or(|ids| ids.contains(id))
    }

    #[inline]
    fn numbers(&self, key: &Key) -> bool {
        self.numbers.iter().all(|numbers| numbers.keeps(numbers.part.of(key)))
    }
}

impl Numbers {
    fn new(part: Part, filters: &[&Filter]) -> Self {
        let number = |filter: &&&Filter| match &filter.wanted {
            Wanted::Value(Value::Integer(number)) => Some(*number),
            _ => None,
        };
        let of = |exclude: bool| filters.iter().filter(move |filter| filter.exclude == exclude);
        let wanted =
            of(false).next().is_some().then(|| of(false).filter_map(|filter| number(&filter)).collect());
        Self { part, excluded: of(true).filter_map(|filter| number(&filter)).collect(), wanted }
    }

    fn keeps(&self, number: i64) -> bool {
        !self.excluded.contains(&number) && self.wanted.as_ref().is_none_or(|wanted| wanted.contains(&number))
    }
}

/// A set of ids, one bit each: filters let through anything from one to all of some hundred thousand.
#[derive(Default)]
struct Ids(Vec<u64>);

impl Ids {
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

/// The condition on a row of `context` or `endpoint`. Values are only ever bound parameters.
fn condition(place: &Place, filters: &[&Filter], parameters: &mut Vec<Sql>) -> String {
    let column = place.table.map_or(place.column, |(_, column)| column);
    let (excluded, wanted): (Vec<&&Filter>, Vec<&&Filter>) =
        filters.iter().partition(|filter| filter.exclude);
    let mut compare = |filter: &&Filter| comparison(column, &filter.wanted, parameters);
    let mut all: Vec<String> = excluded.iter().map(|filter| format!("NOT {}", compare(filter))).collect();
    if !wanted.is_empty() {
        let alternatives: Vec<_> = wanted.iter().map(|filter| compare(filter)).collect();
        all.push(format!("({})", alternatives.join(" OR ")));
    }
    let all = all.join(" AND ");
    let Some((table, _)) = place.table else { return format!("({all})") };
    // An id of 0 is no address: there is no row to compare with.
    let is_none = |filter: &&Filter| filter.wanted == Wanted::Value(Value::None);
    let any_is_none = |filters: &[&&Filter]| filters.iter().any(|filter| is_none(filter));
    let nothing = !any_is_none(&excluded) && (wanted.is_empty() || any_is_none(&wanted));
    format!(
        "CASE WHEN {link} = 0 THEN {nothing} ELSE {link} IN (SELECT id FROM {table} WHERE {all}) END",
        link = place.column,
        nothing = i32::from(nothing),
    )
}

/// A comparison that is 0 or 1, never NULL, so that NOT works on it.
fn comparison(column: &str, wanted: &Wanted, parameters: &mut Vec<Sql>) -> String {
    let mut bind = |value: Sql| {
        parameters.push(value);
        parameters.len()
    };
    match wanted {
        Wanted::Value(value) => format!("({column} IS ?{})", bind(parameter(value))),
        Wanted::Network(first, last) => {
            let (first, last) = (octets((*first).into()), octets((*last).into()));
            let length = first.len();
            let (first, last) = (bind(Sql::Blob(first)), bind(Sql::Blob(last)));
            format!("coalesce(length({column}) = {length} AND {column} BETWEEN ?{first} AND ?{last}, 0)")
        }
    }
}

/// A value as the tables hold it.
pub(super) fn parameter(value: &Value) -> Sql {
    match value {
        Value::None => Sql::Null,
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) if !bytes.contains(&0) => Sql::Text(text.to_owned()),
            _ => Sql::Blob(bytes.clone()),
        },
        Value::Integer(number) => Sql::Integer(*number),
        Value::Address(address) => Sql::Blob(octets(*address)),
        Value::Sha256(digest) => Sql::Blob(digest.0.to_vec()),
    }
}
