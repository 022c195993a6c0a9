//! Sends the windows of the log to one server, for ever.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashSet},
    convert::Infallible,
    path::PathBuf,
    time::{Duration, Instant},
};

use sqlx::error::ErrorKind;
use store::{StoreError, WholeWindow, WindowReader};
use tokio::time::sleep;

use crate::{
    announcement::{self, Session},
    batch::Batch,
    content_digest::ContentDigest,
    error::ExportError,
    position::{self, Origin, Position, Target, new_branch},
    server::{
        OnDuplicate, Server, clickhouse,
        dialect::Dialect,
        rows::Row,
        schema,
        tables::{CONTEXT, ENDPOINT, EVENT, HEARTBEAT, LOG, PROGRAM, RECORD, Table, WINDOW},
    },
    settings::ServerSettings,
    sink_state::{Failure, POLL_INTERVAL, SinkState},
    status::{SinkNews, Unsent},
    sums::{self, Sent},
};

/// A connection that was not used for so long is tried.
const PING_INTERVAL: Duration = Duration::from_secs(60);
/// Records and events of one transaction, but for the last window of it.
const MAX_RECORDS: u64 = 4000;
/// The same for a ClickHouse, which takes few large INSERTs better than many small ones.
const MAX_RECORDS_OF_CLICKHOUSE: u64 = 10_000;
/// Pause between two looks for windows that are twice on replicas of a ClickHouse.
const LOOK_INTERVAL: Duration = Duration::from_secs(3600);
/// Rows of other tables that the server is known to have. A full cache is emptied.
const MAX_KNOWN: usize = 50_000;

const SENDING_WINDOWS: &str = "cannot send windows";
const SENDING_RECORDS: &str = "cannot send records";
const SENDING_EVENTS: &str = "cannot send events";

/// When heartbeats are sent: rows that say that a host records, and has nothing new, so that it is not taken for a silent one.
pub struct Heartbeats<'a> {
    /// The time without a new window after which there is one, and after which there is the next.
    pub interval: Duration,
    /// Whether the recorder is there. Without it there are none.
    pub is_recording: &'a dyn Fn() -> bool,
}

impl Heartbeats<'_> {
    /// The interval of the exporter: an idle host has 105,000 rows a year.
    pub const INTERVAL: Duration = Duration::from_secs(300);
}

/// Sends the windows of the log at `log` to a server, and goes on after every failure. `report` gets what there is to tell; a
/// status comes when it has changed.
pub async fn run(
    settings: &ServerSettings,
    log: PathBuf,
    host: &str,
    report: impl FnMut(SinkNews),
) -> Infallible {
    let heartbeats = Heartbeats { interval: Heartbeats::INTERVAL, is_recording: &|| true };
    run_beside(settings, log, host, &heartbeats, report).await
}

/// As [`run`], beside a recorder that may be gone.
pub async fn run_beside(
    settings: &ServerSettings,
    log: PathBuf,
    host: &str,
    heartbeats: &Heartbeats<'_>,
    report: impl FnMut(SinkNews),
) -> Infallible {
    let (sent, report) = (Cell::new(None), RefCell::new(report));
    let state = SinkState::new(&settings.name, settings.address());
    let sender = Sender { settings, log, host, state, heartbeats, sent: &sent, may_beat: true };
    tokio::select! {
        never = send_all(sender, |news| report.borrow_mut()(news)) => never,
        never = sums::run(settings, &sent, |news| report.borrow_mut()(news)) => never,
    }
}

/// Sends, and goes on after every failure.
async fn send_all(mut sender: Sender<'_>, mut report: impl FnMut(SinkNews)) -> Infallible {
    loop {
        let error = match sender.session(&mut report).await {
            Err(error) => error,
            Ok(never) => match never {},
        };
        sender.sent.set(None);
        let failure = Failure {
            reason: error.sentence(),
            is_log_missing: error.is_log_missing(),
            is_conflict: error.is_conflict(),
        };
        sleep(sender.state.fail(&failure, &mut report)).await;
    }
}

/// The copy on one server.
struct Sender<'a> {
    settings: &'a ServerSettings,
    log: PathBuf,
    host: &'a str,
    state: SinkState,
    heartbeats: &'a Heartbeats<'a>,
    /// What the server has, while it has all.
    sent: &'a Cell<Option<Sent>>,
    /// False after the server has refused a heartbeat.
    may_beat: bool,
}

