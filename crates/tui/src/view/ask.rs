//! Questions to the log, in a thread of their own: the newest wins, what is running for an older one is stopped.

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc::SyncSender},
    thread,
    time::{Duration, Instant},
};

use super::{
    detail::{self, Detail, Subject},
    range::{self, Window},
};
use crate::term::events::Event;
use model::{Counters, Loss, error_chain};
use store::{Dimension, Filter, Interrupter, Query, Reader, Row, Sort, StoreError, Value};

/// Rows that are kept of an answer: more than anyone scrolls through, a few megabytes of memory.
pub const MAX_ROWS: usize = 10_000;

/// What a screen needs to know.
#[derive(Clone, Debug)]
pub struct Question {
    /// Which rows.
    pub dimension: Dimension,
    /// When.
    pub window: Window,
    /// The present, unix seconds: where a window without an end ends.
    pub now: i64,
    /// Only these.
    pub filters: Vec<Filter>,
    /// In which order.
    pub sort: Sort,
    /// Columns of the chart.
    pub columns: usize,
    /// The local time.
    pub zone: jiff::tz::TimeZone,
}

/// What the thread is asked.
#[derive(Clone, Debug)]
pub enum Request {
    /// Rows, sums, chart.
    Screen(Box<Question>),
    /// One row in detail.
    Detail(Box<Question>, Subject),
}

/// Rows and sums.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// At most [`MAX_ROWS`].
    pub rows: Vec<Row>,
    /// There are more.
    pub more: bool,
    /// On the tab on time: where the pieces begin and end.
    pub edges: Vec<i64>,
    /// Everything that matches the filters.
    pub total: Counters,
    /// What was lost in the window.
    pub losses: Vec<Loss>,
    /// Ends of the first and the last window of the log.
    pub extent: Option<(i64, i64)>,
}

/// Counters over time.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Where the pieces begin and end, unix seconds.
    pub edges: Vec<i64>,
    /// The sum of each piece.
    pub sums: Vec<Counters>,
    /// Something was lost in the piece.
    pub lossy: Vec<bool>,
}

/// What the thread says; the number is that of the request.
#[derive(Debug)]
pub enum Answer {
    /// The log is open.
    Opened,
    /// The log cannot be opened, or not any more; it is tried again with the next request.
    Failed(u64, StoreError),
    /// To a screen, first.
    Rows(u64, Box<Rows>),
    /// To a screen, then; and how long all of it took.
    Series(u64, Series, Duration),
    /// To a detail.
    Detail(u64, Box<Detail>),
}

#[derive(Default)]
struct Desk {
    /// What is to be asked next: a screen before a detail.
    screen: Option<(u64, Question)>,
    detail: Option<(u64, Question, Subject)>,
    /// How to stop what is running, and whether it is a detail.
    running: Option<bool>,
    interrupter: Option<Interrupter>,
    closed: bool,
}

/// The way to the thread.
pub struct Asker {
    desk: Arc<(Mutex<Desk>, Condvar)>,
}

impl Asker {
    /// Starts the thread, which opens the log first.
    ///
    /// # Errors
    /// The system has no thread.
    pub fn start(
        database: &Path,
        record_json: &Path,
        answers: SyncSender<Event<Answer>>,
    ) -> io::Result<Self> {
        let desk = Arc::new((Mutex::new(Desk::default()), Condvar::new()));
        let worker = Worker {
            desk: Arc::clone(&desk),
            database: database.to_owned(),
            record_json: record_json.to_owned(),
            answers,
            reader: None,
        };
        thread::Builder::new().name("log".to_owned()).spawn(move || worker.run())?;
        Ok(Self { desk })
    }

    /// Asks. Whatever was asked before of the same kind is not answered any more; a new screen also needs another
    /// detail.
    pub fn ask(&self, number: u64, request: Request) {
        let mut desk = lock(&self.desk.0);
        let stop = match request {
            Request::Screen(question) => {
                desk.screen = Some((number, *question));
                desk.detail = None;
                desk.running.is_some()
            }
            Request::Detail(question, subject) => {
                desk.detail = Some((number, *question, subject));
                desk.running == Some(true)
            }
        };
        // With the lock held: so it cannot hit what was just asked.
        if stop && let Some(interrupter) = &desk.interrupter {
            interrupter.interrupt();
        }
        self.desk.1.notify_one();
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        let mut desk = lock(&self.desk.0);
        desk.closed = true;
        if let Some(interrupter) = &desk.interrupter {
            interrupter.interrupt();
        }
        self.desk.1.notify_one();
    }
}

