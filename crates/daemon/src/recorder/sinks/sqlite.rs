//! The sink that writes windows to snitch.db and deletes what is older than the retention. It may have to wait for a
//! locked database or a full disk.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    damaged_log::set_aside,
    recorded::Recorded,
    sink::{Outcome, Sink},
    worker::Worker,
};
use crate::{messages::Settings, problems::Problems};
use model::{Continuity, Event, EventKind, Loss, LossKind, Window, add_losses, text::time};
use store::{GrowthLimit, StoreError, Writer};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the shutdown tries to write to a log that cannot be written.
pub(super) const LAST_PATIENCE: Duration = Duration::from_secs(10);

/// Damaged logs that are set aside in one run: a disk that damages each of them needs other help.
const MAX_DAMAGED: u32 = 3;

/// How often the log may be found changing before the user is told.
const MAX_UNTOLD_CHANGES: u32 = 10;

/// Events of windows that could not be written, which wait for the next one. Further ones are counted as lost.
const MAX_UNWRITTEN_EVENTS: usize = 1000;

/// Where the log is, and what bounds it.
#[derive(Clone)]
pub(super) struct LogSettings {
    database: PathBuf,
    /// Days after which records are deleted.
    retention_days: u32,
    /// Bytes above which the oldest detail is deleted; `None` if the log may have any size.
    max_bytes: Option<u64>,
    boot_id: String,
    /// What is recorded of the time since the run before.
    continuity: Continuity,
    /// The effective configuration, a line for each key.
    configuration: String,
}

impl LogSettings {
    /// `None` if there is to be no log.
    pub(super) fn of(settings: &Settings) -> Option<Self> {
        Some(Self {
            database: settings.database.clone()?,
            retention_days: settings.retention_days,
            max_bytes: settings.retention_bytes,
            boot_id: settings.boot_id.clone(),
            continuity: settings.continuity,
            configuration: settings.configuration.clone(),
        })
    }
}

/// Settings that the sink takes over before its next window.
#[derive(Clone, Default)]
pub(super) struct NewSettings(Arc<Mutex<Option<LogSettings>>>);

impl NewSettings {
    pub(super) fn set(&self, settings: LogSettings) {
        *self.lock() = Some(settings);
    }

    fn lock(&self) -> MutexGuard<'_, Option<LogSettings>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes windows to the database, in one transaction each.
pub(super) struct SqliteSink {
    /// `None` until the database can be opened.
    writer: Option<Writer>,
    settings: LogSettings,
    new_settings: NewSettings,
    /// The configuration has changed, and the log does not know yet.
    is_reconfigured: bool,
    problems: Arc<Problems>,
    /// When old records were last deleted because of their age.
    purged_by_age: Option<Instant>,
    /// The sentence about why the log cannot be written, if it cannot.
    failing: Option<String>,
    /// How often in a row it was found changing.
    changing: u32,
    /// The size of the log cannot be kept below its limit.
    failing_size: bool,
    /// Losses that are in no window of the log yet: those of windows that were given up, and their records.
    unwritten: Vec<Loss>,
    /// Events of those windows.
    unwritten_events: Vec<Event>,
    damaged: u32,
    /// Why the log is set aside when it is opened next.
    damage: Option<String>,
    /// The start of recording is in the log.
    has_begun: bool,
    recorded: Recorded,
}

impl SqliteSink {
    /// Opens the log and starts the thread.
    ///
    /// # Errors
    /// The log cannot be used at all. The thread waits for a log that is merely locked.
    pub(super) fn start(
        settings: LogSettings,
        (new_settings, recorded): (NewSettings, Recorded),
        problems: Arc<Problems>,
    ) -> Result<Worker<Self>, StoreError> {
        let mut sink = Self { new_settings, ..Self::new(settings, problems, recorded) };
        match sink.open() {
            Ok(()) => {}
            Err(error) if error.is_transient() => {}
            Err(error) => return Err(error),
        }
        Worker::start(sink).map_err(|source| StoreError::File { path: "the writing thread".into(), source })
    }

    fn new(settings: LogSettings, problems: Arc<Problems>, recorded: Recorded) -> Self {
        Self {
            writer: None,
            settings,
            new_settings: NewSettings::default(),
            is_reconfigured: false,
            problems,
            purged_by_age: None,
            failing: None,
            changing: 0,
            failing_size: false,
            unwritten: Vec::new(),
            unwritten_events: Vec::new(),
            damaged: 0,
            damage: None,
            has_begun: false,
            recorded,
        }
    }

