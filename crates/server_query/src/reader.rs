//! Asks a server.

use std::collections::{BTreeMap, HashMap};

use export::{Cell, Dialect, ExportError, Kind, Repeated, ServerSettings};
use model::{Counters, Event, EventKind, Loss, add_losses, text::lossless};
use store::{
    Answer, CompareOrder, Comparison, Dimension, Filter, HostEvent, ProgramSeen, Query, Range, SeriesByGroup,
    Source, Value, calendar_value, divide_losses,
};

use crate::{
    bucket,
    clickhouse::{self, Question},
    column::{Column, value},
    condition::Conditions,
    error::ServerQueryError,
    events::{self, is_of_hosts},
    seen,
    series::{self, interval},
    session::{Connection, ServerInterrupter, Session},
    sighting::{HostSight, Sighting},
    statement::{SUMS, Statement, record_keys},
    sums::{MAX_STATEMENT_BYTES, Parts, plan},
};

/// Rows of an answer that are read at most: each takes some hundred bytes of memory.
const MAX_ROWS: usize = 2_000_000;
const READING: &str = "cannot read the records";

/// The sums of a query by the values of its dimensions, and the times of the first and the last record.
pub(crate) type Groups = HashMap<Vec<Value>, (Counters, i64, i64)>;

/// A server with copies of logs. It is asked in transactions that only read. A connection that is gone is made again by the next
/// question.
pub struct ServerReader {
    session: Session,
}

impl ServerReader {
    /// Prepares to ask a server, without connecting to it.
    ///
    /// # Errors
    /// The system has no event loop.
    pub fn new(settings: ServerSettings) -> Result<Self, ServerQueryError> {
        Ok(Self { session: Session::new(settings, MAX_ROWS)? })
    }

    /// Connects to a server, and looks whether it has the tables of copies.
    ///
    /// # Errors
    /// The server cannot be reached, has no tables that the account may read, or newer ones.
    pub fn connect(settings: ServerSettings) -> Result<Self, ServerQueryError> {
        let reader = Self::new(settings)?;
        reader.check()?;
        Ok(reader)
    }

    /// Looks whether the server has the tables of copies.
    ///
    /// # Errors
    /// As [`ServerReader::connect`].
    pub fn check(&self) -> Result<(), ServerQueryError> {
        self.session.read(async |server| check(server).await)
    }

    /// Bounds the memory of an answer: one with more different values fails with [`ServerQueryError::TooManyRows`]. To be called before
    /// the first question.
    pub fn limit_rows(&mut self, max_rows: usize) {
        self.session.max_rows = max_rows;
    }

    /// A handle for another thread to interrupt the questions of this reader.
    pub fn interrupter(&self) -> ServerInterrupter {
        self.session.interrupter()
    }

    /// The server in a sentence, without secrets.
    pub fn address(&self) -> String {
        self.session.address()
    }

    /// Returns the groups of a query with the times of their first and last records, the one that was seen first first. Its order,
    /// offset and limit do not count. Records are asked, not sums: these a machine that was taken over can write falsely for what it
    /// has sent shortly before.
    ///
    /// # Errors
    /// As [`Source::answer`].
    pub fn sightings(&self, query: &Query) -> Result<Vec<Sighting>, ServerQueryError> {
        let groups = self.session.read(async |server| {
            let asks_sums = std::mem::replace(&mut server.asks_sums, false);
            let groups = groups(server, query, query.range).await;
            server.asks_sums = asks_sums;
            groups
        })?;
        let sighting = |(values, (counters, first, last))| Sighting { values, counters, first, last };
        let mut sightings: Vec<Sighting> = groups.into_iter().map(sighting).collect();
        sightings.sort_by(|a, b| (a.first, &a.values).cmp(&(b.first, &b.values)));
        Ok(sightings)
    }

    /// Returns when each host has last sent a window or a heartbeat, the one that is silent for the longest time first.
    ///
    /// # Errors
    /// As [`Source::answer`].
    pub fn hosts(&self) -> Result<Vec<HostSight>, ServerQueryError> {
        self.session.read(async |server| hosts(server).await)
    }
}

impl Source for ServerReader {
    type Error = ServerQueryError;

    fn answer(&self, query: &Query) -> Result<Answer, ServerQueryError> {
        self.session.read(async |server| {
            let seen = seen::seen_of(server, query).await?;
            let groups = groups(server, query, query.range).await?;
            Ok(Answer::of_groups(query, counters(groups), seen.as_ref()))
        })
    }

    fn compare(
        &self,
        query: &Query,
        before: Range,
        order: CompareOrder,
    ) -> Result<Comparison, ServerQueryError> {
        self.session.read(async |server| {
            let now = groups(server, query, query.range).await?;
            let before = groups(server, query, before).await?;
            let sums = [now, before].map(|groups| counters(groups).collect());
            Ok(Comparison::of_groups(query, order, sums))
        })
    }

    fn extent(&self) -> Result<Option<(i64, i64)>, ServerQueryError> {
        self.session.read(async |server| extent(server).await)
    }

