//! `picosnitch view`: the history in a terminal.
//!
//! The state (`state`) knows nothing of the terminal and the log. Keys and responses of the query thread change it and
//! yield an `Effect`, which the event loop here carries out; `screen` draws the state.

mod detail;
mod display_settings;
mod event_rows;
mod filters;
mod input;
mod keys;
mod label;
mod list_row;
mod messages;
pub mod period;
pub mod query;
mod query_status;
mod query_thread;
mod row_choice;
mod row_list;
mod screen;
mod state;
mod tab;
mod time_range;

#[cfg(test)]
mod tests;

use std::{
    io,
    ops::ControlFlow,
    path::PathBuf,
    time::{Duration, Instant},
};

use thiserror::Error;

use self::{
    label::Labels,
    messages::{Request, Response},
    query_thread::QueryThread,
    screen::HitAreas,
    state::{Effect, ViewState},
};
use crate::term::{
    canvas::Canvas,
    events::{self, Event, Events},
    keys as common_keys,
    terminal::{Screen, TerminalError},
    theme_choice::ThemeChoice,
    theme_source::ThemeSource,
};
use model::text::time;
use server_query::{LogSource, SourceError, SourceReader};

/// How long the log may take to open before the screen is shown without it.
const OPEN_TIMEOUT: Duration = Duration::from_millis(300);
/// Time between two queries of a period that ends now, at least: the usual recording window of the log.
const MIN_REFRESH: Duration = Duration::from_secs(10);
/// The pause after a query is at least this many times as long as the query took.
const REFRESH_FACTOR: u32 = 20;
/// How long a row has to stay selected before its detail is queried.
const DETAIL_DELAY: Duration = Duration::from_millis(80);
/// How long the user has to stop typing before a text is searched for.
const FIND_DELAY: Duration = Duration::from_millis(100);

