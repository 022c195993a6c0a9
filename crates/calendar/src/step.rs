//! Parts of the calendar in local time: hours, days, weeks, months and years.

use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    tz::TimeZone,
};

/// A division of the calendar into parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Parts of this many seconds, at most an hour.
    Seconds(i64),
    /// Parts of this many hours, from midnight on.
    Hours(i8),
    /// Days from midnight to midnight.
    Days,
    /// Three days, counted from 1970-01-01 on.
    ThreeDays,
    /// Weeks, which begin on Monday.
    Weeks,
    /// Months.
    Months,
    /// Years.
    Years,
    /// One part without beginning and end.
    All,
}

pub(crate) const DAY: i64 = 86_400;

/// The time zone of the system.
pub fn zone() -> TimeZone {
    TimeZone::system()
}

/// The local date and time of a point, unless it is out of the calendar's range.
pub(crate) fn civil(point: i64, zone: &TimeZone) -> Option<DateTime> {
    Timestamp::from_second(point).ok().map(|point| zone.to_datetime(point))
}

/// When a local date and time begins. One that a clock change skips begins at the clock change.
pub(crate) fn instant(local: DateTime, zone: &TimeZone) -> Option<i64> {
    zone.to_timestamp(local).ok().map(Timestamp::as_second)
}

pub(crate) fn offset(point: i64, zone: &TimeZone) -> i64 {
    Timestamp::from_second(point).map_or(0, |point| zone.to_offset(point).seconds().into())
}

/// The first second after `start`, up to `end`, with another UTC offset than at `start`.
pub(crate) fn clock_change(start: i64, end: i64, zone: &TimeZone) -> Option<i64> {
    let before = offset(start, zone);
    if offset(end, zone) == before {
        return None;
    }
    let (mut start, mut end) = (start, end);
    while end - start > 1 {
        let middle = start + (end - start) / 2;
        if offset(middle, zone) == before { start = middle } else { end = middle }
    }
    Some(end)
}

/// The last multiple of `seconds` in local time up to `point`, or the clock change after it: where clocks change by half
/// an hour, hours are counted from the change on.
fn floor_seconds(seconds: i64, point: i64, zone: &TimeZone) -> i64 {
    let offset = offset(point, zone);
    let start =
        point.saturating_add(offset).div_euclid(seconds).saturating_mul(seconds).saturating_sub(offset);
    match clock_change(start, point, zone) {
        Some(change) if (self::offset(start, zone) - offset) % seconds != 0 => change,
        _ => start,
    }
}

/// The start of the part that contains `point`.
pub fn floor(step: Step, point: i64, zone: &TimeZone) -> i64 {
    if let Step::Seconds(seconds) = step {
        return floor_seconds(seconds, point, zone);
    }
    let start = (|| {
        let local = civil(point, zone)?;
        let start = instant(floor_local(step, local)?, zone)?;
        // A clock change may skip the local time of the start.
        if start <= point { Some(start) } else { None }
    })();
    start.unwrap_or(point)
}

fn floor_local(step: Step, local: DateTime) -> Option<DateTime> {
    let date = local.date();
    let midnight = |date: Date| date.at(0, 0, 0, 0);
    let back = |days: i64| date.checked_sub(jiff::Span::new().days(days)).ok().map(midnight);
    match step {
        Step::Hours(hours) => Some(date.at(local.hour() / hours * hours, 0, 0, 0)),
        Step::Days => Some(midnight(date)),
        Step::ThreeDays => {
            let days = date.since(Date::constant(1970, 1, 1)).ok()?.get_days();
            back(i64::from(days.rem_euclid(3)))
        }
        Step::Weeks => back(i64::from(date.weekday().to_monday_zero_offset())),
        Step::Months => Some(midnight(date.first_of_month())),
        Step::Years => Some(midnight(date.first_of_year())),
        Step::Seconds(_) | Step::All => None,
    }
}