impl Sender<'_> {
    /// Connects, and sends until something fails.
    async fn session(&mut self, report: &mut impl FnMut(SinkNews)) -> Result<Infallible, ExportError> {
        let mut reader = self.open_log()?;
        self.look(&reader, None)?;
        self.state.tell(report);
        let mut server = Server::connect(self.settings).await?;
        let Self { settings, .. } = self;
        let prepared = schema::prepare(&mut server, &settings.view, &settings.name).await?;
        for notice in prepared.notices {
            self.state.tell_problem(format!("{}: {notice}", settings.name), report);
        }
        let mut known = KnownRows::default();
        let is_clickhouse = server.dialect() == Dialect::ClickHouse;
        let max_records = if is_clickhouse { MAX_RECORDS_OF_CLICKHOUSE } else { MAX_RECORDS };
        let mut used = Instant::now();
        // When the server has last heard that the host records.
        let mut heard = Instant::now();
        loop {
            let mut position = self.find(&mut server, &reader).await?;
            let mut looked = None;
            while self.is_valid(&reader, &position)? {
                if let Target::Known(branch) = &position.target
                    && is_clickhouse
                    && looked.is_none_or(|looked: Instant| looked.elapsed() > LOOK_INTERVAL)
                {
                    announcement::note_repeated(&mut server, *branch, position.window).await?;
                    looked = Some(Instant::now());
                }
                let windows =
                    reader.after(position.window, max_records).map_err(|source| self.log_error(source))?;
                if windows.is_empty() {
                    self.rest(&reader, &position, report).await?;
                    if prepared.has_heartbeats && heard.elapsed() > self.heartbeats.interval {
                        self.beat(&mut server, &position).await?;
                        (heard, used) = (Instant::now(), Instant::now());
                    }
                    if used.elapsed() > PING_INTERVAL {
                        server.ping().await?;
                        used = Instant::now();
                    }
                    continue;
                }
                self.sent.set(None);
                let before = position.clone();
                let sent = if is_clickhouse {
                    send_to_clickhouse(&mut server, &mut position, self.host, &windows, &mut known).await?
                } else {
                    send(&mut server, &mut position, self.host, &windows, &mut known).await?
                };
                let windows = &windows[..sent];
                let unsent = unsent(&before, windows);
                (heard, used) = (Instant::now(), Instant::now());
                self.note_sent(windows);
                if let Some((what, unsent)) = unsent {
                    self.state.tell_deleted(&what, unsent, report);
                }
                self.look(&reader, Some(&position))?;
                self.state.tell(report);
            }
            if !reader.is_current() {
                reader = self.open_log()?;
            }
        }
    }

    /// Writes that the host records, and has nothing new.
    async fn beat(&mut self, server: &mut Server, position: &Position) -> Result<(), ExportError> {
        let Target::Known(log) = position.target else { return Ok(()) };
        if !self.may_beat || !(self.heartbeats.is_recording)() {
            return Ok(());
        }
        let row = vec![log.into(), model::text::time::now().into()];
        let doing = "cannot send a heartbeat";
        let written = server.insert(&HEARTBEAT, &[row], OnDuplicate::Ignore, doing).await;
        // A right that is lacking must not end the connection again and again.
        self.may_beat = !matches!(&written, Err(ExportError::Sql { source: sqlx::Error::Database(_), .. }));
        written
    }

    fn open_log(&self) -> Result<WindowReader, ExportError> {
        WindowReader::open(&self.log).map_err(|source| self.log_error(source))
    }

    fn log_error(&self, source: StoreError) -> ExportError {
        ExportError::Log { server: self.settings.address(), source: Box::new(source) }
    }

    /// Asks the server what it has.
    async fn find(&mut self, server: &mut Server, reader: &WindowReader) -> Result<Position, ExportError> {
        let origin = Origin { host: self.host, backfill: self.settings.backfill };
        let position = position::find(server, reader, origin).await?;
        self.state.status.is_connected = true;
        Ok(position)
    }

    /// Whether the log is still the one that was compared with the server.
    fn is_valid(&self, reader: &WindowReader, position: &Position) -> Result<bool, ExportError> {
        let state = reader.state().map_err(|source| self.log_error(source))?;
        if !reader.is_current() || state.name != position.name || state.last_window < position.window {
            return Ok(false);
        }
        // A window that was deleted says nothing.
        let mark = reader.mark(position.window).map_err(|source| self.log_error(source))?;
        Ok(mark.is_none() || position.mark.is_none() || mark == position.mark)
    }

    /// Waits for the next window: all is sent.
    async fn rest(
        &mut self,
        reader: &WindowReader,
        position: &Position,
        report: &mut impl FnMut(SinkNews),
    ) -> Result<(), ExportError> {
        self.state.settle();
        self.look(reader, Some(position))?;
        self.state.tell(report);
        if let Target::Known(log) = position.target {
            self.sent.set(Some(Sent { log, window: position.window }));
        }
        sleep(POLL_INTERVAL).await;
        Ok(())
    }

    fn note_sent(&mut self, windows: &[WholeWindow]) {
        self.state.succeed();
        let status = &mut self.state.status;
        status.sent_windows += windows.len() as u64;
        status.sent_records += windows.iter().map(|window| window.records.len() as u64).sum::<u64>();
    }

    /// Looks how far the log is ahead. Without a position, as far as that was known before.
    fn look(&mut self, reader: &WindowReader, position: Option<&Position>) -> Result<(), ExportError> {
        if let Some(position) = position {
            self.state.status.last_window = position.window;
        } else if !self.state.was_told() {
            return Ok(());
        }
        let behind = reader.behind(self.state.status.last_window).map_err(|source| self.log_error(source))?;
        let status = &mut self.state.status;
        (status.lag_windows, status.lacks_since) = (Some(behind.0), behind.1);
        Ok(())
    }
}

