//! Asks a server.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    future::Future,
    pin::Pin,
};

use export::{Cell, ExportError, Kind, Server, ServerSettings};
use model::{Counters, Loss, LossKind, text::lossless};
use store::{
    Answer, CompareOrder, Comparison, Dimension, Filter, Query, Range, Source, Value, calendar_value,
};
use tokio::runtime::{Builder, Runtime};

use crate::{
    bucket,
    column::{Column, value},
    condition::Conditions,
    error::ServerQueryError,
    sighting::{HostSight, Sighting},
    statement::{SUMS, Statement},
};

/// Rows of an answer that are read at most: each takes some hundred bytes of memory.
const MAX_ROWS: usize = 2_000_000;
const READING: &str = "cannot read the records";

/// The sums of a query by the values of its dimensions, and the times of the first and the last record.
type Groups = HashMap<Vec<Value>, (Counters, i64, i64)>;

/// A server with copies of logs. It is asked in transactions that only read.
pub struct ServerReader {
    settings: ServerSettings,
    runtime: Runtime,
    /// `None` after an error.
    server: RefCell<Option<Server>>,
}

/// What is done with a connection in one transaction.
type Reading<'a, T> = Pin<Box<dyn Future<Output = Result<T, ServerQueryError>> + 'a>>;

impl ServerReader {
    /// Connects to a server, and looks whether it has the tables of copies.
    ///
    /// # Errors
    /// The server cannot be reached, has no tables that the account may read, or newer ones.
    pub fn connect(settings: ServerSettings) -> Result<Self, ServerQueryError> {
        let runtime =
            Builder::new_current_thread().enable_all().build().map_err(ServerQueryError::Runtime)?;
        let reader = Self { settings, runtime, server: RefCell::new(None) };
        reader.read(|server| Box::pin(check(server)))?;
        Ok(reader)
    }

    /// Returns the groups of a query with the times of their first and last records, the one that was seen first first. Its order,
    /// offset and limit do not count.
    ///
    /// # Errors
    /// As [`Source::answer`].
    pub fn sightings(&self, query: &Query) -> Result<Vec<Sighting>, ServerQueryError> {
        let query = query.clone();
        let groups =
            self.read(move |server| Box::pin(async move { groups(server, &query, query.range).await }))?;
        let sighting = |(values, (counters, first, last))| Sighting { values, counters, first, last };
        let mut sightings: Vec<Sighting> = groups.into_iter().map(sighting).collect();
        sightings.sort_by(|a, b| (a.first, &a.values).cmp(&(b.first, &b.values)));
        Ok(sightings)
    }

    /// Returns when each host has last sent a window, the one that is silent for the longest time first.
    ///
    /// # Errors
    /// As [`Source::answer`].
    pub fn hosts(&self) -> Result<Vec<HostSight>, ServerQueryError> {
        self.read(|server| Box::pin(hosts(server)))
    }

    /// Reads in one transaction, so that all statements see the same state of the tables.
    fn read<T>(
        &self,
        read: impl for<'a> FnOnce(&'a mut Server) -> Reading<'a, T>,
    ) -> Result<T, ServerQueryError> {
        let taken = self.server.borrow_mut().take();
        let (result, server) = self.runtime.block_on(async {
            let mut server = match taken {
                Some(server) => server,
                None => Server::connect(&self.settings).await?,
            };
            server.begin_read().await?;
            let result = read(&mut server).await?;
            server.execute("COMMIT", "cannot end a transaction").await?;
            Ok::<_, ServerQueryError>((result, server))
        })?;
        *self.server.borrow_mut() = Some(server);
        Ok(result)
    }
}

impl Drop for ServerReader {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.close());
        }
    }
}

impl Source for ServerReader {
    type Error = ServerQueryError;

    fn answer(&self, query: &Query) -> Result<Answer, ServerQueryError> {
        refuse_seen(query)?;
        let query = query.clone();
        self.read(move |server| {
            Box::pin(async move {
                let groups = groups(server, &query, query.range).await?;
                Ok(Answer::of_groups(&query, counters(groups)))
            })
        })
    }

    fn compare(
        &self,
        query: &Query,
        before: Range,
        order: CompareOrder,
    ) -> Result<Comparison, ServerQueryError> {
        refuse_seen(query)?;
        let query = query.clone();
        self.read(move |server| {
            Box::pin(async move {
                let now = groups(server, &query, query.range).await?;
                let before = groups(server, &query, before).await?;
                let sums = [now, before].map(|groups| counters(groups).collect());
                Ok(Comparison::of_groups(&query, order, sums))
            })
        })
    }

    fn extent(&self) -> Result<Option<(i64, i64)>, ServerQueryError> {
        self.read(|server| Box::pin(extent(server)))
    }

    fn detail_since(&self) -> Result<Option<i64>, ServerQueryError> {
        // A server has whole windows.
        Ok(None)
    }

