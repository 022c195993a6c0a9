//! `picosnitch view`: the history in a terminal.

pub mod ask;
mod detail;
mod detail_pane;
mod draw;
mod keys;
mod label;
mod list;
pub mod range;
mod state;
mod tabs;

#[cfg(test)]
mod tests;

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use crossterm::event::{KeyCode, KeyEvent, MouseButton, MouseEvent, MouseEventKind};
use thiserror::Error;

use self::{
    ask::{Answer, Asker, Request},
    draw::Places,
    keys::{Action, BINDINGS},
    label::Labels,
    state::{State, Todo},
};
use crate::term::{
    events::{self, Event, Events},
    keys as tui_keys,
    terminal::{Screen, TerminalError},
    theme::Theme,
};
use model::text::time;
use store::{Reader, StoreError};

/// How long the log may take to open before the screen is shown without it.
const OPEN_PATIENCE: Duration = Duration::from_millis(300);
/// How often a window that ends now is asked for again, at least: the usual window of the log.
const REFRESH: Duration = Duration::from_secs(10);
/// A question may take this part of the time: a slow log is asked less often.
const REFRESH_SHARE: u32 = 20;
/// How long the selection has to stay before its detail is asked for.
const DETAIL_DELAY: Duration = Duration::from_millis(80);
/// Rows that the wheel moves.
const WHEEL: usize = 3;