/// The start of the part after the one that begins at `start`.
pub fn after(step: Step, start: i64, zone: &TimeZone) -> i64 {
    if let Step::Seconds(seconds) = step {
        let offset = offset(start, zone);
        let end = (start.saturating_add(offset).div_euclid(seconds) + 1)
            .saturating_mul(seconds)
            .saturating_sub(offset);
        return match clock_change(start, end - 1, zone) {
            Some(change) if (self::offset(end - 1, zone) - offset) % seconds != 0 => change,
            _ => end,
        };
    }
    let next = (|| {
        let local = floor_local(step, civil(start, zone)?)?;
        let span = jiff::Span::new();
        let next = match step {
            Step::Hours(hours) => local.checked_add(span.hours(hours)),
            Step::Days => local.checked_add(span.days(1)),
            Step::ThreeDays => local.checked_add(span.days(3)),
            Step::Weeks => local.checked_add(span.days(7)),
            Step::Months => local.checked_add(span.months(1)),
            Step::Years => local.checked_add(span.years(1)),
            Step::Seconds(_) | Step::All => return None,
        };
        instant(next.ok()?, zone)
    })();
    next.filter(|next| *next > start).unwrap_or(start.saturating_add(DAY))
}

/// The day of the week of a point in local time: 1 is Monday, 7 is Sunday (ISO 8601).
pub fn weekday(point: i64, zone: &TimeZone) -> i64 {
    civil(point, zone).map_or(1, |local| local.weekday().to_monday_one_offset().into())
}

/// The hour of the day of a point in local time, 0 to 23.
pub fn hour_of_day(point: i64, zone: &TimeZone) -> i64 {
    civil(point, zone).map_or(0, |local| local.hour().into())
}

/// Steps of a chart and about how many seconds each is, from the shortest.
const CHART_STEPS: [(Step, i64); 18] = [
    (Step::Seconds(10), 10),
    (Step::Seconds(30), 30),
    (Step::Seconds(60), 60),
    (Step::Seconds(120), 120),
    (Step::Seconds(300), 300),
    (Step::Seconds(600), 600),
    (Step::Seconds(900), 900),
    (Step::Seconds(1800), 1800),
    (Step::Seconds(3600), 3600),
    (Step::Hours(2), 7200),
    (Step::Hours(3), 10_800),
    (Step::Hours(6), 21_600),
    (Step::Hours(12), 43_200),
    (Step::Days, DAY),
    (Step::ThreeDays, 3 * DAY),
    (Step::Weeks, 7 * DAY),
    (Step::Months, 30 * DAY),
    (Step::Years, 365 * DAY),
];

/// Divides a period into at most `max_parts` parts of the calendar and returns the points where they begin and end. The
/// first and the last part may be shorter.
pub fn divide(start: i64, end: i64, max_parts: usize, zone: &TimeZone) -> Vec<i64> {
    let max_parts = max_parts.max(1);
    let fits = |(_, seconds): &&(Step, i64)| end.saturating_sub(start) / seconds + 2 <= max_parts as i64;
    let step = CHART_STEPS.iter().find(fits).map_or(Step::Years, |(step, _)| *step);
    let mut edges = vec![start];
    let mut at = after(step, floor(step, start, zone), zone);
    while at < end && edges.len() < max_parts {
        edges.push(at);
        at = after(step, at, zone);
    }
    edges.push(end.max(start.saturating_add(1)));
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Central European time: clocks change at 01:00 UTC on 2026-03-29 and 2026-10-25.
    fn zone() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    #[test]
    fn the_ends_of_time_are_in_parts() {
        let steps = CHART_STEPS.iter().map(|(step, _)| *step).chain([Step::All]);
        for (step, point) in
            steps.flat_map(|step| [i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX].map(|point| (step, point)))
        {
            let start = floor(step, point, &zone());
            let end = after(step, start, &zone());
            assert!(start <= point || point < i64::MIN + DAY, "{step:?} {point} {start}");
            assert!(point < end || end == i64::MAX, "{step:?} {point} {end}");
        }
        for (start, end) in [(i64::MIN, 0), (0, i64::MAX), (i64::MIN, i64::MAX), (i64::MAX, i64::MAX)] {
            let edges = divide(start, end, 10, &zone());
            assert!(edges.len() <= 11 && edges.is_sorted() && edges[0] == start, "{edges:?}");
        }
    }

    #[test]
    fn the_parts_cover_the_period() {
        let (start, end) = (at("2026-03-01T10:17:05Z"), at("2026-03-31T10:17:05Z"));
        for max in [1, 2, 3, 10, 78, 300] {
            let edges = divide(start, end, max, &zone());
            assert!(edges.len() <= max + 1, "{} parts for {max}", edges.len() - 1);
            assert_eq!((edges[0], edges[edges.len() - 1]), (start, end));
            assert!(edges.windows(2).all(|edge| edge[0] < edge[1]), "{edges:?}");
        }
        // With 78 columns a month is divided at the half days of local time.
        assert_eq!(divide(start, end, 78, &zone())[1], at("2026-03-01T11:00:00Z"));
    }
}
