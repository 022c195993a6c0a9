//! The readers of the log: a few threads, each with a connection of its own. Equal questions that are asked at the same time are
//! answered once.

use std::{
    collections::{HashMap, VecDeque},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use axum::body::Bytes;
use store::{Interrupter, Reader};
use tokio::sync::watch;

use crate::{
    error::{ApiError, ErrorKind},
    memory,
    slots::{SharedSlots, Slots},
};

/// Questions at work at the same time. More would only wait for the processor.
const READERS: usize = 4;
/// Questions that wait; more are refused.
const MAX_WAITING: usize = 256;
/// Groups of an answer while it is made, by ids of the log: with as many, this process takes less than 200 MB.
const MAX_GROUPS: usize = 250_000;
/// How long an answer may be made.
const MAX_WORK: Duration = Duration::from_secs(20);
/// How long an answer is given to those who ask the same again. The windows of the log are longer.
const KEPT_FOR: Duration = Duration::from_secs(1);
/// Answers that are kept, and bytes of the largest.
const MAX_KEPT: usize = 64;
const MAX_KEPT_BYTES: usize = 128 * 1024;

/// The work for an answer.
type Work = Box<dyn FnOnce(&LogFile) -> Result<Bytes, ApiError> + Send>;
/// An answer, when it is there.
type Answer = Option<Result<Bytes, ApiError>>;

/// The log as a reader sees it.
pub(crate) struct LogFile {
    /// Reads it.
    pub reader: Reader,
    /// Which file it is. A log that was replaced has another one.
    pub id: String,
    /// Colours of its programs.
    pub slots: Arc<Slots>,
}

/// A question that waits or is at work.
struct Flight {
    answer: watch::Sender<Answer>,
    /// Interrupts the work; `None` while it waits.
    at_work: Mutex<Option<Interrupter>>,
    /// Nobody waits any more. Written and read with the lock of the [`State`].
    is_abandoned: AtomicBool,
}

struct Job {
    key: String,
    work: Work,
    flight: Arc<Flight>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    flights: HashMap<String, Arc<Flight>>,
    kept: HashMap<String, (Instant, Bytes)>,
}

/// The threads and what they share.
pub(crate) struct Readers {
    path: PathBuf,
    state: Mutex<State>,
    wake: Condvar,
    slots: SharedSlots,
    /// Answers that were given without work of their own.
    pub shared_answers: AtomicU64,
}

impl Readers {
    /// Starts the threads. They open the log when the first question comes.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(path: &Path) -> std::io::Result<Arc<Self>> {
        let readers = Arc::new(Self {
            path: path.to_owned(),
            state: Mutex::default(),
            wake: Condvar::new(),
            slots: SharedSlots::default(),
            shared_answers: AtomicU64::new(0),
        });
        for number in 0..READERS {
            let readers = Arc::clone(&readers);
            thread::Builder::new().name(format!("reader-{number}")).spawn(move || readers.work())?;
        }
        Ok(readers)
    }

    /// Answers a question, whose text is `key`: who asks with the same key at the same time gets the same answer.
    ///
    /// # Errors
    /// Those of the work; too many questions wait; the work takes too long.
    pub async fn answer(
        self: &Arc<Self>,
        key: String,
        work: impl FnOnce(&LogFile) -> Result<Bytes, ApiError> + Send + 'static,
    ) -> Result<Bytes, ApiError> {
        let mut waiter = match self.join(key, Box::new(work))? {
            Joined::Kept(answer) => return Ok(answer),
            Joined::Waiting(waiter) => waiter,
        };
        let wait = waiter.answer.wait_for(Option::is_some);
        match tokio::time::timeout(MAX_WORK, wait).await {
            Ok(Ok(answer)) => answer.clone().unwrap_or_else(|| Err(ended())),
            Ok(Err(_)) => Err(ended()),
            Err(_) => Err(ApiError::new(
                ErrorKind::Timeout,
                "the answer took too long; ask for a shorter range or set a filter",
            )),
        }
    }

    fn join(self: &Arc<Self>, key: String, work: Work) -> Result<Joined, ApiError> {
        let mut state = self.lock();
        if let Some((time, answer)) = state.kept.get(&key)
            && time.elapsed() < KEPT_FOR
        {
            self.shared_answers.fetch_add(1, Ordering::Relaxed);
            return Ok(Joined::Kept(answer.clone()));
        }
        if let Some(flight) = state.flights.get(&key)
            && !flight.is_abandoned.load(Ordering::Relaxed)
        {
            self.shared_answers.fetch_add(1, Ordering::Relaxed);
            return Ok(Joined::Waiting(Waiter::new(self, flight)));
        }
        if state.waiting.len() >= MAX_WAITING {
            return Err(ApiError::new(
                ErrorKind::Busy,
                "too many questions wait for an answer; try again in a moment",
            ));
        }
        let flight = Arc::new(Flight {
            answer: watch::Sender::new(None),
            at_work: Mutex::new(None),
            is_abandoned: AtomicBool::new(false),
        });
        let waiter = Waiter::new(self, &flight);
        state.flights.insert(key.clone(), Arc::clone(&flight));
        state.waiting.push_back(Job { key, work, flight });
        self.wake.notify_one();
        Ok(Joined::Waiting(waiter))
    }

    /// The loop of a thread.
    fn work(&self) {
        let mut log = None;
        loop {
            let job = self.next();
            let answer = match job.flight.is_abandoned.load(Ordering::Relaxed) {
                true => Err(ended()),
                false => self.run(&mut log, job.work, &job.flight),
            };
            let mut state = self.lock();
            // The same may have been asked again after this was given up.
            if state.flights.get(&job.key).is_some_and(|flight| Arc::ptr_eq(flight, &job.flight)) {
                state.flights.remove(&job.key);
            }
            if let Ok(answer) = &answer
                && answer.len() <= MAX_KEPT_BYTES
            {
                state.kept.retain(|_, (time, _)| time.elapsed() < KEPT_FOR);
                if state.kept.len() < MAX_KEPT {
                    state.kept.insert(job.key, (Instant::now(), answer.clone()));
                }
            }
            let is_idle = state.waiting.is_empty();
            drop(state);
            job.flight.answer.send_replace(Some(answer));
            if is_idle {
                memory::give_back();
            }
        }
    }

    fn next(&self) -> Job {
        let mut state = self.lock();
        loop {
            match state.waiting.pop_front() {
                Some(job) => return job,
                None => state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn run(&self, log: &mut Option<LogFile>, work: Work, flight: &Flight) -> Result<Bytes, ApiError> {
        let file = self.open(log)?;
        let interrupter = file.reader.interrupter();
        *flight.at_work.lock().unwrap_or_else(PoisonError::into_inner) = Some(interrupter.clone());
        let answer = work(file);
        flight.at_work.lock().unwrap_or_else(PoisonError::into_inner).take();
        interrupter.resume();
        if answer.as_ref().is_err_and(|error| error.kind == ErrorKind::Log) {
            // It may be another file by now, or readable again.
            *log = None;
        }
        answer
    }

    /// The log, which is opened again if another file is in its place.
    fn open<'a>(&self, log: &'a mut Option<LogFile>) -> Result<&'a LogFile, ApiError> {
        let file = match log.take().filter(|log| log.reader.is_current()) {
            Some(file) => file,
            None => {
                let mut reader = Reader::open(&self.path)?;
                reader.make_no_files()?;
                reader.limit_groups(MAX_GROUPS);
                let id = reader.identity()?;
                LogFile { slots: self.slots.of_log(&id), id, reader }
            }
        };
        Ok(log.insert(file))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ended() -> ApiError {
    ApiError::new(ErrorKind::Busy, "the question was given up; ask again")
}

enum Joined {
    Kept(Bytes),
    Waiting(Waiter),
}

/// Somebody who waits for an answer. The last one who goes ends the work.
struct Waiter {
    answer: watch::Receiver<Answer>,
    flight: Arc<Flight>,
    readers: Arc<Readers>,
}

impl Waiter {
    fn new(readers: &Arc<Readers>, flight: &Arc<Flight>) -> Self {
        Self { answer: flight.answer.subscribe(), flight: Arc::clone(flight), readers: Arc::clone(readers) }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let _state = self.readers.lock();
        if self.flight.answer.receiver_count() == 1 {
            self.flight.is_abandoned.store(true, Ordering::Relaxed);
            if let Some(interrupter) = &*self.flight.at_work.lock().unwrap_or_else(PoisonError::into_inner) {
                interrupter.interrupt();
            }
        }
    }
}