    /// Opens the log, or a new one if it is damaged.
    fn open(&mut self) -> Result<(), StoreError> {
        let path = self.settings.database.clone();
        let mut notice = None;
        if let Some(damage) = self.damage.take_if(|_| path.exists()) {
            notice = Some(self.set_aside(&damage)?);
        }
        let mut writer = match Writer::open(&path) {
            Err(StoreError::Damaged { source, .. }) if self.damaged < MAX_DAMAGED => {
                notice = Some(self.set_aside(&model::error_chain(&source))?);
                Writer::open(&path)?
            }
            opened => opened?,
        };
        if let Some(text) = notice {
            writer.add_notice(Event::new(EventKind::Log, time::now(), text));
        }
        writer.set_boot(&self.settings.boot_id)?;
        writer.set_configuration(&self.settings.configuration)?;
        writer.limit_growth(GrowthLimit::DEFAULT);
        if !self.has_begun {
            self.recorded.set(writer.last_drain()?);
            writer.begin_recording(time::now(), self.settings.continuity)?;
            self.has_begun = true;
        }
        writer.write_waiting_events(time::now(), model::boot_seconds())?;
        self.writer = Some(writer);
        self.tell_notices();
        Ok(())
    }

    /// Moves the damaged log away. Returns a sentence about it.
    fn set_aside(&mut self, damage: &str) -> Result<String, StoreError> {
        self.damaged += 1;
        let path = &self.settings.database;
        set_aside(path, damage).map_err(|source| StoreError::File { path: path.clone(), source })
    }

    /// Closes the log: the file is another one, or damaged. What it has not written goes to the next one.
    fn close(&mut self) {
        if let Some(mut writer) = self.writer.take() {
            self.unwritten_events.extend(writer.take_events());
        }
    }

    /// Takes note of an error: a damaged log is set aside when it is opened next.
    fn take_damage(&mut self, error: StoreError) -> StoreError {
        if let StoreError::Damaged { source, .. } = &error {
            self.damage = (self.damaged < MAX_DAMAGED).then(|| model::error_chain(source));
            self.close();
        }
        error
    }

    /// Takes over new settings, if there are any.
    fn take_settings(&mut self) {
        let Some(settings) = self.new_settings.lock().take() else { return };
        if settings.retention_days != self.settings.retention_days {
            self.purged_by_age = None;
        }
        self.settings = settings;
        self.is_reconfigured = true;
    }

    fn try_write(&mut self, window: &Window) -> Result<(), StoreError> {
        let mut replaced = None;
        if let Some(writer) = &mut self.writer
            && let Err(error) = writer.check_file()
        {
            if !matches!(error, StoreError::Replaced(_)) {
                return Err(error);
            }
            self.close();
            replaced = Some(error);
        }
        if self.writer.is_none() {
            self.open()?;
        }
        if let Some(error) = replaced {
            self.problems.report(&format!("{}. Recording goes on.", model::error_chain(&error)));
        }
        let Some(writer) = &mut self.writer else { return Ok(()) };
        if self.is_reconfigured {
            writer.store_configuration(&self.settings.configuration)?;
            self.is_reconfigured = false;
        }
        let written = writer.write(window);
        self.tell_notices();
        written.map_err(|error| self.take_damage(error))
    }

    /// Whether the window is kept and tried again: also if the file at the path is not usable now, since the user is told.
    fn can_work_later(&self, error: &StoreError) -> bool {
        match error {
            StoreError::Damaged { .. } => self.damage.is_some(),
            StoreError::Foreign { .. }
            | StoreError::Newer { .. }
            | StoreError::NotAFile(_)
            | StoreError::File { .. } => true,
            other => other.is_transient(),
        }
    }

    /// Tells the user what happened to the log itself.
    fn tell_notices(&mut self) {
        let notices = self.writer.as_mut().map(Writer::take_notices).unwrap_or_default();
        notices.iter().for_each(|notice| self.problems.report(notice));
    }

    fn report_lost(&self, records: u64) {
        self.problems.report(&format!("{records} records or events could not be written and are lost."));
    }

    fn purge_if_due(&mut self) {
        if self.purged_by_age.is_none_or(|last| last.elapsed() >= DAY) {
            self.purged_by_age = Some(Instant::now());
            self.purge_by_age();
        }
        self.limit_size();
        self.tell_notices();
    }

