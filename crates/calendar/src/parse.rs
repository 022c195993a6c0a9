//! Points of time as people write them.

use jiff::{
    Timestamp,
    civil::{Date, DateTime, Time},
    tz::TimeZone,
};
use thiserror::Error;

use super::step::{Step, after, civil, clock_change, floor};

/// What the user can write as a point of time.
const POINTS: &str = "write 2026-11-28, \"2026-11-28 14:30\" (local time, or with an offset such as +01:00 or Z), 14:30, today, \
                      yesterday, last-week, unix seconds, or a time ago such as 5m, 2h, 30d, 1w";

/// A text is no point of time.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text:?} is no time; {POINTS}")]
pub struct TimeError {
    text: String,
}

/// A part of time: from `start` to the second before `end`, unix seconds UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// First second.
    pub start: i64,
    /// The second after the last one.
    pub end: i64,
    /// The division of the calendar that the part belongs to; `None` for any other part.
    pub step: Option<Step>,
}

impl Part {
    /// The part of a division that contains `point`.
    pub(crate) fn around(step: Step, point: i64, zone: &TimeZone) -> Self {
        let start = floor(step, point, zone);
        Self { start, end: after(step, start, zone), step: Some(step) }
    }

    fn second(point: i64) -> Self {
        Self { start: point, end: point.saturating_add(1), step: None }
    }
}

/// Reads a duration in seconds: a number with the unit `s`, `m`, `h`, `d`, `w` or `y` (365 days).
pub fn parse_span(text: &str) -> Option<i64> {
    let seconds = match text.chars().next_back()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 604_800,
        'y' => 365 * 86_400,
        _ => return None,
    };
    let number = &text[..text.len() - 1];
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| number.parse::<i64>().ok()?.checked_mul(seconds)).flatten()
}

/// Reads a point of time: unix seconds, `now`, a duration before `now`, local time (`2026-11-28 14:30`, `14:30` today), or a
/// time with its offset (RFC 3339). A date, a month (`2026-11`), a year (`2026`) and the words `today`, `yesterday`, `this-week`,
/// `last-month` and the like are whole parts. So is a local time that a clock change repeats: from its first to its last
/// occurrence. One that a clock change skips is the change.
///
/// # Errors
/// The text is nothing of that; the error says what to write.
pub fn parse_part(text: &str, now: i64, zone: &TimeZone) -> Result<Part, TimeError> {
    let text = text.trim();
    let read = || {
        if let Some(year) = parse_year(text, zone) {
            return Some(year);
        }
        if let Ok(seconds) = text.parse() {
            return Some(Part::second(seconds));
        }
        if text == "now" {
            return Some(Part::second(now));
        }
        if let Some(span) = parse_span(text) {
            return now.checked_sub(span).map(Part::second);
        }
        parse_word(text, now, zone)
            .or_else(|| parse_date(text, zone))
            .or_else(|| parse_with_offset(text))
            .or_else(|| parse_local(text, now, zone))
    };
    read().ok_or_else(|| TimeError { text: text.to_owned() })
}

/// Reads `today`, `yesterday`, or `this-` or `last-` with `hour`, `day`, `week`, `month` or `year`.
pub(crate) fn parse_word(text: &str, now: i64, zone: &TimeZone) -> Option<Part> {
    let (is_last, unit) = match text {
        "today" => (false, "day"),
        "yesterday" => (true, "day"),
        _ => match text.split_once(['-', ' '])? {
            ("this", unit) => (false, unit),
            ("last", unit) => (true, unit),
            _ => return None,
        },
    };
    let step = match unit {
        "hour" => Step::Seconds(3600),
        "day" => Step::Days,
        "week" => Step::Weeks,
        "month" => Step::Months,
        "year" => Step::Years,
        _ => return None,
    };
    let part = Part::around(step, now, zone);
    Some(if is_last { Part::around(step, part.start.saturating_sub(1), zone) } else { part })
}

/// Reads a year in four digits. As unix seconds it would be in the first hours of 1970.
fn parse_year(text: &str, zone: &TimeZone) -> Option<Part> {
    let is_year = text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    let first = is_year.then(|| parse_date(&format!("{text}-01-01"), zone)).flatten()?;
    Some(Part::around(Step::Years, first.start, zone))
}