fn lock(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Worker {
    desk: Arc<(Mutex<Desk>, Condvar)>,
    database: PathBuf,
    record_json: PathBuf,
    answers: SyncSender<Event<Answer>>,
    /// The open log, and which file it is: another one may have taken its place.
    reader: Option<(Reader, (u64, u64))>,
}

impl Worker {
    fn run(mut self) {
        match self.open() {
            Ok(()) => self.say(Answer::Opened),
            Err(error) => self.say(Answer::Failed(0, error)),
        }
        while let Some((number, request)) = self.next() {
            let answered = self.open().and_then(|()| self.answer(number, request));
            lock(&self.desk.0).running = None;
            match answered {
                Err(error) if error.is_interrupted() => {}
                Err(error) => {
                    self.reader = None;
                    lock(&self.desk.0).interrupter = None;
                    self.say(Answer::Failed(number, error));
                }
                Ok(()) => {}
            }
        }
    }

    fn next(&self) -> Option<(u64, Request)> {
        let mut desk = lock(&self.desk.0);
        loop {
            if desk.closed {
                return None;
            }
            // What was to be ended has ended; with the lock held, what comes now cannot be meant.
            if let Some(interrupter) = &desk.interrupter {
                interrupter.resume();
            }
            if let Some((number, question)) = desk.screen.take() {
                desk.running = Some(false);
                return Some((number, Request::Screen(Box::new(question))));
            }
            if let Some((number, question, subject)) = desk.detail.take() {
                desk.running = Some(true);
                return Some((number, Request::Detail(Box::new(question), subject)));
            }
            desk = self.desk.1.wait(desk).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Opens the log, or again if its file was replaced.
    fn open(&mut self) -> Result<(), StoreError> {
        let file = std::fs::metadata(&self.database).map(|file| (file.dev(), file.ino())).ok();
        if self.reader.as_ref().is_some_and(|(_, known)| Some(*known) == file) {
            return Ok(());
        }
        self.reader = None;
        let reader = Reader::open(&self.database)?;
        lock(&self.desk.0).interrupter = Some(reader.interrupter());
        self.reader = Some((reader, file.unwrap_or_default()));
        Ok(())
    }

    fn answer(&self, number: u64, request: Request) -> Result<(), StoreError> {
        let Some((reader, _)) = &self.reader else { return Ok(()) };
        match request {
            Request::Screen(question) => {
                let started = Instant::now();
                let rows = rows(reader, &question)?;
                self.say(Answer::Rows(number, Box::new(rows)));
                if lock(&self.desk.0).screen.is_some() {
                    return Ok(());
                }
                let series = series(reader, &question, question.columns)?;
                self.say(Answer::Series(number, series, started.elapsed()));
            }
            Request::Detail(question, subject) => {
                let detail = detail::ask(reader, &self.record_json, &question, &subject)?;
                self.say(Answer::Detail(number, Box::new(detail)));
            }
        }
        Ok(())
    }

    fn say(&self, answer: Answer) {
        // The screen has ended: nobody listens.
        let _ = self.answers.send(Event::Message(answer));
    }
}

/// Rows of the tab on time.
const MAX_PIECES: usize = 400;

/// The question for the rows.
pub fn query(question: &Question) -> Query {
    Query {
        range: question.window.range(),
        group_by: vec![question.dimension],
        filters: question.filters.clone(),
        sort: question.sort,
        limit: None,
    }
}

/// The rows of a screen, and what is said beside them.
///
/// # Errors
/// Those of the log.
pub fn rows(reader: &Reader, question: &Question) -> Result<Rows, StoreError> {
    let mut answer =
        Rows { losses: reader.losses(question.window.range())?, extent: reader.extent()?, ..Rows::default() };
    if question.dimension == Dimension::Time {
        // Its rows are the pieces of the chart: a row a window would be millions.
        let series = series(reader, question, MAX_PIECES)?;
        series.sums.iter().for_each(|sum| answer.total += *sum);
        answer.rows = pieces_as_rows(&series, question.sort);
        answer.edges = series.edges;
    } else {
        let query = Query { limit: Some(MAX_ROWS as u64 + 1), ..query(question) };
        (answer.rows, answer.total) = reader.query_with_total(&query)?;
        answer.more = answer.rows.len() > MAX_ROWS;
        answer.rows.truncate(MAX_ROWS);
    }
    Ok(answer)
}

/// The chart of a screen, in at most so many pieces.
///
/// # Errors
/// Those of the log.
pub fn series(reader: &Reader, question: &Question, most: usize) -> Result<Series, StoreError> {
    let Some((first, last)) = reader.extent()? else { return Ok(Series::default()) };
    let start = question.window.start.unwrap_or(first);
    let end = question.window.end.unwrap_or(last.max(question.now) + 1);
    let edges = range::pieces(start, end.max(start + 1), most, &question.zone);
    let sums = reader.series(&question.filters, &edges)?;
    let lossy = reader.lossy(&edges)?;
    Ok(Series { edges, sums, lossy })
}

/// The pieces in which there was something, named by their start.
fn pieces_as_rows(series: &Series, sort: Sort) -> Vec<Row> {
    let pieces = series.edges.iter().zip(&series.sums).filter(|(_, sum)| **sum != Counters::default());
    let mut rows: Vec<Row> =
        pieces.map(|(start, sum)| Row { values: vec![Value::Integer(*start)], counters: *sum }).collect();
    let key = |row: &Row| match sort {
        Sort::Connections => row.counters.connections,
        Sort::Sent => row.counters.sent,
        Sort::Received => row.counters.received,
        Sort::Total | Sort::Dimension(_) => row.counters.sent.saturating_add(row.counters.received),
    };
    // The latest first, unless something else was wanted.
    rows.reverse();
    if !matches!(sort, Sort::Dimension(_)) {
        rows.sort_by_key(|row| std::cmp::Reverse(key(row)));
    }
    rows
}

/// A failure as a sentence.
pub fn sentence(error: &StoreError) -> String {
    let advice = if error.is_permission() {
        "; run it as root, or as a member of the group that owns the log"
    } else if error.is_transient() {
        "; press r to try again"
    } else {
        ""
    };
    format!("{}{advice}", error_chain(error))
}
