//! The thread that writes windows: it may wait for a locked database or a full disk, nobody else does.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::messages::Settings;
use crate::problems::Problems;
use model::{Loss, LossKind, Window};
use store::{StoreError, Writer};

/// Records that wait while the log cannot be written; the oldest windows beyond that are dropped and counted.
const MAX_WAITING: usize = 500_000;
const RETRY: Duration = Duration::from_millis(200);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the end waits for a log that cannot be written.
const LAST_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Queue {
    windows: VecDeque<Window>,
    waiting: usize,
    dropped: u64,
    end: bool,
}

/// The way to the writing thread.
pub struct Writing {
    shared: Arc<(Mutex<Queue>, Condvar)>,
    thread: JoinHandle<()>,
}

impl Writing {
    /// Opens the log and starts the thread.
    ///
    /// # Errors
    /// When the log cannot be used at all. A log that is merely locked is waited for.
    pub fn start(
        database: PathBuf,
        retention: Retention,
        problems: Arc<Problems>,
    ) -> Result<Self, StoreError> {
        let writer = match Writer::open(&database) {
            Ok(writer) => Some(writer),
            Err(error) if error.is_transient() => None,
            Err(error) => return Err(error),
        };
        let shared = Arc::new((Mutex::new(Queue::default()), Condvar::new()));
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("writer".into())
            .spawn(move || {
                let (database, problems) = (database.as_path(), problems.as_ref());
                write_all(
                    &theirs,
                    Thread {
                        writer,
                        database,
                        retention,
                        problems,
                        purged: None,
                        sized: None,
                        failing: false,
                    },
                );
            })
            .map_err(|source| StoreError::File { path: "the writing thread".into(), source })?;
        Ok(Self { shared, thread })
    }

    /// Hands over a window. Never waits.
    pub fn add(&self, window: Window) {
        let mut queue = lock(&self.shared.0);
        queue.waiting += window.records.len();
        queue.windows.push_back(window);
        while queue.waiting > MAX_WAITING && queue.windows.len() > 1 {
            if let Some(dropped) = queue.windows.pop_front() {
                queue.waiting -= dropped.records.len();
                queue.dropped += dropped.records.len() as u64;
                // What was lost before stays told.
                if let Some(next) = queue.windows.front_mut() {
                    next.losses.extend(dropped.losses);
                }
            }
        }
        self.shared.1.notify_one();
    }

    /// Writes what waits, and ends.
    ///
    /// # Errors
    /// When the thread has died.
    pub fn finish(self) -> io::Result<()> {
        lock(&self.shared.0).end = true;
        self.shared.1.notify_one();
        self.thread.join().map_err(|_| io::Error::other("the writing thread died"))
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How much of the log is kept.
#[derive(Clone, Copy)]
pub struct Retention {
    days: u32,
    bytes: Option<u64>,
}

impl Retention {
    /// As configured.
    pub fn of(settings: &Settings) -> Self {
        let bytes = settings.retention_megabytes.map(|megabytes| u64::from(megabytes) * 1_000_000);
        Self { days: settings.retention_days, bytes }
    }
}

/// What the thread keeps between two windows.
struct Thread<'a> {
    writer: Option<Writer>,
    database: &'a Path,
    retention: Retention,
    problems: &'a Problems,
    purged: Option<Instant>,
    /// When the size was last looked at.
    sized: Option<Instant>,
    failing: bool,
}

fn write_all(shared: &(Mutex<Queue>, Condvar), mut thread: Thread<'_>) {
    let mut ending: Option<Instant> = None;
    loop {
        let (window, end) = next(shared);
        if end && ending.is_none() {
            ending = Some(Instant::now());
        }
        let Some(window) = window else { break };
        if let Err(error) = thread.write(&window) {
            let given_up = ending.is_some_and(|since| since.elapsed() > LAST_PATIENCE);
            let mut queue = lock(&shared.0);
            if error.is_transient() && !given_up {
                queue.waiting += window.records.len();
                queue.windows.push_front(window);
                drop(queue);
                thread::sleep(RETRY);
            } else {
                queue.dropped += window.records.len() as u64;
                drop(queue);
                let lost = window.records.len();
                thread.problems.report(&format!("{lost} records could not be written and are lost."));
            }
        } else {
            // Nobody waits meanwhile: each step is short, and the next window ends it.
            while is_idle(shared) && thread.catch_up() {}
        }
    }
    if let Some(writer) = &mut thread.writer
        && let Err(error) = writer.checkpoint()
        && !error.is_transient()
    {
        thread.problems.report(&model::error_chain(&error));
    }
}

fn is_idle(shared: &(Mutex<Queue>, Condvar)) -> bool {
    let queue = lock(&shared.0);
    queue.windows.is_empty() && !queue.end
}

/// The next window, or `None` at the end, and whether the end has come.
fn next(shared: &(Mutex<Queue>, Condvar)) -> (Option<Window>, bool) {
    let mut queue = lock(&shared.0);
    while queue.windows.is_empty() && !queue.end {
        queue = shared.1.wait(queue).unwrap_or_else(PoisonError::into_inner);
    }
    let window = queue.windows.pop_front().map(|mut window| {
        queue.waiting -= window.records.len();
        match std::mem::take(&mut queue.dropped) {
            0 => {}
            count => window.losses.push(Loss { kind: LossKind::Log, count }),
        }
        window
    });
    (window, queue.end)
}

impl Thread<'_> {
    fn write(&mut self, window: &Window) -> Result<(), StoreError> {
        let result = match &mut self.writer {
            Some(writer) => writer.write(window),
            None => Writer::open(self.database).and_then(|writer| self.writer.insert(writer).write(window)),
        };
        match &result {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    self.problems.report("The log can be written again.");
                }
                if self.purged.is_none_or(|last| last.elapsed() >= DAY) {
                    self.purged = Some(Instant::now());
                    self.purge(window.time);
                }
                if self.sized.is_none_or(|last| last.elapsed() >= HOUR) {
                    self.sized = Some(Instant::now());
                    self.purge_to_size();
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    let text = model::error_chain(error);
                    let wait = if error.is_transient() {
                        " Windows wait in memory until it can be written."
                    } else {
                        ""
                    };
                    self.problems.report(&format!("{text}.{wait}"));
                }
            }
        }
        result
    }

    /// Makes rollups that are missing; false when there are none, or it has to wait.
    fn catch_up(&mut self) -> bool {
        match self.writer.as_mut().map(Writer::catch_up) {
            Some(Ok(more)) => more,
            // A lock or a full disk is told when the next window meets it; questions are answered without, too.
            _ => false,
        }
    }

    fn purge(&mut self, now: i64) {
        let older_than = now - i64::from(self.retention.days) * 24 * 60 * 60;
        if let Some(writer) = &mut self.writer
            && let Err(error) = writer.purge(older_than)
        {
            self.problems
                .report(&format!("{}. Old records are kept until tomorrow.", model::error_chain(&error)));
        }
    }

    fn purge_to_size(&mut self) {
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
