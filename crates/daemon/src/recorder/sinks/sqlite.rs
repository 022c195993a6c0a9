//! The sink that writes windows to snitch.db and deletes what is older than the retention. It may have to wait for a
//! locked database or a full disk.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    sink::{Outcome, Sink},
    worker::Worker,
};
use crate::{messages::Settings, problems::Problems, recorder::losses::add_losses};
use model::{Loss, LossKind, Window};
use store::{StoreError, Writer};

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the shutdown tries to write to a log that cannot be written.
pub(super) const LAST_PATIENCE: Duration = Duration::from_secs(10);

/// The limits on age and size of the log.
#[derive(Clone, Copy)]
pub(super) struct Retention {
    days: u32,
    bytes: Option<u64>,
}

impl Retention {
    pub(super) fn of(settings: &Settings) -> Self {
        let bytes = settings.retention_megabytes.map(|megabytes| u64::from(megabytes) * 1_000_000);
        Self { days: settings.retention_days, bytes }
    }
}

/// Writes windows to the database, in one transaction each.
pub(super) struct SqliteSink {
    /// `None` until the database can be opened.
    writer: Option<Writer>,
    database: PathBuf,
    retention: Retention,
    problems: Arc<Problems>,
    /// When old records were last deleted because of their age.
    purged_by_age: Option<Instant>,
    /// When old records were last deleted because of the size of the database.
    purged_by_size: Option<Instant>,
    failing: bool,
    /// Losses that are in no window of the log yet: those of windows that were given up, and their records.
    unwritten: Vec<Loss>,
}

impl SqliteSink {
    /// Opens the log and starts the thread.
    ///
    /// # Errors
    /// The log cannot be used at all. The thread waits for a log that is merely locked.
    pub(super) fn start(
        database: PathBuf,
        retention: Retention,
        problems: Arc<Problems>,
    ) -> Result<Worker<Self>, StoreError> {
        let writer = match Writer::open(&database) {
            Ok(writer) => Some(writer),
            Err(error) if error.is_transient() => None,
            Err(error) => return Err(error),
        };
        let sink = Self::new(writer, database, retention, problems);
        Worker::start(sink).map_err(|source| StoreError::File { path: "the writing thread".into(), source })
    }

    fn new(writer: Option<Writer>, database: PathBuf, retention: Retention, problems: Arc<Problems>) -> Self {
        Self {
            writer,
            database,
            retention,
            problems,
            purged_by_age: None,
            purged_by_size: None,
            failing: false,
            unwritten: Vec::new(),
        }
    }

    fn try_write(&mut self, window: &Window) -> Result<(), StoreError> {
        match &mut self.writer {
            Some(writer) => writer.write(window),
            None => Writer::open(&self.database).and_then(|writer| self.writer.insert(writer).write(window)),
        }
    }

    fn report_lost(&self, records: u64) {
        self.problems.report(&format!("{records} records could not be written and are lost."));
    }

    fn purge_if_due(&mut self, now: i64) {
        if self.purged_by_age.is_none_or(|last| last.elapsed() >= DAY) {
            self.purged_by_age = Some(Instant::now());
            self.purge_by_age(now);
        }
        if self.purged_by_size.is_none_or(|last| last.elapsed() >= HOUR) {
            self.purged_by_size = Some(Instant::now());
            self.purge_by_size();
        }
    }

    fn purge_by_age(&mut self, now: i64) {
        let older_than = now - i64::from(self.retention.days) * 24 * 60 * 60;
        if let Some(writer) = &mut self.writer
            && let Err(error) = writer.purge(older_than)
        {
            self.problems
                .report(&format!("{}. Old records are kept until tomorrow.", model::error_chain(&error)));
        }
    }

