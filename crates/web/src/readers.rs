//! The readers of the log or the server: a few threads, each with a connection of its own. Equal questions that are asked at the same time are
//! answered once.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use axum::body::Bytes;
use server_query::{LogSource, SourceInterrupter, SourceReader};
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
/// Groups of an answer while it is made, by ids of the log. A question with as many takes about 110 MB, and all readers together
/// fit into what the unit allows.
const MAX_GROUPS: usize = 150_000;
/// How long a question may wait for a reader.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// How long a reader may work on an answer, whoever waits for it.
const MAX_WORK: Duration = Duration::from_secs(20);
/// The same for a server, which has the logs of many machines.
const MAX_WORK_OF_SERVER: Duration = Duration::from_secs(60);
/// How long an answer is given to those who ask the same again. The windows of the log are longer.
const KEPT_FOR: Duration = Duration::from_secs(1);
/// Answers that are kept, and bytes of the largest.
const MAX_KEPT: usize = 64;
const MAX_KEPT_BYTES: usize = 128 * 1024;

/// The work for an answer.
type Work = Box<dyn FnOnce(&LogFile) -> Result<Bytes, ApiError> + Send>;

/// The log as a reader sees it.
pub(crate) struct LogFile {
    /// Reads it.
    pub reader: SourceReader,
    /// Which log or server it is. A log that was replaced has another one.
    pub id: String,
    /// Colours of its programs.
    pub slots: Arc<Slots>,
}

/// A question that waits or is at work, for all who ask it (a single flight).
struct Flight {
    progress: watch::Sender<Progress>,
    /// Interrupts the work; `None` while it waits. Changed with the lock of the [`State`].
    at_work: Mutex<Option<SourceInterrupter>>,
    /// Nobody gets this answer any more. Written and read with the lock of the [`State`].
    is_abandoned: AtomicBool,
}

/// How far a question is.
#[derive(Clone, Debug)]
enum Progress {
    Waiting,
    /// A reader has worked on it since this time.
    Working(Instant),
    Done(Result<Bytes, ApiError>),
}

impl Flight {
    /// Ends the work. The caller holds the lock of the [`State`].
    fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::Relaxed);
        if let Some(interrupter) = &*self.at_work.lock().unwrap_or_else(PoisonError::into_inner) {
            interrupter.interrupt();
        }
    }

    /// Sets what interrupts the work. The caller holds the lock of the [`State`].
    fn set_at_work(&self, interrupter: Option<SourceInterrupter>) {
        *self.at_work.lock().unwrap_or_else(PoisonError::into_inner) = interrupter;
    }
}

