//! The only writer of the log.

mod file;
mod import;
pub(crate) mod old_windows;
mod records;
mod start;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use model::{DrainId, Event, EventKind, Loss, Window};
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};

pub(crate) use self::records::ContextDetail;
use self::{
    file::{FileState, LogFile},
    records::{RecordWriter, Spent},
};
use crate::{
    clock::{ClockChange, ClockReading, Doubt, TrustedClock},
    error::{StoreError, sql_error},
    event::{self, EventCount},
    growth_budget::{GrowthBudgets, GrowthLimit},
    identity::{Identity, IdentityFile},
    intern::Interner,
    migrations::MIGRATIONS,
    program_seen::SeenPrograms,
    rollup::{self, CatchUp, MAX_ROLLUP_ROWS},
    schema, seen_times,
};

/// How long SQLite itself waits for a lock; after that the caller keeps the window and tries again.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);

/// Writes windows to the log, each in one transaction.
pub struct Writer {
    pub(crate) path: PathBuf,
    pub(crate) connection: Connection,
    pub(crate) interner: Interner,
    /// Time of the latest window that was written. The buckets that contain it are open: they have no rollup.
    last_time: Option<i64>,
    pub(crate) catch_up: CatchUp,
    /// A bucket with more rows than this gets no rollup.
    pub(crate) max_rollup_rows: usize,
    file: LogFile,
    identity_file: Option<IdentityFile>,
    pub(crate) identity: Identity,
    /// The id of this boot in table `boot`; 0 when unknown.
    boot: i64,
    pub(crate) clock: TrustedClock,
    /// Records before this time were deleted while their sums stay, unix seconds; `None` if there are none.
    pub(crate) detail_since: Option<i64>,
    /// Bytes to which the log is being cut, if it was above its limit.
    pub(crate) size_goal: Option<u64>,
    /// Something was cut since then.
    pub(crate) has_cut: bool,
    growth: Option<GrowthBudgets>,
    seen_programs: SeenPrograms,
    pub(crate) event_count: EventCount,
    /// Events of the writer itself, for the next window.
    events: Vec<Event>,
    /// Sentences about them that the user has not been told.
    notices: Vec<String>,
}