    fn purge_by_size(&mut self) {
        if let (Some(writer), Some(bytes)) = (&mut self.writer, self.retention.bytes)
            && let Err(error) = writer.purge_to_size(bytes)
        {
            self.problems.report(&format!(
                "{}. The log may be larger than log.retention_megabytes for another hour.",
                model::error_chain(&error)
            ));
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
        oldest.records.len() as u64
    }

    fn prepare(&mut self, window: &mut Window, dropped: u64) {
        if dropped > 0 {
            self.report_lost(dropped);
            add_losses(&mut window.losses, [Loss { kind: LossKind::Log, count: dropped }]);
        }
        add_losses(&mut window.losses, self.unwritten.drain(..));
    }

    fn write(&mut self, window: &Window) -> Outcome {
        let Err(error) = self.try_write(window) else {
            if std::mem::take(&mut self.failing) {
                self.problems.report("The log can be written again.");
            }
            self.purge_if_due(window.time);
            return Outcome::Done;
        };
        if !std::mem::replace(&mut self.failing, true) {
            let wait = match error.is_transient() {
                true => " Windows wait in memory until it can be written.",
                false => "",
            };
            self.problems.report(&format!("{}.{wait}", model::error_chain(&error)));
        }
        if error.is_transient() { Outcome::Retry } else { Outcome::Failed }
    }

    fn give_up(&mut self, windows: Vec<Window>) {
        let lost = windows.iter().map(|window| window.records.len() as u64).sum();
        add_losses(&mut self.unwritten, windows.into_iter().flat_map(|window| window.losses));
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use model::{Counters, FlowTuple, GeoInfo, Record};

    /// A sink that has not opened its log.
    fn sink(directory: &Path) -> SqliteSink {
        let problems = Arc::new(Problems::new(directory.join("error.log")));
        let retention = Retention { days: 1, bytes: None };
        SqliteSink::new(None, directory.join("snitch.db"), retention, problems)
    }

    fn window(records: usize, losses: Vec<Loss>) -> Window {
        let record = Record {
            context: Arc::default(),
            geo: GeoInfo::default(),
            tuple: FlowTuple::default(),
            counters: Counters::default(),
        };
        Window { time: 0, records: vec![record; records], losses }
    }

    #[test]
    fn what_was_lost_before_a_dropped_window_stays_in_the_log() {
        let loss = |count| Loss { kind: LossKind::Channel, count };
        let oldest = Window { losses: vec![loss(7)], ..Window::default() };
        let mut next = Window { losses: vec![loss(1)], ..Window::default() };
        assert_eq!(SqliteSink::drop_oldest(oldest, &mut next), 0);
        assert_eq!(next.losses, [loss(8)]);
    }

    #[test]
    fn windows_without_records_are_bounded_too() {
        assert_eq!(SqliteSink::weight(&Window::default()), 1);
        assert_eq!(SqliteSink::weight(&window(3, Vec::new())), 3);
    }

    #[test]
    fn what_was_given_up_is_a_loss_of_the_next_window() {
        let directory = tempfile::tempdir().unwrap();
        let mut sink = sink(directory.path());
        let (channel, names) = (LossKind::Channel, LossKind::Names);
        let loss = |kind, count| Loss { kind, count };
        let mut first = window(2, vec![loss(channel, 7)]);
        sink.prepare(&mut first, 5);
        sink.give_up(vec![first]);
        // Windows with nothing but losses.
        sink.give_up(vec![window(0, vec![loss(names, 1)]), window(0, vec![loss(names, 2)])]);
        let mut next = window(1, vec![loss(channel, 1)]);
        sink.prepare(&mut next, 0);
        next.losses.sort_by_key(|loss| loss.kind);
        assert_eq!(next.losses, [loss(channel, 8), loss(LossKind::Log, 7), loss(names, 3)]);
        let mut later = window(1, Vec::new());
        sink.prepare(&mut later, 0);
        assert!(later.losses.is_empty());
        sink.give_up(vec![window(3, Vec::new()), window(0, Vec::new()), window(4, Vec::new())]);
        let reported = sink.problems.take_written();
        let expected = [5, 2, 7].map(|lost| format!("{lost} records could not be written and are lost."));
        assert_eq!(reported, expected);
    }

    #[test]
    fn a_log_that_cannot_be_used_is_an_error_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("snitch.db");
        std::fs::write(&database, "this is no database, but has more than a few bytes").unwrap();
        let problems = Arc::new(Problems::new(directory.path().join("error.log")));
        let retention = Retention { days: 1, bytes: None };
        assert!(SqliteSink::start(database, retention, problems).is_err());
    }

    #[test]
    fn the_end_writes_what_waits() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("snitch.db");
        let problems = Arc::new(Problems::new(directory.path().join("error.log")));
        let retention = Retention { days: 1, bytes: Some(1_000_000_000) };
        let worker = SqliteSink::start(database.clone(), retention, Arc::clone(&problems)).unwrap();
        let loss = Loss { kind: LossKind::Channel, count: 7 };
        worker.add(Window { time: model::text::time::now(), losses: vec![loss], ..Window::default() });
        worker.finish(LAST_PATIENCE);
        assert!(database.exists());
        assert!(problems.take_written().is_empty());
    }
}
