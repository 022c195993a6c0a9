//! `picosnitch top`: the present in a terminal.
//!
//! The feed thread applies the daemon's lines to `LiveState`. Keys change `TopState` and yield an `Effect`, which the event
//! loop here carries out; `screen` draws both.

mod alert;
mod connection;
mod connection_rows;
mod feed;
mod input;
mod keys;
mod lineage;
mod live_state;
mod program_rows;
mod rates;
mod screen;
mod sort_column;
mod state;
mod sticky_selection;

#[cfg(test)]
mod tests;

use std::{
    io,
    ops::ControlFlow,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use jiff::tz::TimeZone;
use thiserror::Error;

use self::{
    feed::{Changed, SharedLiveState, lock},
    live_state::LiveState,
    screen::HitAreas,
    state::{Effect, TopState},
};
use crate::term::{
    canvas::Canvas,
    events::{self, Event, Events},
    keys as common_keys,
    terminal::{Screen, TerminalError},
    theme_choice::ThemeChoice,
    theme_source::ThemeSource,
};
use live::client::{ClientError, LiveClient};

/// Time between two frames that are drawn because of new data, at least. Keys are answered at once.
const MIN_FRAME_INTERVAL: Duration = Duration::from_millis(250);
/// How long to wait for an event if there is nothing to draw: then the daemon may be silent.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);

/// The errors that end `top`.
#[derive(Debug, Error)]
pub enum TopError {
    /// Standard input or output is not a terminal.
    #[error(transparent)]
    Terminal(#[from] TerminalError),
    /// The daemon does not answer.
    #[error(transparent)]
    Feed(#[from] ClientError),
    /// The terminal is gone, or the system refuses a thread.
    #[error("the screen cannot be shown")]
    Io(#[from] io::Error),
}

/// Statistics of the drawn frames.
#[derive(Clone, Copy, Debug, Default)]
pub struct FrameStats {
    /// Number of drawn frames.
    pub frames: u64,
    /// The longest time of one frame, until the terminal had taken it.
    pub longest: Duration,
}

/// Shows what the daemon reports until the user quits.
///
/// # Errors
/// There is no terminal, or the daemon does not answer. Later errors of the daemon are shown on the screen.
pub fn run(socket: &Path, theme: Option<ThemeChoice>) -> Result<FrameStats, TopError> {
    // An error of the daemon is more useful than that of the terminal.
    let client = LiveClient::subscribe(socket)?;
    Screen::check("top --json")?;
    let mut themes = ThemeSource::new(theme);
    let events = Events::start()?;
    let live = Arc::new(Mutex::new(LiveState::new(themes.theme().ascii)));
    feed::start(socket, client, Arc::clone(&live), events.sender())?;
    let mut screen = Screen::enter()?;
    let mut early = themes.ask(&mut screen, &events)?.into_iter();
    let mut top = Top {
        state: TopState::default(),
        themes,
        zone: TimeZone::system(),
        live,
        frozen: None,
        areas: HitAreas::default(),
        stats: FrameStats::default(),
    };
    let mut drawn = top.draw(&mut screen, true)?;
    // Whether the data has changed since the last frame. The feed may have been faster than that frame.
    let mut stale = true;
    loop {
        let timeout = if stale { MIN_FRAME_INTERVAL.saturating_sub(drawn.elapsed()) } else { IDLE_TIMEOUT };
        let mut event = early.next().or_else(|| events.next(timeout));
        let mut handled = false;
        // Handles all events that have arrived before the next frame: a wheel turns faster than a terminal draws.
        while let Some(current) = event {
            match current {
                Event::Message(Changed) => stale = true,
                current => {
                    if let ControlFlow::Break(signal) = top.handle(current, &mut screen)? {
                        drop(screen);
                        return match signal {
                            Some(signal) => events::end_by_signal(signal),
                            None => Ok(top.stats),
                        };
                    }
                    handled = true;
                }
            }
            event = early.next().or_else(|| events.next(Duration::ZERO));
        }
        stale |= lock(&top.live).note_silence(Instant::now());
        let due = stale && drawn.elapsed() >= MIN_FRAME_INTERVAL;
        if handled || due {
            drawn = top.draw(&mut screen, due)?;
            stale &= !due;
        }
    }
}

struct Top {
    state: TopState,
    themes: ThemeSource,
    zone: TimeZone,
    live: SharedLiveState,
    /// The copy that is shown while the screen is paused.
    frozen: Option<LiveState>,
    areas: HitAreas,
    stats: FrameStats,
}

impl Top {
    /// Draws a frame; with `refresh`, the rows are built again first. Returns when it began.
    fn draw(&mut self, screen: &mut Screen, refresh: bool) -> io::Result<Instant> {
        let begin = Instant::now();
        let (state, theme, zone) = (&mut self.state, self.themes.theme(), &self.zone);
        let (live, frozen) = (&self.live, &self.frozen);
        let mut areas = HitAreas::default();
        screen.draw(|frame| {
            // The lock is released before the terminal is written to, which may take long.
            let guard = lock(live);
            let live = frozen.as_ref().unwrap_or(&guard);
            if refresh {
                state.refresh(live);
            }
            areas = screen::draw(Canvas::new(frame.buffer_mut(), theme), state, live, zone);
        })?;
        self.areas = areas;
        self.stats.frames += 1;
        self.stats.longest = self.stats.longest.max(begin.elapsed());
        Ok(begin)
    }

    /// Handles an event. Returns `Break` if the user quits or a signal arrived.
    fn handle(&mut self, event: Event<Changed>, screen: &mut Screen) -> io::Result<ControlFlow<Option<i32>>> {
        let effect = match event {
            Event::Key(key) if common_keys::is_quit(key) => Effect::Quit,
            Event::Key(key) if common_keys::is_suspend(key) => {
                screen.suspend()?;
                Effect::Refresh
            }
            Event::Suspend => {
                screen.suspend()?;
                Effect::Refresh
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
            Event::Resize | Event::Message(Changed) => Effect::None,
            Event::End(signal) => return Ok(ControlFlow::Break(Some(signal))),
        };
        match effect {
            Effect::None => {}
            Effect::Refresh => self.with_live(|state, live| state.refresh(live)),
            Effect::Pause => {
                self.frozen = self.state.paused.then(|| lock(&self.live).clone());
                self.with_live(|state, live| state.refresh(live));
            }
            Effect::Dismiss => {
                lock(&self.live).alerts.clear();
                if let Some(frozen) = &mut self.frozen {
                    frozen.alerts.clear();
                }
            }
            Effect::Copy => {
                if let Some(text) = self.with_live(|state, live| state.row_text(live)) {
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

    /// Calls a function with the state and the live state that is shown.
    fn with_live<T>(&mut self, act: impl FnOnce(&mut TopState, &LiveState) -> T) -> T {
        match &self.frozen {
            Some(frozen) => act(&mut self.state, frozen),
            None => act(&mut self.state, &lock(&self.live)),
        }
    }
}