    fn detail_since(&self) -> Result<Option<i64>, ServerQueryError> {
        // A server has whole windows.
        Ok(None)
    }

    fn losses(&self, range: Range, filters: &[Filter]) -> Result<Vec<Loss>, ServerQueryError> {
        self.session.read(async |server| losses(server, range, filters).await)
    }

    fn losses_between(&self, edges: &[i64], filters: &[Filter]) -> Result<Vec<Vec<Loss>>, ServerQueryError> {
        let [begin, .., end] = edges else { return Ok(divide_losses([], edges)) };
        let range = Range { since: Some(*begin), until: Some(end.saturating_sub(1)) };
        let found = self.events(range, &[EventKind::Loss], u64::MAX, &|event| is_of_hosts(event, filters))?;
        Ok(divide_losses(found.iter().map(|found| -> &Event { &found.event }), edges))
    }

    fn series(&self, query: &Query, edges: &[i64]) -> Result<Vec<Counters>, ServerQueryError> {
        self.session.read(async |server| series::series(server, query, edges).await)
    }

    fn series_by(&self, query: &Query, edges: &[i64], top: usize) -> Result<SeriesByGroup, ServerQueryError> {
        self.session.read(async |server| series::series_by(server, query, edges, top).await)
    }

    fn events(
        &self,
        range: Range,
        kinds: &[EventKind],
        limit: u64,
        passes: &dyn Fn(&HostEvent) -> bool,
    ) -> Result<Vec<HostEvent>, ServerQueryError> {
        self.session.read(async |server| events::events(server, range, kinds, limit, passes).await)
    }

    fn programs_seen(&self, filters: &[Filter]) -> Result<Vec<ProgramSeen>, ServerQueryError> {
        self.session.read(async |server| seen::programs_seen(server, filters).await)
    }

    fn has_hosts(&self) -> bool {
        true
    }
}

/// Looks whether the tables are there.
async fn check(server: &mut Connection) -> Result<(), ServerQueryError> {
    match server.tables_version().await {
        Ok(_) => Ok(()),
        Err(error @ ExportError::Sql { .. }) => Err(ServerQueryError::NoTables(error)),
        Err(other) => Err(other.into()),
    }
}

/// The times of the first and the last record.
async fn extent(server: &mut Connection) -> Result<Option<(i64, i64)>, ServerQueryError> {
    if server.dialect() == Dialect::ClickHouse {
        return Ok(clickhouse::extent(server).await?);
    }
    // It looks at both ends of an index.
    let sql = "SELECT min(time), max(time) FROM picosnitch_record";
    let rows = server.select(sql, &[], &[Kind::Integer; 2], READING).await?;
    let Some([first, last]) = rows.first().map(Vec::as_slice) else { return Ok(None) };
    Ok(first.integer().zip(last.integer()))
}

/// The last window or heartbeat of each host. One machine may have several logs or branches; they are few.
async fn hosts(server: &mut Connection) -> Result<Vec<HostSight>, ServerQueryError> {
    let mut seen = "SELECT log, MAX(time) AS last_time FROM picosnitch_window GROUP BY log".to_owned();
    // Older tables have none.
    if !server.columns("picosnitch_heartbeat").await?.is_empty() {
        seen += " UNION ALL SELECT log, MAX(time) AS last_time FROM picosnitch_heartbeat GROUP BY log";
    }
    let sql = format!("SELECT l.host, w.last_time FROM picosnitch_log l JOIN ({seen}) w ON w.log = l.id");
    let rows = server.select(&sql, &[], &[Kind::Text, Kind::Integer], "cannot read the windows").await?;
    let mut last_times: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
    for row in rows {
        let [Cell::Text(host), Cell::Integer(time)] = &row[..] else { continue };
        let last = last_times.entry(lossless::from_text(host)).or_insert(*time);
        *last = (*last).max(*time);
    }
    let mut hosts: Vec<HostSight> =
        last_times.into_iter().map(|(host, last)| HostSight { host, last }).collect();
    hosts.sort_by_key(|host| host.last);
    Ok(hosts)
}

/// What was lost in a range on the hosts that filters select, by kind.
async fn losses(
    server: &mut Connection,
    range: Range,
    filters: &[Filter],
) -> Result<Vec<Loss>, ServerQueryError> {
    let is_wanted = |event: &HostEvent| is_of_hosts(event, filters);
    let mut losses: Vec<Loss> = Vec::new();
    for found in events::events(server, range, &[EventKind::Loss], u64::MAX, &is_wanted).await? {
        add_losses(&mut losses, found.event.loss());
    }
    losses.sort_by_key(|loss| loss.kind);
    Ok(losses)
}

/// Adds up the records of a range that match a query.
async fn groups(server: &mut Connection, query: &Query, range: Range) -> Result<Groups, ServerQueryError> {
    groups_within(server, query, range, &[]).await
}