/// Rows of other tables that the server has. It may lose them only with a backup that is restored, which ends the connection.
#[derive(Default)]
struct KnownRows(HashSet<ContentDigest>);

impl KnownRows {
    /// The rows that the server may lack.
    fn unknown(&self, rows: BTreeMap<ContentDigest, Row>) -> BTreeMap<ContentDigest, Row> {
        rows.into_iter().filter(|(digest, _)| !self.0.contains(digest)).collect()
    }

    fn add(&mut self, digests: impl ExactSizeIterator<Item = ContentDigest>) {
        if self.0.len() + digests.len() > MAX_KNOWN {
            self.0.clear();
        }
        self.0.extend(digests);
    }
}

/// The branch to which windows are sent, and its row if it is a new one.
fn branch_of(position: &Position, host: &str, first: &WholeWindow) -> (i64, Vec<Row>) {
    match position.target {
        Target::Known(id) => (id, Vec::new()),
        Target::New { parent } => {
            let (id, row) = new_branch(position, parent, host, &first.mark);
            (id, vec![row])
        }
    }
}

/// Moves the position behind windows that were sent to a branch.
fn advance(position: &mut Position, branch: i64, last: &WholeWindow) {
    position.target = Target::Known(branch);
    position.window = last.mark.number;
    position.mark = Some(last.mark);
}

