//! Which time `view` shows: a length, and a position in the history or the present.

use jiff::tz::TimeZone;

use super::period::{DEFAULT_LENGTH, LENGTHS, Period, PeriodLength};
use crate::term::cycle::cycle;

/// The time that the user has chosen.
#[derive(Clone, Debug)]
pub struct TimeRange {
    pub length: PeriodLength,
    /// Start of the period in the history; `None`: the period ends now.
    pub at: Option<i64>,
    /// The time of the last query, in unix seconds.
    pub now: i64,
    pub zone: TimeZone,
}

/// The log does not go back further.
#[derive(Debug)]
pub struct BeginningOfLog;

impl TimeRange {
    pub fn new(zone: TimeZone, now: i64) -> Self {
        Self { length: DEFAULT_LENGTH, at: None, now, zone }
    }

    /// The period that is queried, unless a filter narrows it.
    pub fn period(&self) -> Period {
        match self.at {
            Some(at) => self.length.around(at, &self.zone),
            None => self.length.last(self.now),
        }
    }

    /// The period before `period`, which is either that of this range, or a narrower one; `None` if nothing is before it.
    pub fn before(&self, period: Period) -> Option<Period> {
        let is_part = self.at.is_some() && period == self.period();
        let step = is_part.then_some(self.length.step);
        let range = calendar::Range { start: period.start, end: period.end, step };
        let before = range.previous(self.now, &self.zone)?;
        Some(Period { start: before.start, end: before.end })
    }

    /// Whether the range is all of the log, which has no history to step through.
    pub fn is_all(&self) -> bool {
        self.length.seconds == 0
    }

    /// Goes to another length and keeps the position in the history.
    pub fn change_length(&mut self, longer: bool) {
        self.length = cycle(&LENGTHS, self.length, longer);
        self.go_to(self.at);
    }

    /// Whether the log goes back further than this range. `first` is the end of the first recording window of the log.
    pub fn can_step_back(&self, first: Option<i64>) -> bool {
        match (self.at, self.period().start) {
            (Some(_), Some(start)) => first.is_some_and(|first| start > first),
            _ => true,
        }
    }

    /// Goes to the part of the calendar before this one: the first step leads to the part that contains the present.
    /// `first` is the end of the first recording window of the log.
    ///
    /// # Errors
    /// There is nothing earlier in the log.
    pub fn step_back(&mut self, first: Option<i64>) -> Result<(), BeginningOfLog> {
        if !self.can_step_back(first) {
            return Err(BeginningOfLog);
        }
        let at = match (self.at, self.period().start) {
            (Some(_), Some(start)) => start - 1,
            _ => self.now,
        };
        self.go_to(Some(at));
        Ok(())
    }

    /// Goes to the part of the calendar after this one, or to the present after the last. Returns false if the range ends
    /// in the present already.
    pub fn step_forward(&mut self) -> bool {
        let (Some(_), Some(end)) = (self.at, self.period().end) else { return false };
        self.go_to((end <= self.now).then_some(end));
        true
    }

    fn go_to(&mut self, at: Option<i64>) {
        self.at = at.map(|at| self.length.around(at, &self.zone).start.unwrap_or(at));
    }

    /// A period in words; it is either that of this range, or a narrower one.
    pub fn describe(&self, period: Period) -> String {
        let point = |seconds| calendar::point_text(seconds, &self.zone);
        match period {
            Period { start: Some(start), end: Some(end) }
                if self.at.is_some() || period != self.length.last(self.now) =>
            {
                let over = if end > self.now { ", not over yet" } else { "" };
                let zone = calendar::zone_name(start, &self.zone);
                format!("{} to {} {zone}{over}", point(start), point(end))
            }
            Period { start: Some(start), .. } => {
                let zone = calendar::zone_name(start, &self.zone);
                format!("last {}, since {} {zone}", self.length.name, point(start))
            }
            _ => "all of the log".to_owned(),
        }
    }
}