/// The errors that end `view`.
#[derive(Debug, Error)]
pub enum ViewError {
    /// Standard input or output is not a terminal.
    #[error(transparent)]
    Terminal(#[from] TerminalError),
    /// The log cannot be opened, or the server does not answer.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The terminal is gone, or the system refuses a thread.
    #[error("the screen cannot be shown")]
    Io(#[from] io::Error),
}

/// Shows a log or the copies on a server until the user quits. `record_json` has the verdicts on the programs of a log, if that is of
/// this machine.
///
/// # Errors
/// There is no terminal, the log cannot be opened, or the server refuses at once. Later errors are shown on the screen.
pub fn run(
    source: LogSource,
    record_json: Option<PathBuf>,
    theme: Option<ThemeChoice>,
) -> Result<(), ViewError> {
    if let Err(error) = Screen::check("query") {
        // An error of the log is more useful than that of the terminal.
        SourceReader::open(&source)?.check()?;
        return Err(error.into());
    }
    let themes = ThemeSource::new(theme);
    let events = Events::start()?;
    let mut view = View::start(source, record_json, &events, themes)?;
    let mut early = Vec::new();
    let started = Instant::now();
    while let Some(left) = OPEN_TIMEOUT.checked_sub(started.elapsed()) {
        match events.next(left) {
            Some(Event::Message(Response::Failed(_, error))) => return Err(error.into()),
            Some(Event::Message(Response::Opened)) | None => break,
            Some(Event::End(signal)) => events::end_by_signal(signal),
            Some(event) => early.push(event),
        }
    }
    let mut screen = Screen::enter()?;
    early.extend(view.themes.ask(&mut screen, &events)?);
    for event in early {
        if let ControlFlow::Break(signal) = view.handle(event, &mut screen)? {
            return end(screen, signal);
        }
    }
    loop {
        view.draw(&mut screen)?;
        let mut event = events.next(view.timeout());
        // Handles all events that have arrived before the next frame: a wheel turns faster than a terminal draws.
        while let Some(current) = event {
            if let ControlFlow::Break(signal) = view.handle(current, &mut screen)? {
                return end(screen, signal);
            }
            event = events.next(Duration::ZERO);
        }
        view.run_due_queries();
    }
}

/// Restores the terminal and ends, by a signal if there is one.
fn end(screen: Screen, signal: Option<i32>) -> Result<(), ViewError> {
    drop(screen);
    match signal {
        Some(signal) => events::end_by_signal(signal),
        None => Ok(()),
    }
}

struct View {
    state: ViewState,
    themes: ThemeSource,
    queries: QueryThread,
    areas: HitAreas,
    /// Columns of the chart in the last query.
    chart_columns: usize,
    /// When the screen is queried again.
    refresh_due: Option<Instant>,
    /// When the text that is being typed is searched for.
    find_due: Option<Instant>,
    /// When the detail of the selected row is queried.
    detail_due: Option<Instant>,
}

impl View {
    /// Starts the query thread and sends the first request, which it answers as soon as the log is open or the server is reached.
    fn start(
        source: LogSource,
        record_json: Option<PathBuf>,
        events: &Events<Response>,
        themes: ThemeSource,
    ) -> Result<Self, ViewError> {
        let server = source.server_address();
        let queries = QueryThread::start(source, record_json, events.sender())?;
        let (columns, _) = crossterm::terminal::size().unwrap_or((80, 24));
        let ascii = themes.theme().ascii;
        let labels = if server.is_some() { Labels::of_server(ascii) } else { Labels::load(ascii) };
        let mut state = ViewState::new(calendar::zone(), time::now(), labels);
        state.server = server;
        let mut view = Self {
            state,
            themes,
            queries,
            areas: HitAreas::default(),
            chart_columns: screen::chart_columns(columns),
            refresh_due: None,
            find_due: None,
            detail_due: None,
        };
        view.query();
        Ok(view)
    }

    fn draw(&mut self, screen: &mut Screen) -> io::Result<()> {
        let (state, theme) = (&mut self.state, self.themes.theme());
        let mut areas = HitAreas::default();
        let mut columns = self.chart_columns;
        screen.draw(|frame| {
            columns = screen::chart_columns(frame.area().width);
            areas = screen::draw(Canvas::new(frame.buffer_mut(), theme), state);
        })?;
        self.areas = areas;
        if columns != self.chart_columns {
            self.chart_columns = columns;
            self.query();
        }
        Ok(())
    }

    /// Queries the rows and the chart.
    fn query(&mut self) {
        self.state.time.now = time::now();
        let query = self.state.query(self.chart_columns);
        let number = self.state.queries.next_number();
        self.queries.request(number, Request::Screen(Box::new(query)));
        self.refresh_due = None;
        self.find_due = None;
        self.detail_due = None;
    }

    /// How long to wait for an event.
    fn timeout(&self) -> Duration {
        let now = Instant::now();
        let due = [self.refresh_due, self.find_due, self.detail_due].into_iter().flatten().min();
        due.map_or(MIN_REFRESH, |due| due.saturating_duration_since(now))
    }

    fn run_due_queries(&mut self) {
        let now = Instant::now();
        if [self.refresh_due, self.find_due].into_iter().flatten().any(|due| due <= now) {
            self.query();
        }
        if self.detail_due.is_some_and(|due| due <= now) {
            self.detail_due = None;
            if let Some(subject) = self.state.detail_subject().filter(|_| self.state.detail.shown) {
                let query = self.state.query(self.chart_columns);
                let number = self.state.queries.number();
                self.queries.request(number, Request::Detail(Box::new(query), subject));
            }
        }
    }

    /// Handles an event. Breaks at the end, which a signal may demand.
    fn handle(
        &mut self,
        event: Event<Response>,
        screen: &mut Screen,
    ) -> io::Result<ControlFlow<Option<i32>>> {
        let effect = match event {
            Event::Key(key) if common_keys::is_quit(key) => Effect::Quit,
            Event::Key(key) if common_keys::is_suspend(key) => {
                screen.suspend()?;
                Effect::Query
            }
            Event::Suspend => {
                screen.suspend()?;
                Effect::Query
            }
            Event::Key(key) if common_keys::is_redraw(key) => {
                screen.clear()?;
                Effect::None
            }
            Event::Key(key) => input::on_key(&mut self.state, key),
            Event::Mouse(mouse) => input::on_mouse(&mut self.state, &self.areas, mouse),
            Event::Background(background) => {
                self.themes.take_answer(background);
                Effect::None
            }
            Event::Resize => Effect::None,
            Event::End(signal) => return Ok(ControlFlow::Break(Some(signal))),
            Event::Message(response) => {
                self.schedule_refresh(&response);
                self.state.receive(response)
            }
        };
        match effect {
            Effect::None => {}
            Effect::Query => self.query(),
            Effect::QuerySoon => self.find_due = Some(Instant::now() + FIND_DELAY),
            Effect::QueryDetail => self.detail_due = Some(Instant::now() + DETAIL_DELAY),
            Effect::Copy => {
                if let Some(text) = self.state.row_text() {
                    screen.copy(&text)?;
                    self.state.notice = Some("handed to the terminal's clipboard".to_owned());
                }
            }
            Effect::Theme => {
                self.state.notice = Some(self.themes.choose_next());
                if self.themes.needs_answer() {
                    screen.ask_background()?;
                }
            }
            Effect::Quit => return Ok(ControlFlow::Break(None)),
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Decides when the screen is queried again.
    fn schedule_refresh(&mut self, response: &Response) {
        match response {
            Response::Series(number, _, took) if *number == self.state.queries.number() => {
                let pause = MIN_REFRESH.max(*took * REFRESH_FACTOR);
                self.refresh_due = self.state.is_current().then(|| Instant::now() + pause);
            }
            Response::Failed(..) => self.refresh_due = Some(Instant::now() + MIN_REFRESH),
            _ => {}
        }
    }
}
