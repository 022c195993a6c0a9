//! Sends the windows of the log to one server, for ever.

use std::{
    collections::{BTreeMap, HashSet},
    convert::Infallible,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use model::text::sanitize;
use sqlx::error::ErrorKind;
use store::{LogState, StoreError, WholeWindow, WindowReader};
use tokio::time::sleep;

use crate::{
    batch::Batch,
    content_digest::ContentDigest,
    error::ExportError,
    position::{self, Origin, Position, Target, new_branch},
    server::{
        OnDuplicate, Server,
        rows::Row,
        schema,
        tables::{CONTEXT, ENDPOINT, EVENT, LOG, PROGRAM, RECORD, Table, WINDOW},
    },
    settings::ServerSettings,
    status::{SinkNews, SinkStatus, Unsent},
};

/// Pause after a failure. It doubles with each one, until something was sent.
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// Pause between two looks at the log when all was sent. A window takes ten seconds.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// A connection that was not used for so long is tried.
const PING_INTERVAL: Duration = Duration::from_secs(60);
/// Records and events of one transaction, but for the last window of it.
const MAX_RECORDS: u64 = 4000;
/// Characters of a sentence: a server chooses a part of it.
const MAX_SENTENCE: usize = 1500;
/// Rows of other tables that the server is known to have. A full cache is emptied.
const MAX_KNOWN: usize = 50_000;

/// Sends the windows of the log at `log` to a server, and goes on after every failure. `report` gets what there is to tell; a
/// status comes when it has changed.
pub async fn run(
    settings: &ServerSettings,
    log: PathBuf,
    host: &str,
    mut report: impl FnMut(SinkNews),
) -> Infallible {
    let mut sender = Sender::new(settings, log, host);
    loop {
        let sent = sender.status.sent_windows;
        let error = match sender.session(&mut report).await {
            Err(error) => error,
            Ok(never) => match never {},
        };
        sender.fail(&error, sender.status.sent_windows > sent, &mut report);
        sleep(sender.pause(&error)).await;
    }
}

/// The copy on one server.
struct Sender<'a> {
    settings: &'a ServerSettings,
    log: PathBuf,
    host: &'a str,
    status: SinkStatus,
    /// The status that was told last.
    told: Option<SinkStatus>,
    /// Failures since something was sent.
    failures: u32,
    /// Sentences that were told since all was well.
    told_problems: HashSet<String>,
}

impl<'a> Sender<'a> {
    fn new(settings: &'a ServerSettings, log: PathBuf, host: &'a str) -> Self {
        let status =
            SinkStatus { name: settings.name.clone(), server: settings.address(), ..SinkStatus::default() };
        Self { settings, log, host, status, told: None, failures: 0, told_problems: HashSet::new() }
    }

    /// Takes note of a failure, and tells a new one.
    fn fail(&mut self, error: &ExportError, has_sent: bool, report: &mut impl FnMut(SinkNews)) {
        self.failures = if has_sent { 1 } else { self.failures.saturating_add(1) };
        self.status.is_connected = false;
        if error.is_log_missing() {
            // The daemon starts, and says what is wrong if it does not.
            return;
        }
        let text = sanitize::shorten(&error.sentence(), MAX_SENTENCE);
        let sentence = format!("{}: {}.", self.settings.name, text.trim_end_matches('.'));
        self.status.problem = Some(sentence.clone());
        self.tell(report);
        // A conflict is no failure unless it comes again.
        let is_harmless = error.is_conflict() && self.failures < 3;
        if !is_harmless && self.told_problems.insert(sentence.clone()) {
            report(SinkNews::Problem(format!(
                "{sentence} What is recorded waits in the log and is sent later."
            )));
        }
    }