    fn losses(&self, range: Range) -> Result<Vec<Loss>, ServerQueryError> {
        self.read(move |server| Box::pin(losses(server, range)))
    }

    fn knows_seen(&self) -> bool {
        false
    }
}

fn refuse_seen(query: &Query) -> Result<(), ServerQueryError> {
    match query.seen.is_some() || query.sort.is_by_seen() {
        true => Err(ServerQueryError::Seen),
        false => Ok(()),
    }
}

/// Looks whether the tables are there.
async fn check(server: &mut Server) -> Result<(), ServerQueryError> {
    match server.tables_version().await {
        Ok(_) => Ok(()),
        Err(error @ ExportError::Sql { .. }) => Err(ServerQueryError::NoTables(error)),
        Err(other) => Err(other.into()),
    }
}

/// The times of the first and the last record.
async fn extent(server: &mut Server) -> Result<Option<(i64, i64)>, ServerQueryError> {
    let sql = "SELECT min(time), max(time) FROM picosnitch_record";
    let rows = server.select(sql, &[], &[Kind::Integer; 2], READING).await?;
    let Some([first, last]) = rows.first().map(Vec::as_slice) else { return Ok(None) };
    Ok(first.integer().zip(last.integer()))
}

/// The last window of each host. One machine may have several logs or branches; they are few.
async fn hosts(server: &mut Server) -> Result<Vec<HostSight>, ServerQueryError> {
    let sql = "SELECT l.host, w.last_time FROM picosnitch_log l \
               JOIN (SELECT log, MAX(time) AS last_time FROM picosnitch_window GROUP BY log) w ON w.log = l.id";
    let rows = server.select(sql, &[], &[Kind::Text, Kind::Integer], "cannot read the windows").await?;
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

/// What was lost in a range, by kind.
async fn losses(server: &mut Server, range: Range) -> Result<Vec<Loss>, ServerQueryError> {
    let dialect = server.dialect();
    let sql = format!(
        "SELECT subject, amount FROM picosnitch_event WHERE kind = 'loss' AND time BETWEEN {} AND {}",
        dialect.placeholder(1),
        dialect.placeholder(2)
    );
    let (since, until) = bounds(range);
    let parameters = [Cell::Integer(since), Cell::Integer(until)];
    let rows =
        server.select(&sql, &parameters, &[Kind::Text, Kind::Integer], "cannot read what was lost").await?;
    let mut losses: Vec<Loss> = Vec::new();
    for row in rows {
        let [Cell::Text(subject), Cell::Integer(count)] = &row[..] else { continue };
        let Some(kind) = LossKind::ALL.into_iter().find(|kind| kind.name() == *subject) else { continue };
        let count = u64::try_from(*count).unwrap_or(0);
        match losses.iter_mut().find(|loss| loss.kind == kind) {
            Some(loss) => loss.count = loss.count.saturating_add(count),
            None => losses.push(Loss { kind, count }),
        }
    }
    losses.sort_by_key(|loss| loss.kind);
    Ok(losses)
}

fn bounds(range: Range) -> (i64, i64) {
    (range.since.unwrap_or(i64::MIN), range.until.unwrap_or(i64::MAX))
}

/// Adds up the records of a range that match a query.
async fn groups(server: &mut Server, query: &Query, range: Range) -> Result<Groups, ServerQueryError> {
    let dialect = server.dialect();
    let conditions = Conditions::new(query, dialect);
    let dimensions: Vec<Dimension> = query.group_by.iter().copied().chain(conditions.dimensions()).collect();
    let (since, until) = bounds(range);
    let zone = query.zone.clone().unwrap_or(calendar::TimeZone::UTC);
    // The clock changes that matter are those between the first and the last record.
    let bucket = match dimensions.iter().any(|dimension| dimension.is_calendar()) {
        false => bucket::expression(dimensions.iter().copied(), (since, until), &zone),
        true => {
            let Some((first, last)) = extent(server).await? else { return Ok(Groups::new()) };
            bucket::expression(dimensions.iter().copied(), (since.max(first), until.min(last)), &zone)
        }
    };
    let statement =
        Statement::new(query, &conditions, (since, until), bucket.as_deref(), (dialect, MAX_ROWS));
    let rows = server.select(&statement.sql, &statement.parameters, &statement.kinds, READING).await?;
    if rows.len() > MAX_ROWS {
        return Err(ServerQueryError::TooManyRows {
            server: server.address().to_owned(),
            max_rows: MAX_ROWS,
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
fn counters(groups: Groups) -> impl Iterator<Item = (Vec<Value>, Counters)> {
    groups.into_iter().map(|(values, (counters, ..))| (values, counters))
}

fn counters_of(cells: &[Cell]) -> Counters {
    let number = |at: usize| {
        let number = cells.get(at).and_then(Cell::integer).unwrap_or(0);
        u64::try_from(number).unwrap_or(0)
    };
    Counters { connections: number(0), sent: number(1), received: number(2) }
}
