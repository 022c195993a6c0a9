//! Ranges of time as people write them.

use jiff::tz::TimeZone;
use thiserror::Error;

use super::{
    parse::{Part, TimeError, parse_part, parse_span},
    step::{Step, civil, floor},
};

/// A text is no range of time.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RangeError {
    /// It is none of the words, and no duration.
    #[error(
        "{0:?} is no range; write a length such as 5m, 1h, 30d or 1w, today, yesterday, this-week, last-month, a date \
         2026-11-28, a month 2026-11, FROM..TO, or all"
    )]
    Unknown(String),
    /// A point of `FROM..TO` is none.
    #[error(transparent)]
    Point(#[from] TimeError),
    /// `FROM` is later than `TO`.
    #[error("{0:?} ends before it begins")]
    Reversed(String),
}

/// A range of time, unix seconds UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First second; `None`: from the beginning.
    pub start: Option<i64>,
    /// The second after the last one; `None`: without an end.
    pub end: Option<i64>,
    /// The division of the calendar whose part the range is; `None` for any other range.
    pub step: Option<Step>,
}

impl Range {
    /// All of time.
    pub const ALL: Self = Self { start: None, end: None, step: None };

    /// The range before this one: of a part of the calendar the part before, otherwise as long as this one. Of a range that is
    /// not over at `now`, only as much of the one before as has passed of this one: half a day is compared with half a day.
    /// `None` if the range has no beginning.
    pub fn previous(self, now: i64, zone: &TimeZone) -> Option<Self> {
        let start = self.start?;
        let end = self.end.unwrap_or(now.saturating_add(1)).max(start);
        let over = end.min(now.saturating_add(1)).max(start);
        let Some(step) = self.step else {
            let length = over.saturating_sub(start);
            return Some(Self { start: start.checked_sub(length), end: Some(start), step: None });
        };
        let before = floor(step, start.saturating_sub(1), zone);
        if over >= end {
            return Some(Self { start: Some(before), end: Some(start), step: Some(step) });
        }
        // In local time: at 14:00 the day before counts until 14:00, also if a clock change lies between.
        let same = (|| {
            let elapsed = civil(over, zone)?.since(civil(start, zone)?).ok()?;
            let local = civil(before, zone)?.checked_add(elapsed).ok()?;
            zone.to_timestamp(local).ok().map(|point| point.as_second())
        })();
        let same = same.unwrap_or(before.saturating_add(over.saturating_sub(start))).clamp(before, start);
        Some(Self { start: Some(before), end: Some(same), step: None })
    }
}

impl From<Part> for Range {
    fn from(part: Part) -> Self {
        Self { start: Some(part.start), end: Some(part.end), step: part.step }
    }
}

/// Reads a range: a length up to `now` (`1w`), a word or a date as in [`parse_part`], `FROM..TO` with both included, or `all`.
///
/// # Errors
/// The text is nothing of that; the error says what to write.
pub fn parse_range(text: &str, now: i64, zone: &TimeZone) -> Result<Range, RangeError> {
    let text = text.trim();
    let unknown = || RangeError::Unknown(text.to_owned());
    if text == "all" {
        return Ok(Range::ALL);
    }
    if let Some((from, to)) = text.split_once("..") {
        let point = |text: &str| match text.trim() {
            "" => Ok(None),
            text => parse_part(text, now, zone).map(Some),
        };
        let (from, to) = (point(from)?, point(to)?);
        let range = Range { start: from.map(|part| part.start), end: to.map(|part| part.end), step: None };
        return match (range.start, range.end) {
            (Some(start), Some(end)) if start >= end => Err(RangeError::Reversed(text.to_owned())),
            _ => Ok(range),
        };
    }
    if let Some(span) = parse_span(text) {
        let start = now.saturating_add(1).checked_sub(span).filter(|_| span > 0).ok_or_else(unknown)?;
        return Ok(Range { start: Some(start), end: None, step: None });
    }
    let part = parse_part(text, now, zone).map_err(|_| unknown())?;
    // A single second is hardly what the user wants to look at.
    part.step.is_some().then(|| part.into()).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::rfc3339;

    fn zone() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    /// 2026-02-18 13:00 in the zone, a Wednesday.
    const NOW: i64 = 1_771_416_000;

    fn texts(range: Range) -> [String; 2] {
        [range.start, range.end].map(|point| point.map_or_else(String::new, |point| rfc3339(point, &zone())))
    }

    #[test]
    fn ranges_are_read() {
        for (text, start, end) in [
            ("all", "", ""),
            ("1w", "2026-02-11T13:00:01+01:00", ""),
            ("yesterday", "2026-02-17T00:00:00+01:00", "2026-02-18T00:00:00+01:00"),
            ("2026-01-31", "2026-01-31T00:00:00+01:00", "2026-02-01T00:00:00+01:00"),
            ("2025", "2025-01-01T00:00:00+01:00", "2026-01-01T00:00:00+01:00"),
            ("2026-01-30..2026-01-31", "2026-01-30T00:00:00+01:00", "2026-02-01T00:00:00+01:00"),
            ("2025..2026-01", "2025-01-01T00:00:00+01:00", "2026-02-01T00:00:00+01:00"),
            ("..yesterday", "", "2026-02-18T00:00:00+01:00"),
            ("2h..", "2026-02-18T11:00:00+01:00", ""),
        ] {
            assert_eq!(texts(parse_range(text, NOW, &zone()).unwrap()), [start, end], "{text}");
        }
        for text in [
            "",
            "0d",
            "12345",
            "tomorrow",
            "2026-01-31..2026-01-30",
            "a..b",
            "14:00",
            "99999999999999999999d",
        ] {
            assert!(parse_range(text, NOW, &zone()).is_err(), "{text}");
        }
    }

    #[test]
    fn the_range_before_is_as_long() {
        for (text, start, end) in [
            ("1d", "2026-02-16T13:00:01+01:00", "2026-02-17T13:00:01+01:00"),
            ("today", "2026-02-17T00:00:00+01:00", "2026-02-17T13:00:01+01:00"),
            ("yesterday", "2026-02-16T00:00:00+01:00", "2026-02-17T00:00:00+01:00"),
            ("this-month", "2026-01-01T00:00:00+01:00", "2026-01-18T13:00:01+01:00"),
            ("last-month", "2025-12-01T00:00:00+01:00", "2026-01-01T00:00:00+01:00"),
            ("2026-02-01..2026-02-07", "2026-01-25T00:00:00+01:00", "2026-02-01T00:00:00+01:00"),
        ] {
            let previous = parse_range(text, NOW, &zone()).unwrap().previous(NOW, &zone()).unwrap();
            assert_eq!(texts(previous), [start, end], "{text}");
        }
        assert_eq!(Range::ALL.previous(NOW, &zone()), None);
        let of_all_time = Range { start: Some(i64::MIN), end: Some(i64::MAX), step: None };
        assert_eq!(of_all_time.previous(NOW, &zone()).unwrap().start, None);
    }
}