/// Sends the rows to which others refer, as far as the server may lack them.
async fn send_texts<const N: usize>(
    server: &mut Server,
    known: &mut KnownRows,
    tables: [(&'static Table, BTreeMap<ContentDigest, Row>); N],
) -> Result<(), ExportError> {
    for (table, rows) in tables {
        let rows = known.unknown(rows);
        let digests: Vec<ContentDigest> = rows.keys().copied().collect();
        let rows: Vec<Row> = rows.into_values().collect();
        server.insert(table, &rows, OnDuplicate::Ignore, "cannot send texts").await?;
        known.add(digests.into_iter());
    }
    Ok(())
}

/// Sends windows in one transaction, and moves the position behind them. Returns their number.
async fn send(
    server: &mut Server,
    position: &mut Position,
    host: &str,
    windows: &[WholeWindow],
    known: &mut KnownRows,
) -> Result<usize, ExportError> {
    let (Some(first), Some(last)) = (windows.first(), windows.last()) else { return Ok(0) };
    let (id, branch) = branch_of(position, host, first);
    let mut batch = Batch::new(id, windows);
    // Before the transaction and in the order of their keys, so that two hosts never wait for each other's. A row without records
    // does no harm.
    let texts = [
        (&PROGRAM, std::mem::take(&mut batch.programs)),
        (&CONTEXT, std::mem::take(&mut batch.contexts)),
        (&ENDPOINT, std::mem::take(&mut batch.endpoints)),
    ];
    send_texts(server, known, texts).await?;
    server.begin().await?;
    // Its key claims the windows: whoever else sends them waits, and fails if this is committed.
    for (table, rows) in [(&LOG, &branch), (&WINDOW, &batch.windows)] {
        let claimed = server.insert(table, rows, OnDuplicate::Refuse, SENDING_WINDOWS).await;
        claimed.map_err(overtaken)?;
    }
    for (table, rows, doing) in
        [(&RECORD, &batch.records, SENDING_RECORDS), (&EVENT, &batch.events, SENDING_EVENTS)]
    {
        server.insert(table, rows, OnDuplicate::Refuse, doing).await?;
    }
    server.commit().await?;
    advance(position, id, last);
    Ok(windows.len())
}

/// Sends windows to a ClickHouse (see `announcement.rs`), and moves the position behind them. Returns how many were sent. If that is
/// none, the position has a new branch to send them to.
async fn send_to_clickhouse(
    server: &mut Server,
    position: &mut Position,
    host: &str,
    windows: &[WholeWindow],
    known: &mut KnownRows,
) -> Result<usize, ExportError> {
    let Some(first) = windows.first() else { return Ok(0) };
    let session = Session::new();
    let (id, branch) = branch_of(position, host, first);
    server.insert(&LOG, &branch, OnDuplicate::Ignore, SENDING_WINDOWS).await?;
    let allowed = session.announce(server, id, windows).await?;
    let windows = &windows[..allowed];
    let Some(last) = windows.last() else {
        position.target = Target::New { parent: Some(id) };
        return Ok(0);
    };
    let mut batch = Batch::new(id, windows);
    let texts =
        [(&PROGRAM, std::mem::take(&mut batch.programs)), (&CONTEXT, std::mem::take(&mut batch.contexts))];
    send_texts(server, known, texts).await?;
    let records = clickhouse::tables::flat_records(batch.records, &batch.endpoints, session.number());
    let table = &clickhouse::tables::FLAT_RECORD;
    server.insert(table, &records, OnDuplicate::Ignore, SENDING_RECORDS).await?;
    server.insert(&EVENT, &batch.events, OnDuplicate::Ignore, SENDING_EVENTS).await?;
    // From now on they count as sent.
    server.insert(&WINDOW, &batch.windows, OnDuplicate::Ignore, SENDING_WINDOWS).await?;
    advance(position, id, last);
    Ok(allowed)
}

/// A key that is there already was sent by another process, or by this one before its connection broke.
pub(crate) fn overtaken(error: ExportError) -> ExportError {
    match error {
        ExportError::Sql { server, source: sqlx::Error::Database(source), .. }
            if source.kind() == ErrorKind::UniqueViolation =>
        {
            ExportError::Overtaken(server)
        }
        other => other,
    }
}

/// What was deleted between the position and the windows, and in them, in words and numbers. Of the history before the first connection
/// nothing counts: the server was never to have what was deleted by then.
fn unsent(position: &Position, windows: &[WholeWindow]) -> Option<(String, Unsent)> {
    if position.target == (Target::New { parent: None }) {
        return None;
    }
    let mut unsent = Unsent::default();
    let mut before = position.window;
    for window in windows {
        unsent.windows += u64::try_from(window.mark.number - before - 1).unwrap_or(0);
        unsent.records += window.deleted;
        before = window.mark.number;
    }
    if unsent == Unsent::default() {
        return None;
    }
    let Unsent { windows, records } = unsent;
    let what = match (windows, records) {
        (windows, 0) => format!("{windows} windows"),
        (0, records) => format!("{records} records"),
        (windows, records) => format!("{windows} windows and {records} records of others"),
    };
    Some((format!("{what} up to window {before}"), unsent))
}

#[cfg(test)]
mod tests {
    use store::{LogName, WindowMark};

    use super::*;

    fn window(number: i64, deleted: u64) -> WholeWindow {
        let mark = WindowMark { number, time: 0, uptime: 0, first_sequence: 0, nonce: None };
        WholeWindow { mark, boot_id: String::new(), deleted, records: Vec::new(), events: Vec::new() }
    }

    #[test]
    fn what_was_deleted_is_counted() {
        let mut position = Position {
            name: LogName { uuid: [0; 16], epoch: 1 },
            target: Target::Known(1),
            window: 10,
            mark: None,
        };
        let count =
            |position: &Position, windows: &[WholeWindow]| unsent(position, windows).map(|found| found.1);
        assert_eq!(count(&position, &[window(11, 0), window(12, 0)]), None);
        let expected = Some(Unsent { windows: 5, records: 7 });
        assert_eq!(count(&position, &[window(12, 3), window(13, 0), window(18, 4)]), expected);
        position.target = Target::New { parent: None };
        assert_eq!(count(&position, &[window(12, 3)]), None);
    }
}