impl Writer {
    /// Opens the log at `path`, creates it if it is missing (mode 0640, independent of the umask), and migrates it to the
    /// current schema version.
    ///
    /// # Errors
    /// See [`StoreError`]; a foreign, newer or damaged file is left unchanged. If [`StoreError::is_transient`] holds, try
    /// again later.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        file::create(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let fail = sql_error(path, "cannot open the log");
        let mut connection = Connection::open_with_flags(path, flags).map_err(&fail)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(&fail)?;
        connection.set_prepared_statement_cache_capacity(64);
        let version = schema::version(&connection, path)?;
        if version == 0 {
            // Allows to give pages back to the file system in small steps; only possible in an empty file.
            connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL").map_err(&fail)?;
        }
        // Has no effect inside a transaction.
        let mode: String =
            connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(&fail)?;
        if mode != "wal" {
            return Err(StoreError::NoWriteAheadLog { path: path.to_owned(), mode });
        }
        file::keep_write_ahead_log(&connection);
        // synchronous = NORMAL: a crash of the machine can lose the last transactions but damages nothing, and a crash of
        // this process loses nothing. foreign_keys = OFF: checking references would need indexes.
        connection
            .execute_batch(
                "PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = OFF; PRAGMA trusted_schema = OFF; \
                 PRAGMA cache_size = -1024; PRAGMA journal_size_limit = 4194304; PRAGMA temp_store = MEMORY;",
            )
            .map_err(&fail)?;
        schema::migrate(&mut connection, path, version, MIGRATIONS)?;
        if version == 0 {
            // The file itself says which log it is, also before the first checkpoint of its own.
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(&fail)?;
        }
        Self::with_connection(path, connection, version == 0)
    }

    fn with_connection(path: &Path, connection: Connection, is_new: bool) -> Result<Self, StoreError> {
        let fail = sql_error(path, "cannot read the log");
        let state = LogState::read(&connection).map_err(&fail)?;
        let last_time = Some(state.clock.last.time).filter(|time| *time != 0);
        let file_error = |source| StoreError::File { path: path.to_owned(), source };
        let mut writer = Self {
            path: path.to_owned(),
            interner: Interner::default(),
            last_time,
            catch_up: CatchUp::default(),
            max_rollup_rows: MAX_ROLLUP_ROWS,
            file: LogFile::new(path).map_err(file_error)?,
            identity_file: None,
            identity: state.identity,
            boot: 0,
            clock: state.clock,
            detail_since: state.detail_since,
            size_goal: None,
            has_cut: false,
            growth: None,
            seen_programs: SeenPrograms::default(),
            event_count: EventCount::read(&connection).map_err(&fail)?,
            events: Vec::new(),
            notices: Vec::new(),
            connection,
        };
        let epoch_event = writer.take_identity(is_new);
        writer.begin_epoch_if_due(epoch_event).map_err(fail)?;
        Ok(writer)
    }

    /// Limits the growth of the log by the traffic of each user.
    pub fn limit_growth(&mut self, limit: GrowthLimit) {
        self.growth = Some(GrowthBudgets::new(limit));
    }

    /// Takes the sentences about what happened to the log itself, which the user should be told.
    pub fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// Takes the events that wait for the next window: it will go to another file.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Adds an event of the log itself, and tells the user.
    pub fn add_notice(&mut self, event: Event) {
        self.notices.push(event.text.clone());
        self.events.push(event);
    }

    /// Whether the path still leads to the file that is open, and nobody else has written to it.
    ///
    /// # Errors
    /// [`StoreError::Replaced`] if not: open the log again.
    pub fn check_file(&mut self) -> Result<(), StoreError> {
        match self.file.state(&self.path) {
            FileState::Same => Ok(()),
            FileState::Gone => {
                // The log that was moved away is complete, unless a reader holds the checkpoint up.
                let is_busy = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
                    row.get::<_, i64>(0).map(|busy| busy != 0)
                });
                if is_busy.unwrap_or(false) && self.file.may_look_again() {
                    return Err(StoreError::Changing(self.path.clone()));
                }
                self.file.remove_leftovers(&self.path);
                Err(StoreError::Replaced(self.path.clone()))
            }
            FileState::Changing => Err(StoreError::Changing(self.path.clone())),
            FileState::Overwritten => {
                // What waits in the write-ahead log belongs to the content that is gone.
                file::forget_write_ahead_log(&self.connection);
                self.file.remove_leftovers(&self.path);
                Err(StoreError::Replaced(self.path.clone()))
            }
        }
    }

    /// Writes a window in one transaction; on an error nothing of it is written. Records with equal keys are stored as
    /// they are: merging them is the caller's task.
    ///
    /// # Errors
    /// If [`StoreError::is_transient`] holds, keep the window and write it again later.
    pub fn write(&mut self, window: &Window) -> Result<(), StoreError> {
        if window.records.is_empty() && window.losses.is_empty() && window.events.is_empty() {
            return Ok(());
        }
        self.write_window(window)
    }

    /// Writes a window without records at `time` (unix seconds UTC) and `uptime` (seconds since the machine started), if there are
    /// events that are in no window yet: copies of the log have them with their window, and without traffic there may be no other one
    /// for long.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub fn write_waiting_events(&mut self, time: i64, uptime: i64) -> Result<(), StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM event WHERE window > (SELECT last_window FROM log))";
        let stored: bool = self
            .connection
            .query_row(sql, [], |row| row.get(0))
            .map_err(sql_error(&self.path, "cannot read the events"))?;
        match stored || !self.events.is_empty() {
            true => self.write_window(&Window { time, uptime, ..Window::default() }),
            false => Ok(()),
        }
    }

    fn write_window(&mut self, window: &Window) -> Result<(), StoreError> {
        let before = (self.clock, self.event_count, self.detail_since);
        match self.write_transaction(window) {
            Ok(written) => {
                self.commit_caches();
                self.finish_write(window, written);
                Ok(())
            }
            Err(error) => {
                (self.clock, self.event_count, self.detail_since) = before;
                self.roll_back_caches();
                Err(sql_error(&self.path, "cannot write the window")(error))
            }
        }
    }

    /// Keeps what is known of the rows of the transaction, which is committed.
    fn commit_caches(&mut self) {
        self.interner.commit();
        self.seen_programs.commit();
    }

    /// Forgets what is known of the rows of the transaction, which is rolled back.
    fn roll_back_caches(&mut self) {
        self.interner.roll_back();
        self.seen_programs.roll_back();
    }

    /// Forgets what is known of all rows: others have changed them.
    pub(crate) fn clear_caches(&mut self) {
        self.interner.clear();
        self.seen_programs = SeenPrograms::default();
    }

    /// Takes note of a window that is committed.
    fn finish_write(&mut self, window: &Window, written: Written) {
        self.events.clear();
        self.notices.extend(written.events.into_iter().map(|event| event.text));
        if let Some(growth) = &mut self.growth {
            for Spent { principal, left, folded } in written.growth {
                let uid = principal.uid;
                if let Some(told) = growth.set_left(principal, window.uptime, left, folded) {
                    let event = records::fold_event(uid, told.groups, window.time);
                    if told.is_first {
                        self.notices.push(event.text.clone());
                    }
                    self.events.push(event);
                }
            }
        }
        self.identity.last_window = written.window;
        if let Some(file) = &self.identity_file {
            // The log is older than the file after a power loss at worst. An error means that a log that is restored from
            // a copy is not noticed.
            let _ = file.write(self.identity);
        }
        if !window.records.is_empty() {
            self.last_time = Some(window.time);
        }
        self.file.note(&self.path);
    }

    fn write_transaction(&mut self, window: &Window) -> rusqlite::Result<Written> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut written = Written { window: self.identity.last_window + 1, ..Written::default() };
        let reading = ClockReading { time: window.time, boot: self.boot, uptime: window.uptime };
        written.events.extend(self.clock.observe(reading).map(|change| clock_event(change, window.time)));
        // Before a cut, which may delete the records that it reads.
        settle_before(&transaction, window.time)?;
        if !window.records.is_empty() {
            if let Some(last_time) = self.last_time {
                rollup::close_buckets(&transaction, self.max_rollup_rows, last_time, window.time)?;
            }
            self.detail_since = rollup::cut_closed_day(&transaction, self.detail_since, window.time)?;
            rollup::invalidate(&transaction, self.detail_since, window.time)?;
        }
        self.interner.set_time(window.time);
        let mut records = RecordWriter::new(&transaction, &mut self.interner, window)?;
        written.growth = records.insert(self.growth.as_ref())?;
        records.insert_window(written.window, reading)?;
        let contexts = records.into_contexts();
        self.seen_programs.add(&transaction, window.time, &contexts)?;
        let losses: Vec<Event> =
            window.losses.iter().map(|loss: &Loss| event::of_loss(loss, window.time)).collect();
        let events = losses.iter().chain(&self.events).chain(&window.events).chain(&written.events);
        self.event_count.insert(&transaction, events)?;
        store_clock(&transaction, &self.clock, written.window)?;
        if let Some(DrainId { series, number }) = window.last_drain {
            let sql = "UPDATE log SET drain_series = ?1, drain_number = ?2";
            transaction.prepare_cached(sql)?.execute(params![series as i64, number as i64])?;
        }
        transaction.commit()?;
        Ok(written)
    }

    /// Makes at most one missing rollup. Returns whether there may be more to do: call it again while there is nothing else
    /// to write.
    ///
    /// # Errors
    /// The errors of SQLite; rollups made before stay, and the rest can be made later.
    pub fn catch_up(&mut self) -> Result<bool, StoreError> {
        let fail = sql_error(&self.path, "cannot make rollups");
        let from = self.detail_since.unwrap_or(i64::MIN);
        let more = self.catch_up.step(&self.connection, self.max_rollup_rows, from, self.last_time);
        self.file.note(&self.path);
        more.map_err(fail)
    }

    /// Takes note that the file has changed by our own hand.
    pub(crate) fn note_file(&mut self) {
        self.file.note(&self.path);
    }

    /// Moves the content of the write-ahead log into the database. A clean end does this; safety does not need it.
    ///
    /// # Errors
    /// The errors of SQLite; nothing is lost then either.
    pub fn checkpoint(&mut self) -> Result<(), StoreError> {
        let fail = sql_error(&self.path, "cannot empty the write-ahead log");
        let done = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        self.file.note(&self.path);
        done.map_err(fail)
    }
}

