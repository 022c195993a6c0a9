//! `picosnitch top`: what happens now, in a terminal.

mod connections;
mod draw;
pub mod feed;
mod keys;
mod model;
mod programs;
mod rates;
mod rows;
mod state;

#[cfg(test)]
mod tests;

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use jiff::tz::TimeZone;
use thiserror::Error;

use self::{
    feed::{Changed, Shared, lock},
    model::Model,
    state::{Places, State, Todo},
};
use live::client::{ClientError, LiveClient};

use crate::term::{
    events::{self, Event, Events},
    keys as tui_keys,
    terminal::{Screen, TerminalError},
    theme::Theme,
};

/// Time between two frames that are drawn because the figures have changed; keys are answered at once.
const FRAME: Duration = Duration::from_millis(250);
/// How long it waits when nothing happens.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// There is nothing to look at.
#[derive(Debug, Error)]
pub enum TopError {
    /// No terminal.
    #[error(transparent)]
    Terminal(#[from] TerminalError),
    /// No daemon.
    #[error(transparent)]
    Feed(#[from] ClientError),
    /// The terminal went away, or the system has no thread.
    #[error("the screen cannot be shown")]
    Io(#[from] io::Error),
}

/// What the screen took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Frames that were drawn.
    pub frames: u64,
    /// The longest of them, until the terminal had it.
    pub longest: Duration,
}

/// Shows what a daemon tells until the user quits.
///
/// # Errors
/// There is no terminal, or no daemon. What goes wrong later is said on the screen.
pub fn run(socket: &Path) -> Result<Figures, TopError> {
    // What is wrong with the daemon is said first, also without a terminal.
    let client = LiveClient::subscribe(socket)?;
    Screen::check("top --json")?;
    let theme = Theme::detect();
    let events = Events::start()?;
    let shared = Arc::new(Mutex::new(Model::new(theme.ascii)));
    feed::start(socket, client, Arc::clone(&shared), events.sender())?;
    let mut screen = Screen::enter()?;
    let mut top = Top {
        state: State::default(),
        theme,
        zone: TimeZone::system(),
        shared,
        frozen: None,
        places: Places::default(),
        figures: Figures::default(),
    };
    let mut drawn = top.draw(&mut screen, true)?;
    // The figures have changed since then.
    let mut stale = true;
    loop {
        let wait = if stale { FRAME.saturating_sub(drawn.elapsed()) } else { LONGEST_WAIT };
        let mut event = events.next(wait);
        let mut typed = false;
        // All that is there before the next frame: a wheel turns faster than a terminal draws.
        while let Some(now) = event {
            match now {
                Event::Message(Changed) => stale = true,
                now => {
                    if let Flow::End(signal) = top.handle(now, &mut screen)? {
                        drop(screen);
                        return match signal {
                            Some(signal) => events::end_of(signal),
                            None => Ok(top.figures),
                        };
                    }
                    typed = true;
                }
            }
            event = events.next(Duration::ZERO);
        }
        let due = stale && drawn.elapsed() >= FRAME;
        if typed || due {
            drawn = top.draw(&mut screen, due)?;
            stale &= !due;
        }
    }
}

/// Whether it goes on.
enum Flow {
    On,
    /// The end, perhaps because of a signal.
    End(Option<i32>),
}

struct Top {
    state: State,
    theme: Theme,
    zone: TimeZone,
    shared: Shared,
    /// What is shown while the screen is held still.
    frozen: Option<Model>,
    places: Places,
    figures: Figures,
}

impl Top {
    /// Draws a frame; with other rows if the figures have changed. Returns when that began.
    fn draw(&mut self, screen: &mut Screen, refresh: bool) -> io::Result<Instant> {
        let begin = Instant::now();
        let (state, theme, zone) = (&mut self.state, self.theme, &self.zone);
        let (shared, frozen) = (&self.shared, &self.frozen);
        let mut places = Places::default();
        screen.draw(|frame| {
            // Given back before the terminal is written to, which may take its time.
            let guard = lock(shared);
            let model = frozen.as_ref().unwrap_or(&guard);
            if refresh {
                state.refresh(model);
            }
            let area = frame.area();
            places = draw::draw(frame.buffer_mut(), area, state, model, (theme, zone));
        })?;
        self.places = places;
        self.figures.frames += 1;
        self.figures.longest = self.figures.longest.max(begin.elapsed());
        Ok(begin)
    }

    fn handle(&mut self, event: Event<Changed>, screen: &mut Screen) -> io::Result<Flow> {
        let todo = match event {
            Event::Key(key) if tui_keys::is_quit(key) => Todo::Quit,
            Event::Key(key) if tui_keys::is_suspend(key) => {
                screen.suspend()?;
                Todo::Refresh
            }
            Event::Suspend => {
                screen.suspend()?;
                Todo::Refresh
            }
            Event::Key(key) if tui_keys::is_redraw(key) => {
                screen.clear()?;
                Todo::Nothing
            }
            Event::Key(key) => self.state.key(key),
            Event::Mouse(mouse) => self.state.mouse(mouse, &self.places),
            Event::Resize | Event::Message(Changed) => Todo::Nothing,
            Event::End(signal) => return Ok(Flow::End(Some(signal))),
        };
        match todo {
            Todo::Nothing => {}
            Todo::Refresh => self.with_model(|state, model| state.refresh(model)),
            Todo::Pause => {
                self.frozen = self.state.paused.then(|| lock(&self.shared).clone());
                self.with_model(|state, model| state.refresh(model));
            }
            Todo::Dismiss => {
                lock(&self.shared).alerts.clear();
                if let Some(model) = &mut self.frozen {
                    model.alerts.clear();
                }
            }
            Todo::Copy => {
                if let Some(text) = self.with_model(|state, model| state.row_text(model)) {
                    screen.copy(&text)?;
                    self.state.notice = Some("handed to the terminal's clipboard".to_owned());
                }
            }
            Todo::Quit => return Ok(Flow::End(None)),
        }
        Ok(Flow::On)
    }

    fn with_model<T>(&mut self, act: impl FnOnce(&mut State, &Model) -> T) -> T {
        match &self.frozen {
            Some(model) => act(&mut self.state, model),
            None => act(&mut self.state, &lock(&self.shared)),
        }
    }
}