    /// The pause before the next connection. Hosts that lost one server do not all come back at once. Whatever was in the way of a
    /// transaction is soon gone.
    fn pause(&self, error: &ExportError) -> Duration {
        let doublings = if error.is_conflict() { 0 } else { self.failures.saturating_sub(1).min(10) };
        let pause = (MIN_PAUSE * 2_u32.pow(doublings)).min(MAX_PAUSE);
        let spread = std::process::id().wrapping_mul(0x9e37_79b9).wrapping_add(self.failures) % 256;
        pause * (768 + spread) / 1024
    }

    fn tell(&mut self, report: &mut impl FnMut(SinkNews)) {
        if self.told.as_ref() != Some(&self.status) {
            self.told = Some(self.status.clone());
            report(SinkNews::Status(self.status.clone()));
        }
    }

    /// Connects, and sends until something fails.
    async fn session(&mut self, report: &mut impl FnMut(SinkNews)) -> Result<Infallible, ExportError> {
        let mut reader = self.open_log()?;
        self.look(&reader, None)?;
        self.tell(report);
        let mut server = Server::connect(self.settings).await?;
        if let Some(notice) = schema::prepare(&mut server, &self.settings.view, &self.settings.name).await?
            && self.told_problems.insert(notice.clone())
        {
            report(SinkNews::Problem(format!("{}: {notice}", self.settings.name)));
        }
        let mut known = KnownRows::default();
        let mut used = Instant::now();
        loop {
            let mut position = self.find(&mut server, &reader).await?;
            while self.is_valid(&reader, &position)? {
                let windows =
                    reader.after(position.window, MAX_RECORDS).map_err(|source| self.log_error(source))?;
                if windows.is_empty() {
                    self.rest(&reader, &position, report).await?;
                    if used.elapsed() > PING_INTERVAL {
                        server.ping().await?;
                        used = Instant::now();
                    }
                    continue;
                }
                let unsent = unsent(&position, &windows);
                send(&mut server, &mut position, self.host, &windows, &mut known).await?;
                used = Instant::now();
                self.note_sent(&windows);
                if let Some((text, unsent)) = unsent {
                    self.status.unsent.windows += unsent.windows;
                    self.status.unsent.records += unsent.records;
                    report(SinkNews::Deleted(format!("{}: {text}", self.settings.name), unsent));
                }
                self.look(&reader, Some(&position))?;
                self.tell(report);
            }
            if !reader.is_current() {
                reader = self.open_log()?;
            }
        }
    }

    fn open_log(&self) -> Result<WindowReader, ExportError> {
        open(&self.log).map_err(|source| self.log_error(source))
    }

    fn log_error(&self, source: StoreError) -> ExportError {
        ExportError::Log { server: self.settings.address(), source: Box::new(source) }
    }

    /// Asks the server what it has.
    async fn find(&mut self, server: &mut Server, reader: &WindowReader) -> Result<Position, ExportError> {
        let origin = Origin { host: self.host, backfill: self.settings.backfill };
        let position = position::find(server, reader, origin).await?;
        self.status.is_connected = true;
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
        self.failures = 0;
        self.status.problem = None;
        self.told_problems.clear();
        self.look(reader, Some(position))?;
        self.tell(report);
        sleep(POLL_INTERVAL).await;
        Ok(())
    }

    fn note_sent(&mut self, windows: &[WholeWindow]) {
        self.failures = 0;
        self.status.problem = None;
        self.status.sent_windows += windows.len() as u64;
        self.status.sent_records += windows.iter().map(|window| window.records.len() as u64).sum::<u64>();
    }

    /// Looks how far the log is ahead. Without a position, as far as that was known before.
    fn look(&mut self, reader: &WindowReader, position: Option<&Position>) -> Result<(), ExportError> {
        if let Some(position) = position {
            self.status.last_window = position.window;
        } else if self.told.is_none() {
            return Ok(());
        }
        let fail = |source| self.log_error(source);
        let LogState { last_window, .. } = reader.state().map_err(fail)?;
        let next = reader.mark_from(self.status.last_window + 1).map_err(fail)?;
        // What was deleted is not waited for.
        let from = next.map_or(last_window, |next| next.number - 1).max(self.status.last_window);
        self.status.lag_windows = Some(u64::try_from(last_window - from).unwrap_or(0));
        self.status.lacks_since = next.map(|next| next.time);
        Ok(())
    }
}