/// What a transaction has written.
#[derive(Default)]
pub(crate) struct Written {
    /// The number of the window.
    window: i64,
    /// Events about the writing itself.
    events: Vec<Event>,
    growth: Vec<Spent>,
}

/// What the table `log` says.
struct LogState {
    identity: Identity,
    clock: TrustedClock,
    detail_since: Option<i64>,
}

impl LogState {
    fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let identity = Identity::read(connection)?;
        let sql =
            "SELECT time, boot, uptime, trusted_time, doubted_seconds, doubt_credit, detail_since FROM log";
        connection.query_row(sql, [], |row| {
            let last = ClockReading { time: row.get(0)?, boot: row.get(1)?, uptime: row.get(2)? };
            let doubt = match row.get(4)? {
                Some(seconds) => Some(Doubt { seconds, credit: row.get(5)? }),
                None => None,
            };
            Ok(Self {
                identity,
                clock: TrustedClock { last, trusted: row.get(3)?, doubt, stepped: 0 },
                detail_since: row.get(6)?,
            })
        })
    }
}

/// Brings the times of the tables up to date, if the last window was in another quarter of an hour than one at `time`.
fn settle_before(connection: &Connection, time: i64) -> rusqlite::Result<()> {
    let mut last = connection.prepare_cached("SELECT time FROM log")?;
    let last: Option<i64> = last.query_row([], |row| row.get(0))?;
    match last.filter(|last| rollup::quarter_start(*last) != rollup::quarter_start(time)) {
        Some(last) => seen_times::settle(connection, last),
        None => Ok(()),
    }
}