/// Reads `YYYY-MM-DD` or `YYYY-MM`.
fn parse_date(text: &str, zone: &TimeZone) -> Option<Part> {
    let (step, date) = match text.len() {
        10 => (Step::Days, date(text)?),
        7 => (Step::Months, date(&format!("{text}-01"))?),
        _ => return None,
    };
    let start = local_part(date.to_datetime(Time::midnight()), zone)?.start;
    Some(Part::around(step, start, zone))
}

pub(crate) fn date(text: &str) -> Option<Date> {
    let is_digit_or_dash = |(index, byte): (usize, u8)| match index {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    let is_date = text.len() == 10 && text.bytes().enumerate().all(is_digit_or_dash);
    is_date.then(|| text.parse().ok()).flatten()
}

/// Reads a time with its offset from UTC, for example `2026-10-25 02:30+02:00` or `2026-10-25T00:30:00Z`.
fn parse_with_offset(text: &str) -> Option<Part> {
    let (date, rest) = text.split_at_checked(10)?;
    let time = rest.strip_prefix(['T', 't', ' '])?;
    let begin = time.find(['Z', 'z', '+', '-'])?;
    let (time, offset) = time.split_at(begin);
    // Windows end at whole seconds.
    let time = match time.trim_end().split_once('.') {
        Some((time, fraction)) => {
            let is_fraction = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
            time.get(..8).filter(|_| is_fraction && time.len() == 8)?
        }
        None => time.trim_end(),
    };
    time_of_day(time)?;
    // jiff reads offsets of up to 25 hours, RFC 3339 has less than 24.
    if offset.get(1..3).is_some_and(|hours| hours > "23") {
        return None;
    }
    let instant: Timestamp = format!("{date}T{time}{offset}").parse().ok()?;
    Some(Part::second(instant.as_second()))
}

/// Reads `YYYY-MM-DD HH:MM[:SS]` (or with a `T`) and `HH:MM[:SS]` of today, in local time.
fn parse_local(text: &str, now: i64, zone: &TimeZone) -> Option<Part> {
    let (day, time) = match text.split_at_checked(10) {
        Some((day, rest)) if rest.starts_with(['T', 't', ' ']) => (date(day)?, time_of_day(&rest[1..])?),
        _ => (civil(now, zone)?.date(), time_of_day(text)?),
    };
    local_part(day.to_datetime(time), zone).map(|LocalPart { start, end, .. }| Part {
        start,
        end,
        step: None,
    })
}

pub(crate) fn time_of_day(text: &str) -> Option<Time> {
    let is_shaped = matches!(text.len(), 5 | 8)
        && text.bytes().enumerate().all(|(index, byte)| match index {
            2 | 5 => byte == b':',
            _ => byte.is_ascii_digit(),
        });
    // A leap second would be read as the second before it.
    (is_shaped && !text.ends_with(":60")).then(|| text.parse().ok()).flatten()
}

/// The seconds that a local date and time stands for.
pub(crate) struct LocalPart {
    /// The first of them.
    pub start: i64,
    /// The second after the last one.
    pub end: i64,
    /// It is the clock change that skips the time.
    pub is_clock_change: bool,
}

/// What a local date and time is: one second, from the first to the last of two, or the clock change that skips it.
pub(crate) fn local_part(local: DateTime, zone: &TimeZone) -> Option<LocalPart> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    let is_gap = matches!(ambiguous.offset(), jiff::tz::AmbiguousOffset::Gap { .. });
    let earlier = ambiguous.earlier().ok()?.as_second();
    let later = ambiguous.later().ok()?.as_second();
    if is_gap {
        let start = clock_change(earlier, later, zone)?;
        return Some(LocalPart { start, end: start.saturating_add(1), is_clock_change: true });
    }
    Some(LocalPart { start: earlier, end: later.saturating_add(1), is_clock_change: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::rfc3339;

    /// Central European time: clocks change at 01:00 UTC on 2026-03-29 and 2026-10-25.
    fn zone() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    /// A Wednesday.
    const NOW: &str = "2026-02-18T12:00:00Z";

    fn read(text: &str) -> (String, String) {
        let part = parse_part(text, at(NOW), &zone()).unwrap();
        (rfc3339(part.start, &zone()), rfc3339(part.end, &zone()))
    }

    #[test]
    fn points_are_read() {
        let point = |text| parse_part(text, at(NOW), &zone()).map(|part| (part.start, part.end - part.start));
        for (text, expected) in [
            ("1700000000", "2023-11-14T22:13:20Z"),
            ("now", NOW),
            ("5m", "2026-02-18T11:55:00Z"),
            ("1w", "2026-02-11T12:00:00Z"),
            ("2026-03-01 12:00", "2026-03-01T11:00:00Z"),
            ("2026-03-01T12:00:59", "2026-03-01T11:00:59Z"),
            ("2026-03-01 12:00+02:00", "2026-03-01T10:00:00Z"),
            ("2026-03-01 12:00 +02:00", "2026-03-01T10:00:00Z"),
            ("2026-03-01T12:00:00+0200", "2026-03-01T10:00:00Z"),
            ("2026-03-01T12:00:00-05:45", "2026-03-01T17:45:00Z"),
            ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z"),
            ("2026-03-01T12:00:00.999Z", "2026-03-01T12:00:00Z"),
            ("2026-03-01T12:00:00.5+01:00", "2026-03-01T11:00:00Z"),
            ("09:30", "2026-02-18T08:30:00Z"),
        ] {
            assert_eq!(point(text), Ok((at(expected), 1)), "{text}");
        }
    }

    #[test]
    fn dates_and_words_are_whole_parts() {
        for (text, start, end) in [
            ("2026-03-29", "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"),
            ("2025", "2025-01-01T00:00:00+01:00", "2026-01-01T00:00:00+01:00"),
            ("2026-02", "2026-02-01T00:00:00+01:00", "2026-03-01T00:00:00+01:00"),
            ("today", "2026-02-18T00:00:00+01:00", "2026-02-19T00:00:00+01:00"),
            ("yesterday", "2026-02-17T00:00:00+01:00", "2026-02-18T00:00:00+01:00"),
            ("this-week", "2026-02-16T00:00:00+01:00", "2026-02-23T00:00:00+01:00"),
            ("last-month", "2026-01-01T00:00:00+01:00", "2026-02-01T00:00:00+01:00"),
            ("last year", "2025-01-01T00:00:00+01:00", "2026-01-01T00:00:00+01:00"),
            ("this-hour", "2026-02-18T13:00:00+01:00", "2026-02-18T14:00:00+01:00"),
        ] {
            assert_eq!(read(text), (start.to_owned(), end.to_owned()), "{text}");
        }
    }

    #[test]
    fn clock_changes_repeat_and_skip_local_times() {
        let repeated = ("2026-10-25T02:30:00+02:00".to_owned(), "2026-10-25T02:30:01+01:00".to_owned());
        assert_eq!(read("2026-10-25 02:30"), repeated);
        let change = ("2026-03-29T03:00:00+02:00".to_owned(), "2026-03-29T03:00:01+02:00".to_owned());
        assert_eq!(read("2026-03-29 02:30"), change);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "m",
            "-5m",
            "5x",
            "2026-02-31",
            "2026-13-01",
            "2026-1-1",
            "2026-01-01 25:00",
            "2026-01-01 1:00",
            "2026-01-01 12:00:00:00",
            "tomorrow",
            "99999999999999999999d",
            "ä",
            "2026-01-01 12:00+25:00",
            "this-century",
            "2026-01-01 12:00:60",
            "2026-01-01Z",
            "äääää äääää",
            "24:00",
            "2026-03-01T12:00:00.Z",
            "2026-03-01T12:00.5Z",
            "2026-03-01T12:00:00.xZ",
        ] {
            let error = parse_part(text, 1000, &zone()).unwrap_err();
            assert!(error.to_string().contains("yesterday"), "{text}");
        }
    }
}