fn open(log: &Path) -> Result<WindowReader, StoreError> {
    WindowReader::open(log)
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

/// Sends windows in one transaction, and moves the position behind them.
async fn send(
    server: &mut Server,
    position: &mut Position,
    host: &str,
    windows: &[WholeWindow],
    known: &mut KnownRows,
) -> Result<(), ExportError> {
    let (Some(first), Some(last)) = (windows.first(), windows.last()) else { return Ok(()) };
    let (id, branch) = match position.target {
        Target::Known(id) => (id, None),
        Target::New { parent } => {
            let (id, row) = new_branch(position, parent, host, &first.mark);
            (id, Some(row))
        }
    };
    let mut batch = Batch::new(id, windows);
    // Before the transaction and in the order of their keys, so that two hosts never wait for each other's. A row without records
    // does no harm.
    let others: [(&'static Table, BTreeMap<ContentDigest, Row>); 3] = [
        (&PROGRAM, std::mem::take(&mut batch.programs)),
        (&CONTEXT, std::mem::take(&mut batch.contexts)),
        (&ENDPOINT, std::mem::take(&mut batch.endpoints)),
    ];
    for (table, rows) in others {
        let rows = known.unknown(rows);
        let digests: Vec<ContentDigest> = rows.keys().copied().collect();
        let rows: Vec<Row> = rows.into_values().collect();
        server.insert(table, &rows, OnDuplicate::Ignore, "cannot send texts").await?;
        known.add(digests.into_iter());
    }
    server.begin().await?;
    // Its key claims the windows: whoever else sends them waits, and fails if this is committed.
    let branch: Vec<Row> = branch.into_iter().collect();
    let claims = [(&LOG, &branch), (&WINDOW, &batch.windows)];
    for (table, rows) in claims {
        let claimed = server.insert(table, rows, OnDuplicate::Refuse, "cannot send windows").await;
        claimed.map_err(overtaken)?;
    }
    for (table, rows, doing) in
        [(&RECORD, &batch.records, "cannot send records"), (&EVENT, &batch.events, "cannot send events")]
    {
        server.insert(table, rows, OnDuplicate::Refuse, doing).await?;
    }
    server.commit().await?;
    position.target = Target::Known(id);
    position.window = last.mark.number;
    position.mark = Some(last.mark);
    Ok(())
}

/// A key that is there already was sent by another process, or by this one before its connection broke.
fn overtaken(error: ExportError) -> ExportError {
    match error {
        ExportError::Sql { server, source: sqlx::Error::Database(source), .. }
            if source.kind() == ErrorKind::UniqueViolation =>
        {
            ExportError::Overtaken(server)
        }
        other => other,
    }
}

/// What was deleted between the position and the windows, and in them, with a sentence. Of the history before the first connection
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
    let text = format!(
        "{what} up to window {before} were deleted from the log before they could be sent (log.retention_days, \
         log.retention_megabytes, or picosnitch forget): the server lacks them for good."
    );
    Some((text, unsent))
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

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let settings: ServerSettings = crate::settings::tests::settings();
        let mut sender = Sender::new(&settings, PathBuf::new(), "host");
        let mut before = Duration::ZERO;
        let overtaken = ExportError::Overtaken("a server".into());
        let timeout = ExportError::Timeout { server: "a server".into(), seconds: 20, doing: "connecting" };
        for failures in 1..40 {
            sender.failures = failures;
            assert!(sender.pause(&overtaken) <= MIN_PAUSE);
            let pause = sender.pause(&timeout);
            assert!(pause * 4 >= MIN_PAUSE * 3 && pause <= MAX_PAUSE, "{pause:?}");
            assert!(pause > before || pause * 4 >= MAX_PAUSE * 3, "{pause:?} after {before:?}");
            before = pause;
        }
    }
}