    fn purge_by_age(&mut self) {
        if let Some(writer) = &mut self.writer
            && let Err(error) = writer.purge_by_age(self.settings.retention_days)
        {
            let error = self.take_damage(error);
            self.problems
                .report(&format!("{}. Old records are kept until tomorrow.", model::error_chain(&error)));
        }
    }

    fn limit_size(&mut self) {
        let (Some(writer), Some(max_bytes)) = (&mut self.writer, self.settings.max_bytes) else { return };
        match writer.limit_size(max_bytes) {
            Ok(_) => self.failing_size = false,
            Err(error) => {
                let error = self.take_damage(error);
                if !std::mem::replace(&mut self.failing_size, true) {
                    self.problems.report(&format!(
                        "{}. The log is larger than its limit (log.retention_megabytes) until that works.",
                        model::error_chain(&error)
                    ));
                }
            }
        }
    }
}

impl Sink for SqliteSink {
    type Item = Window;
    const THREAD: &'static str = "writer";
    /// Records of the windows that wait while the log cannot be written. A window without records has losses only.
    const MAX_WAITING: usize = 500_000;
    const RETRY: Duration = Duration::from_millis(200);

    fn weight(window: &Window) -> usize {
        window.records.len().max(1)
    }

    fn drop_oldest(oldest: Window, next: &mut Window) -> u64 {
        add_losses(&mut next.losses, oldest.losses);
        let mut events = oldest.events;
        events.append(&mut next.events);
        next.events = events;
        oldest.records.len() as u64 + shorten(&mut next.events)
    }

    fn prepare(&mut self, window: &mut Window, dropped: u64) {
        if dropped > 0 {
            self.report_lost(dropped);
            add_losses(&mut window.losses, [Loss { kind: LossKind::Log, count: dropped }]);
        }
        add_losses(&mut window.losses, self.unwritten.drain(..));
        self.unwritten_events.append(&mut window.events);
        window.events = std::mem::take(&mut self.unwritten_events);
    }

    fn write(&mut self, window: &Window) -> Outcome {
        self.take_settings();
        let Err(error) = self.try_write(window) else {
            self.changing = 0;
            if window.last_drain.is_some() {
                self.recorded.set(window.last_drain);
            }
            if self.failing.take().is_some() {
                self.problems.report("The log can be written again.");
            }
            self.purge_if_due();
            return Outcome::Done;
        };
        let can_work_later = self.can_work_later(&error);
        // Another program may write to the file for a moment.
        self.changing = if matches!(error, StoreError::Changing(_)) { self.changing + 1 } else { 0 };
        let wait = match can_work_later {
            true => " Windows wait in memory until it can be written.",
            false => "",
        };
        let sentence = format!("{}.{wait}", model::error_chain(&error));
        if (self.changing == 0 || self.changing > MAX_UNTOLD_CHANGES)
            && self.failing.as_ref() != Some(&sentence)
        {
            self.problems.report(&sentence);
            self.failing = Some(sentence);
        }
        if can_work_later { Outcome::Retry } else { Outcome::Failed }
    }

    fn give_up(&mut self, windows: Vec<Window>) {
        let mut lost = windows.iter().map(|window| window.records.len() as u64).sum();
        for window in windows {
            add_losses(&mut self.unwritten, window.losses);
            self.unwritten_events.extend(window.events);
        }
        lost += shorten(&mut self.unwritten_events);
        if lost > 0 {
            self.report_lost(lost);
            add_losses(&mut self.unwritten, [Loss { kind: LossKind::Log, count: lost }]);
        }
    }

    /// Makes rollups that are missing.
    fn idle(&mut self) -> bool {
        match self.writer.as_mut().map(Writer::catch_up) {
            Some(Ok(more)) => more,
            // The next window meets the same lock or full disk and reports it. Queries work without rollups.
            _ => false,
        }
    }

    fn finish(&mut self) {
        if let Some(writer) = &mut self.writer
            && let Err(error) = writer.checkpoint()
            && !error.is_transient()
        {
            self.problems.report(&model::error_chain(&error));
        }
    }
}

/// Drops the oldest of too many events. Returns their number.
fn shorten(events: &mut Vec<Event>) -> u64 {
    let excess = events.len().saturating_sub(MAX_UNWRITTEN_EVENTS);
    events.drain(..excess);
    excess as u64
}

#[cfg(test)]
mod tests;