fn store_clock(connection: &Connection, clock: &TrustedClock, last_window: i64) -> rusqlite::Result<()> {
    let sql = "UPDATE log SET last_window = ?1, time = ?2, boot = ?3, uptime = ?4, trusted_time = ?5, \
               doubted_seconds = ?6, doubt_credit = ?7";
    let (last, doubt) = (clock.last, clock.doubt);
    connection.prepare_cached(sql)?.execute(params![
        last_window,
        last.time,
        last.boot,
        last.uptime,
        clock.trusted,
        doubt.map(|doubt| doubt.seconds),
        doubt.map_or(0, |doubt| doubt.credit),
    ])?;
    Ok(())
}

fn clock_event(change: ClockChange, now: i64) -> Event {
    let text = match change {
        ClockChange::Doubted(seconds) => {
            let direction = if seconds > 0 { "ahead of" } else { "behind" };
            format!(
                "The clock is {} {direction} what the log and the time since the machine started explain. Old records are \
                 deleted by that clock only once it has been the same for a week of recording.",
                duration(seconds)
            )
        }
        ClockChange::Believed => {
            "The clock is right again, or has been the same for a week: records are deleted by \
                                  their age again."
                .to_owned()
        }
    };
    Event::new(EventKind::Clock, now, text)
}

/// A difference of clocks in words.
fn duration(seconds: i64) -> String {
    let seconds = seconds.unsigned_abs();
    match seconds / (24 * 60 * 60) {
        0 => format!("{} hours", seconds / (60 * 60)),
        days => format!("{days} days"),
    }
}
