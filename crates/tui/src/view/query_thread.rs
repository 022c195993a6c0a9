//! The thread that queries the log or the server. Only the newest request counts: a query for an older one is interrupted.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc::SyncSender},
    thread,
    time::Instant,
};

use super::{
    detail::{self, DetailSubject},
    messages::{Request, Response},
    query::{self, ScreenQuery},
};
use crate::term::events::Event;
use server_query::{LogSource, SourceError, SourceInterrupter, SourceReader};

/// The kind of a request that is being answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Running {
    Screen,
    Detail,
}

/// Requests that wait, and what is running. Both threads share it.
#[derive(Default)]
struct Pending {
    /// The next screen request; it is answered before `detail`.
    screen: Option<(u64, ScreenQuery)>,
    detail: Option<(u64, ScreenQuery, DetailSubject)>,
    running: Option<Running>,
    /// Stops the query that is running.
    interrupter: Option<SourceInterrupter>,
    /// Set when the screen ends.
    closed: bool,
}

#[derive(Default)]
struct Shared {
    pending: Mutex<Pending>,
    /// Signalled when `pending` has changed.
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The query thread, as the screen sees it. Dropping it ends the thread.
pub struct QueryThread {
    shared: Arc<Shared>,
}

impl QueryThread {
    /// Starts the thread, which opens the log or connects to the server first. `record_json` has the verdicts on the programs of a
    /// log, if that is of this machine.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start(
        source: LogSource,
        record_json: Option<PathBuf>,
        responses: SyncSender<Event<Response>>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let worker = Worker { shared: Arc::clone(&shared), source, record_json, responses, reader: None };
        thread::Builder::new().name("log".to_owned()).spawn(move || worker.run())?;
        Ok(Self { shared })
    }

    /// Sends a request. It replaces one of the same kind, also if that is running; a screen request replaces a detail
    /// request, too.
    pub fn request(&self, number: u64, request: Request) {
        let mut pending = self.shared.lock();
        let obsolete = match request {
            Request::Screen(query) => {
                pending.screen = Some((number, *query));
                pending.detail = None;
                pending.running.is_some()
            }
            Request::Detail(query, subject) => {
                pending.detail = Some((number, *query, subject));
                pending.running == Some(Running::Detail)
            }
        };
        // The lock is held, so the new request cannot be running yet and be interrupted instead.
        if obsolete && let Some(interrupter) = &pending.interrupter {
            interrupter.interrupt();
        }
        self.shared.changed.notify_one();
    }
}

impl Drop for QueryThread {
    fn drop(&mut self) {
        let mut pending = self.shared.lock();
        pending.closed = true;
        if let Some(interrupter) = &pending.interrupter {
            interrupter.interrupt();
        }
        self.shared.changed.notify_one();
    }
}

/// The state of the thread itself.
struct Worker {
    shared: Arc<Shared>,
    source: LogSource,
    record_json: Option<PathBuf>,
    responses: SyncSender<Event<Response>>,
    /// The open log; another file may have taken its place. Or the server.
    reader: Option<SourceReader>,
}

impl Worker {
    fn run(mut self) {
        match self.open() {
            Ok(()) => self.respond(Response::Opened),
            Err(error) => self.respond(Response::Failed(0, error)),
        }
        while let Some((number, request)) = self.next() {
            let result = self.open().and_then(|()| self.answer(number, request));
            self.shared.lock().running = None;
            match result {
                Err(error) if error.is_interrupted() => {}
                Err(error) => {
                    self.reader = None;
                    self.shared.lock().interrupter = None;
                    self.respond(Response::Failed(number, error));
                }
                Ok(()) => {}
            }
        }
    }

    /// Waits for the next request; `None` when the screen has ended.
    fn next(&self) -> Option<(u64, Request)> {
        let mut pending = self.shared.lock();
        loop {
            if pending.closed {
                return None;
            }
            // The interrupted query has ended. The lock is held, so a later interruption cannot be cleared here.
            if let Some(interrupter) = &pending.interrupter {
                interrupter.resume();
            }
            if let Some((number, query)) = pending.screen.take() {
                pending.running = Some(Running::Screen);
                return Some((number, Request::Screen(Box::new(query))));
            }
            if let Some((number, query, subject)) = pending.detail.take() {
                pending.running = Some(Running::Detail);
                return Some((number, Request::Detail(Box::new(query), subject)));
            }
            pending = self.shared.changed.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Opens the log, and opens it again if its file was replaced.
    fn open(&mut self) -> Result<(), SourceError> {
        if self.reader.as_ref().is_some_and(SourceReader::is_current) {
            return Ok(());
        }
        self.reader = None;
        let reader = SourceReader::open(&self.source)?;
        self.shared.lock().interrupter = Some(reader.interrupter());
        reader.check()?;
        self.reader = Some(reader);
        Ok(())
    }

    fn answer(&self, number: u64, request: Request) -> Result<(), SourceError> {
        let Some(reader) = &self.reader else { return Ok(()) };
        match request {
            Request::Screen(query) => {
                let started = Instant::now();
                let rows = query::rows(reader, &query)?;
                let (extent, charted) = (rows.extent, query.chart_query(&rows.rows));
                self.respond(Response::Rows(number, Box::new(rows)));
                if self.shared.lock().screen.is_some() {
                    return Ok(());
                }
                let series = query::series(reader, &query, extent, charted, query.chart_columns)?;
                self.respond(Response::Series(number, series, started.elapsed()));
            }
            Request::Detail(query, subject) => {
                let detail = detail::load(reader, self.record_json.as_deref(), &query, &subject)?;
                self.respond(Response::Detail(number, Box::new(detail)));
            }
        }
        Ok(())
    }

    fn respond(&self, response: Response) {
        // This fails only when the screen has ended.
        let _ = self.responses.send(Event::Message(response));
    }
}