/// A question for the readers.
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
    source: LogSource,
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
    pub fn start(source: LogSource) -> std::io::Result<Arc<Self>> {
        let readers = Arc::new(Self {
            source,
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
        match self.join(key, Box::new(work))? {
            Joined::Kept(answer) => Ok(answer),
            Joined::Waiting(waiter) => waiter.wait().await,
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
            progress: watch::Sender::new(Progress::Waiting),
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
            let answer = self.run(&mut log, job.work, &job.flight);
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
            job.flight.progress.send_replace(Progress::Done(answer));
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
        flight.progress.send_replace(Progress::Working(Instant::now()));
        let file = self.open(log)?;
        let interrupter = file.reader.interrupter();
        {
            let _state = self.lock();
            if flight.is_abandoned.load(Ordering::Relaxed) {
                return Err(ended());
            }
            flight.set_at_work(Some(interrupter.clone()));
        }
        let answer = work(file);
        {
            let _state = self.lock();
            flight.set_at_work(None);
        }
        interrupter.resume();
        if answer.as_ref().is_err_and(|error| error.kind == ErrorKind::Log) {
            // It may be another file by now, or readable again.
            *log = None;
        }
        answer
    }

    /// The log, which is opened again if another file is in its place.
    fn open<'a>(&self, log: &'a mut Option<LogFile>) -> Result<&'a LogFile, ApiError> {
        let mut file = match log.take().filter(|log| log.reader.is_current()) {
            Some(file) => file,
            None => {
                let mut reader = SourceReader::open(&self.source)?;
                match &mut reader {
                    SourceReader::Log(reader) => {
                        reader.make_no_files()?;
                        reader.limit_groups(MAX_GROUPS);
                    }
                    SourceReader::Server(reader) => {
                        reader.limit_rows(MAX_GROUPS);
                        reader.check()?;
                    }
                }
                LogFile { reader, id: String::new(), slots: Arc::default() }
            }
        };
        // The daemon may have begun an epoch in this same file: it found that the file is an older copy, or another log.
        let id = file.reader.identity()?;
        if id != file.id {
            file.slots = self.slots.of_log(&id);
            file.id = id;
        }
        Ok(log.insert(file))
    }

    fn max_work(&self) -> Duration {
        if self.source.is_server() { MAX_WORK_OF_SERVER } else { MAX_WORK }
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

/// A client that waits for an answer. The last one that goes ends the work.
struct Waiter {
    progress: watch::Receiver<Progress>,
    flight: Arc<Flight>,
    readers: Arc<Readers>,
}

impl Waiter {
    fn new(readers: &Arc<Readers>, flight: &Arc<Flight>) -> Self {
        let progress = flight.progress.subscribe();
        Self { progress, flight: Arc::clone(flight), readers: Arc::clone(readers) }
    }

    async fn wait(mut self) -> Result<Bytes, ApiError> {
        let joined = Instant::now();
        loop {
            let progress = self.progress.borrow_and_update().clone();
            let deadline = match &progress {
                Progress::Waiting => joined + MAX_WAIT,
                Progress::Working(begin) => *begin + self.readers.max_work(),
                Progress::Done(answer) => return answer.clone(),
            };
            match (tokio::time::timeout_at(deadline.into(), self.progress.changed()).await, progress) {
                (Ok(Ok(())), _) => {}
                (Ok(Err(_)), _) => return Err(ended()),
                (Err(_), Progress::Waiting) => {
                    return Err(ApiError::new(
                        ErrorKind::Busy,
                        "other questions are being answered; try again in a moment",
                    ));
                }
                (Err(_), _) => {
                    let _state = self.readers.lock();
                    self.flight.abandon();
                    return Err(ApiError::new(
                        ErrorKind::Timeout,
                        "the answer took too long; ask for a shorter range or set a filter",
                    ));
                }
            }
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut state = self.readers.lock();
        if self.flight.progress.receiver_count() > 1 {
            return;
        }
        self.flight.abandon();
        let is_same = |flight: &Arc<Flight>| Arc::ptr_eq(flight, &self.flight);
        let at = state.waiting.iter().position(|job| is_same(&job.flight));
        let unanswered = at.and_then(|at| state.waiting.remove(at));
        if let Some(job) = &unanswered {
            state.flights.remove(&job.key);
        }
        // What the work has captured is dropped without the lock.
        drop(state);
        drop(unanswered);
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::Pin, sync::atomic::AtomicUsize};

    use store::Writer;

    use super::*;

    /// Readers of an empty log, and a runtime for those who ask.
    fn readers() -> (tempfile::TempDir, Arc<Readers>, tokio::runtime::Runtime) {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("snitch.db");
        drop(Writer::open(&path).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        (place, Readers::start(LogSource::Log(path)).unwrap(), runtime)
    }

    /// Work that takes a while, and is counted.
    fn slow(count: &Arc<AtomicUsize>) -> impl FnOnce(&LogFile) -> Result<Bytes, ApiError> + Send + use<> {
        let count = Arc::clone(count);
        move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(300));
            Ok(Bytes::from_static(b"answer"))
        }
    }

    /// A question, asked so far that it is in the queue.
    async fn begin<'a>(
        question: impl Future<Output = Result<Bytes, ApiError>> + 'a,
    ) -> Pin<Box<dyn Future<Output = Result<Bytes, ApiError>> + 'a>> {
        let mut question = Box::pin(question);
        let once = std::future::poll_fn(|context| {
            assert!(question.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        });
        once.await;
        question
    }

    #[test]
    fn equal_questions_are_answered_once() {
        let (_place, readers, runtime) = readers();
        let count = Arc::default();
        runtime.block_on(async {
            let mut asked = Vec::new();
            for _ in 0..50 {
                asked.push(begin(readers.answer("same".into(), slow(&count))).await);
            }
            for question in asked {
                assert_eq!(question.await.unwrap(), "answer");
            }
            // It is kept for a moment.
            assert_eq!(readers.answer("same".into(), slow(&count)).await.unwrap(), "answer");
        });
        assert_eq!(count.load(Ordering::Relaxed), 1);
        assert_eq!(readers.shared_answers.load(Ordering::Relaxed), 50);
    }

    #[test]
    fn what_nobody_waits_for_is_not_done_and_takes_no_place() {
        let (_place, readers, runtime) = readers();
        let (busy, abandoned, last) = (Arc::default(), Arc::default(), Arc::default());
        runtime.block_on(async {
            let mut at_work = Vec::new();
            for number in 0..READERS {
                at_work.push(begin(readers.answer(format!("busy {number}"), slow(&busy))).await);
            }
            for number in 0..MAX_WAITING * 2 {
                drop(begin(readers.answer(format!("gone {number}"), slow(&abandoned))).await);
            }
            // The same as one that was given up is asked anew.
            assert_eq!(readers.answer("gone 0".into(), slow(&last)).await.unwrap(), "answer");
            for question in at_work {
                question.await.unwrap();
            }
        });
        let counts = [&busy, &abandoned, &last].map(|count| count.load(Ordering::Relaxed));
        assert_eq!((counts[0], counts[2]), (READERS, 1));
        // A reader may take one before it is given up.
        assert!(counts[1] <= READERS, "{counts:?}");
    }

    #[test]
    fn too_many_questions_are_refused() {
        let (_place, readers, runtime) = readers();
        let count = Arc::default();
        runtime.block_on(async {
            let mut asked = Vec::new();
            for number in 0..READERS + MAX_WAITING + 10 {
                let mut question = Box::pin(readers.answer(number.to_string(), slow(&count)));
                let state =
                    std::future::poll_fn(|context| std::task::Poll::Ready(question.as_mut().poll(context)));
                if let std::task::Poll::Ready(answer) = state.await {
                    assert_eq!(answer.unwrap_err().kind, ErrorKind::Busy);
                    return;
                }
                asked.push(question);
            }
            panic!("all of them were taken");
        });
    }
}