/// As [`groups`]; with edges a time is the edge that begins the interval of the record.
pub(crate) async fn groups_within(
    server: &mut Connection,
    query: &Query,
    range: Range,
    edges: &[i64],
) -> Result<Groups, ServerQueryError> {
    let dialect = server.dialect();
    let conditions = Conditions::new(query, dialect);
    let dimensions: Vec<Dimension> = query.group_by.iter().copied().chain(conditions.dimensions()).collect();
    let (since, until) = range.bounds();
    let zone = query.zone.clone().unwrap_or(calendar::TimeZone::UTC);
    // In an interval the calendar divides further.
    let divided: Vec<Dimension> = match edges {
        [] => dimensions,
        _ => dimensions.into_iter().filter(|dimension| *dimension != Dimension::Time).collect(),
    };
    let calendar: Vec<Dimension> =
        divided.iter().copied().filter(|dimension| dimension.is_calendar()).collect();
    let is_by_time = divided.contains(&Dimension::Time) || conditions.rest_has(Dimension::Time);
    let may_sum = !is_by_time && server.has_sums().await?;
    let (mut times, mut sums) = ((since, until), None);
    if !calendar.is_empty() || may_sum {
        let Some((first, last)) = extent(server).await? else { return Ok(Groups::new()) };
        if !calendar.is_empty() {
            // The clock changes that matter are those between the first and the last record.
            times = (since.max(first), until.min(last));
        }
        if may_sum {
            let keys = record_keys(query, &conditions);
            let parts = Parts { calendar: &calendar, zone: &zone, edges };
            sums = plan(server, &keys, (since, until), (first, last), parts).await?;
        }
    }
    let bucket = |column: &str| {
        let part = bucket::expression(divided.iter().copied(), column, times, &zone);
        match (edges, part) {
            ([], part) => part,
            (edges, None) => Some(interval(column, edges)),
            // The later one is in the same interval and in the same part of the calendar as the record.
            (edges, Some(part)) => Some(format!("greatest({}, {part})", interval(column, edges))),
        }
    };
    let statement = match dialect {
        Dialect::PostgreSql | Dialect::MySql => {
            let bounds = (dialect, server.max_rows);
            Statement::new(query, &conditions, (since, until), bucket, sums.as_ref(), bounds)
        }
        Dialect::ClickHouse => {
            let repeated = &Repeated::read(server, (since, until), None).await?;
            let (conditions, bucket, plan) = (&conditions, bucket("time"), sums.as_ref());
            let (range, bucket, max_rows) = ((since, until), bucket.as_deref(), server.max_rows);
            let question = Question { query, conditions, range, bucket, repeated, plan, max_rows };
            let statement = question.statement();
            // Claims of many logs, or the times of many windows that were sent twice.
            match plan.is_some() && statement.sql.len() > MAX_STATEMENT_BYTES {
                true => Question { plan: None, ..question }.statement(),
                false => statement,
            }
        }
    };
    let rows = server.select(&statement.sql, &statement.parameters, &statement.kinds, READING).await?;
    if rows.len() > server.max_rows {
        return Err(ServerQueryError::TooManyRows {
            server: server.address().to_owned(),
            max_rows: server.max_rows,
        });
    }
    let mut groups = Groups::new();
    for mut row in rows {
        let sums = row.split_off(row.len().saturating_sub(SUMS));
        let value_of = |dimension: Dimension| {
            let expression = Column::of(dimension).expression;
            let at = statement.columns.iter().position(|other| Column::of(*other).expression == expression);
            let cell = at.and_then(|at| row.get(at)).cloned().unwrap_or(Cell::Null);
            match cell {
                Cell::Integer(point) if dimension.is_calendar() => {
                    Value::Integer(calendar_value(dimension, point, &zone))
                }
                cell => value(dimension, cell),
            }
        };
        let finds = query
            .find
            .as_ref()
            .is_none_or(|find| find.dimension().is_none_or(|dimension| find.matches(&value_of(dimension))));
        if !finds || !Filter::pass(&conditions.rest, value_of) {
            continue;
        }
        let values = query.group_by.iter().map(|dimension| value_of(*dimension)).collect();
        let time = |at: usize| sums.get(at).and_then(Cell::integer);
        // Without records there are none: it is the sum of nothing, which is no group.
        let (Some(first), Some(last)) = (time(3), time(4)) else { continue };
        let group = groups.entry(values).or_insert((Counters::default(), first, last));
        group.0 += counters_of(&sums);
        group.1 = group.1.min(first);
        group.2 = group.2.max(last);
    }
    Ok(groups)
}

/// The groups without their times.
pub(crate) fn counters(groups: Groups) -> impl Iterator<Item = (Vec<Value>, Counters)> {
    groups.into_iter().map(|(values, (counters, ..))| (values, counters))
}

fn counters_of(cells: &[Cell]) -> Counters {
    let number = |at: usize| {
        let number = cells.get(at).and_then(Cell::integer).unwrap_or(0);
        u64::try_from(number).unwrap_or(0)
    };
    Counters { connections: number(0), sent: number(1), received: number(2) }
}