/// There is nothing to look at.
#[derive(Debug, Error)]
pub enum ViewError {
    /// No terminal.
    #[error(transparent)]
    Terminal(#[from] TerminalError),
    /// No log.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The terminal went away, or the system has no thread.
    #[error("the screen cannot be shown")]
    Io(#[from] io::Error),
}

/// Shows the log until the user quits.
///
/// # Errors
/// There is no terminal, or the log cannot be opened. What goes wrong later is said on the screen.
pub fn run(database: &Path, record_json: &Path) -> Result<(), ViewError> {
    if let Err(error) = Screen::check("query") {
        // What is wrong with the log is said all the same.
        Reader::open(database)?;
        return Err(error.into());
    }
    let theme = Theme::detect();
    let events = Events::start()?;
    let asker = Asker::start(database, record_json, events.sender())?;
    let state = State::new(range::zone(), time::now(), Labels::load(theme.ascii));
    let size = crossterm::terminal::size().unwrap_or((80, 24));
    let mut view = View {
        state,
        theme,
        asker,
        places: Places::default(),
        columns: draw::chart_columns(size.0),
        refresh: None,
        detail_due: None,
    };
    // While it opens, the first question waits behind it.
    view.ask();
    let mut early = Vec::new();
    let waited = Instant::now();
    while let Some(left) = OPEN_PATIENCE.checked_sub(waited.elapsed()) {
        match events.next(left) {
            Some(Event::Message(Answer::Failed(_, error))) => return Err(error.into()),
            Some(Event::Message(Answer::Opened)) | None => break,
            Some(Event::End(signal)) => events::end_of(signal),
            Some(event) => early.push(event),
        }
    }
    let mut screen = Screen::enter()?;
    for event in early {
        if let Flow::End(signal) = view.handle(event, &mut screen)? {
            return view.end(screen, signal);
        }
    }
    loop {
        view.draw(&mut screen)?;
        let Some(event) = events.next(view.patience()) else {
            view.on_time();
            continue;
        };
        let mut event = Some(event);
        // All that is there before the next frame: a wheel turns faster than a terminal draws.
        while let Some(now) = event {
            if let Flow::End(signal) = view.handle(now, &mut screen)? {
                return view.end(screen, signal);
            }
            event = events.next(Duration::ZERO);
        }
        view.on_time();
    }
}

/// Whether it goes on.
enum Flow {
    On,
    /// The end, perhaps because of a signal.
    End(Option<i32>),
}

struct View {
    state: State,
    theme: Theme,
    asker: Asker,
    places: Places,
    /// Columns of the chart that was asked for.
    columns: usize,
    /// When the same is asked again.
    refresh: Option<Instant>,
    detail_due: Option<Instant>,
}

impl View {
    fn end(self, screen: Screen, signal: Option<i32>) -> Result<(), ViewError> {
        drop(screen);
        match signal {
            Some(signal) => events::end_of(signal),
            None => Ok(()),
        }
    }

    fn draw(&mut self, screen: &mut Screen) -> io::Result<()> {
        let (state, theme) = (&mut self.state, self.theme);
        let mut places = Places::default();
        let mut columns = self.columns;
        screen.draw(|frame| {
            let area = frame.area();
            columns = draw::chart_columns(area.width);
            places = draw::draw(frame.buffer_mut(), area, state, theme);
        })?;
        self.places = places;
        if columns != self.columns {
            self.columns = columns;
            self.ask();
        }
        Ok(())
    }

    fn ask(&mut self) {
        self.state.now = time::now();
        let question = self.state.question(self.columns);
        let number = self.state.next_number();
        self.asker.ask(number, Request::Screen(Box::new(question)));
        self.refresh = None;
        self.detail_due = None;
    }

    fn patience(&self) -> Duration {
        let now = Instant::now();
        let due = [self.refresh, self.detail_due].into_iter().flatten().min();
        due.map_or(REFRESH, |due| due.saturating_duration_since(now))
    }

    /// Does what is due.
    fn on_time(&mut self) {
        let now = Instant::now();
        if self.refresh.is_some_and(|due| due <= now) {
            self.ask();
        }
        if self.detail_due.is_some_and(|due| due <= now) {
            self.detail_due = None;
            if let Some(subject) = self.state.subject().filter(|_| self.state.detail_shown) {
                let question = self.state.question(self.columns);
                self.asker.ask(self.state.number(), Request::Detail(Box::new(question), subject));
            }
        }
    }

    fn handle(&mut self, event: Event<Answer>, screen: &mut Screen) -> io::Result<Flow> {
        let todo = match event {
            Event::Key(key) if tui_keys::is_quit(key) => Todo::Quit,
            Event::Key(key) if tui_keys::is_suspend(key) => {
                screen.suspend()?;
                Todo::Ask
            }
            Event::Suspend => {
                screen.suspend()?;
                Todo::Ask
            }
            Event::Key(key) if tui_keys::is_redraw(key) => {
                screen.clear()?;
                Todo::Nothing
            }
            Event::Key(key) => key_todo(&mut self.state, key),
            Event::Mouse(mouse) => mouse_todo(&mut self.state, &self.places, mouse),
            Event::Resize => Todo::Nothing,
            Event::End(signal) => return Ok(Flow::End(Some(signal))),
            Event::Message(answer) => {
                self.answered(&answer);
                if self.state.take(answer) { Todo::AskDetail } else { Todo::Nothing }
            }
        };
        match todo {
            Todo::Nothing => {}
            Todo::Ask => self.ask(),
            Todo::AskDetail => self.detail_due = Some(Instant::now() + DETAIL_DELAY),
            Todo::Copy => {
                if let Some(text) = row_text(&self.state) {
                    screen.copy(&text)?;
                    self.state.notice = Some("handed to the terminal's clipboard".to_owned());
                }
            }
            Todo::Quit => return Ok(Flow::End(None)),
        }
        Ok(Flow::On)
    }

    /// Decides when to ask again.
    fn answered(&mut self, answer: &Answer) {
        match answer {
            Answer::Series(number, _, took) if *number == self.state.number() => {
                let pause = REFRESH.max(*took * REFRESH_SHARE);
                self.refresh = self.state.follows().then(|| Instant::now() + pause);
            }
            Answer::Failed(..) => self.refresh = Some(Instant::now() + REFRESH),
            _ => {}
        }
    }
}

fn key_todo(state: &mut State, key: KeyEvent) -> Todo {
    if state.help {
        state.help = false;
        return Todo::Nothing;
    }
    if state.finding {
        match key.code {
            KeyCode::Char(character) => return state.find_character(character),
            KeyCode::Backspace => return state.find_backspace(),
            KeyCode::Enter => {
                state.finding = false;
                return Todo::Nothing;
            }
            _ => {}
        }
    }
    tui_keys::action(&BINDINGS, key).map_or(Todo::Nothing, |action| state.act(action))
}

fn mouse_todo(state: &mut State, places: &Places, mouse: MouseEvent) -> Todo {
    match mouse.kind {
        MouseEventKind::ScrollUp => state.select(state.selected.saturating_sub(WHEEL)),
        MouseEventKind::ScrollDown => state.select(state.selected.saturating_add(WHEEL)),
        MouseEventKind::Down(MouseButton::Left) => {
            if state.help {
                state.help = false;
            } else if let Some(tab) = places.tabs.at(mouse.column, mouse.row) {
                return state.go_to_tab(tab);
            } else if places.list.contains((mouse.column, mouse.row).into()) {
                let row = state.top + usize::from(mouse.row - places.list.y);
                if row >= state.shown.len() {
                    return Todo::Nothing;
                }
                // The second time it is meant.
                return if row == state.selected { state.act(Action::Filter) } else { state.select(row) };
            }
            Todo::Nothing
        }
        MouseEventKind::Down(MouseButton::Right) => state.act(Action::Unfilter),
        _ => Todo::Nothing,
    }
}

/// The row as text for other programs: value, connections, bytes sent, bytes received, with tabs between.
fn row_text(state: &State) -> Option<String> {
    let row = state.row()?;
    let label = state.labels.text(state.dimension(), row.values.first()?, &state.zone);
    let counters = row.counters;
    Some(format!("{label}\t{}\t{}\t{}", counters.connections, counters.sent, counters.received))
}
