//! Following the windows of the log in the order of writing, also when the log is replaced by another one or by an older copy.

use std::{collections::VecDeque, path::PathBuf};

use crate::{
    error::StoreError,
    window_reader::{LogName, LogState, WholeWindow, WindowMark, WindowReader},
};

/// Records and events that are read at once, but for the last window.
const MAX_RECORDS: u64 = 1000;
/// Marks of windows that were read last, by which an older copy of the log is recognised.
const MAX_MARKS: usize = 10_000;

/// The first window that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// The first one of the log.
    First,
    /// The first one that ended at this time (unix seconds UTC) or later.
    Since(i64),
    /// The next one that is written; another log is read from this time on.
    Next(i64),
}

/// What there is to read.
#[derive(Debug)]
pub enum Followed {
    /// The next windows of a log; before them, so many windows were deleted unread.
    Windows {
        /// The log.
        log: LogName,
        /// At least one.
        windows: Vec<WholeWindow>,
        /// Number of windows that were deleted before they could be read.
        deleted: u64,
    },
    /// Nothing new.
    Nothing,
    /// The log is not there for now: it was removed, or is about to be replaced.
    Missing,
}

/// A place in the order of the windows of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowPosition {
    /// The log.
    pub log: LogName,
    /// The last window before the place; number 0 if there is none.
    pub mark: WindowMark,
}

/// Reads each window of the log once.
pub struct WindowFollower {
    path: PathBuf,
    begin: Begin,
    reader: WindowReader,
    log: LogName,
    /// Number of the last window that was read or left out.
    position: i64,
    /// Marks of windows up to the position, ascending.
    marks: VecDeque<WindowMark>,
}

impl WindowFollower {
    /// Opens the log.
    ///
    /// # Errors
    /// See [`WindowReader::open`].
    pub fn open(path: PathBuf, begin: Begin) -> Result<Self, StoreError> {
        let reader = WindowReader::open(&path)?;
        let state = reader.state()?;
        let mut follower = Self { path, begin, reader, log: state.name, position: 0, marks: VecDeque::new() };
        follower.position = match begin {
            Begin::Next(_) => state.last_window,
            Begin::First | Begin::Since(_) => follower.begin_of(&state)?,
        };
        follower.marks.extend(follower.reader.mark(follower.position)?);
        Ok(follower)
    }

    /// Opens the log to go on behind a position. If the log is not the one that has it, it is read from the time of the position on.
    ///
    /// # Errors
    /// See [`WindowReader::open`].
    pub fn resume(path: PathBuf, position: &WindowPosition) -> Result<Self, StoreError> {
        let begin = Begin::Since(position.mark.time);
        let reader = WindowReader::open(&path)?;
        let mut follower = Self {
            path,
            begin,
            reader,
            log: position.log,
            position: position.mark.number,
            marks: VecDeque::new(),
        };
        if position.mark.number > 0 {
            follower.marks.push_back(position.mark);
        }
        Ok(follower)
    }

    /// Opens the log to begin with the window of a name. If the log is not the one that has it, it is read from a time on (unix seconds
    /// UTC), at which something of the window was written.
    ///
    /// # Errors
    /// See [`WindowReader::open`].
    pub fn open_at(path: PathBuf, log: LogName, window: i64, time: i64) -> Result<Self, StoreError> {
        let mut follower = Self::open(path, Begin::Since(time))?;
        let state = follower.reader.state()?;
        if state.name == log && (1..=state.last_window).contains(&window) {
            follower.position = window - 1;
            follower.marks.clear();
            follower.marks.extend(follower.reader.mark(window - 1)?);
        }
        Ok(follower)
    }

    /// Behind the last window that was read or left out.
    pub fn position(&self) -> WindowPosition {
        let none = WindowMark { number: self.position, time: 0, uptime: 0, first_sequence: 0, nonce: None };
        let mark = self.marks.back().copied().filter(|mark| mark.number == self.position).unwrap_or(none);
        WindowPosition { log: self.log, mark }
    }

    /// How many windows of the log are behind the one with this number, and when the first of them ended (unix seconds UTC).
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn behind(&self, number: i64) -> Result<(u64, Option<i64>), StoreError> {
        self.reader.behind(number)
    }

    /// Reads the next windows.
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn read(&mut self) -> Result<Followed, StoreError> {
        if !self.reader.is_current() {
            match WindowReader::open(&self.path) {
                Ok(reader) => self.reader = reader,
                Err(error) if error.is_not_ready() => return Ok(Followed::Missing),
                Err(error) => return Err(error),
            }
        }
        let state = self.reader.state()?;
        if !self.is_same(&state)? {
            self.find_position(&state)?;
        }
        let windows = self.reader.after(self.position, MAX_RECORDS)?;
        // The log may have become another one between the statements.
        let (Some(first), true) = (windows.first(), self.reader.state()?.name == state.name) else {
            return Ok(Followed::Nothing);
        };
        let deleted = u64::try_from(first.mark.number - self.position - 1).unwrap_or(0);
        for window in &windows {
            self.position = window.mark.number;
            self.marks.push_back(window.mark);
        }
        self.marks.drain(..self.marks.len().saturating_sub(MAX_MARKS));
        Ok(Followed::Windows { log: self.log, windows, deleted })
    }

    /// Whether the log is still the one that has the position. A mark that was deleted says nothing.
    fn is_same(&self, state: &LogState) -> Result<bool, StoreError> {
        if state.name != self.log || state.last_window < self.position {
            return Ok(false);
        }
        let Some(last) = self.marks.back() else { return Ok(true) };
        Ok(self.reader.mark(last.number)?.is_none_or(|mark| mark == *last))
    }

    /// Finds the position in another log: behind the last window that both have, if there is one.
    fn find_position(&mut self, state: &LogState) -> Result<(), StoreError> {
        self.log = state.name;
        while let Some(last) = self.marks.back() {
            if self.reader.mark(last.number)? == Some(*last) {
                self.position = last.number;
                return Ok(());
            }
            self.marks.pop_back();
        }
        self.position = self.begin_of(state)?;
        Ok(())
    }

    /// The position before the first window that is wanted of a log that was not read before.
    fn begin_of(&self, state: &LogState) -> Result<i64, StoreError> {
        let first = match self.begin {
            Begin::First => state.first_window,
            Begin::Since(time) | Begin::Next(time) => self.reader.mark_since(time)?.map(|mark| mark.number),
        };
        Ok(first.map_or(state.last_window, |first| first - 1))
    }
}
