//! Windows of time: the last hour or year, and the calendar's own hours, days and years before it, in local time.

use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    tz::TimeZone,
};

use store;

/// How the calendar is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Pieces of an hour, or hours: so many seconds.
    Seconds(i64),
    /// Hours of a day, beginning at midnight.
    Hours(i8),
    Days,
    ThreeDays,
    /// From Monday on.
    Weeks,
    Months,
    Years,
    All,
}

/// A length of time to look at.
#[derive(Debug)]
pub struct Length {
    /// What the user reads after "last".
    pub name: &'static str,
    /// Seconds; 0: everything.
    pub seconds: i64,
    step: Step,
}

const fn length(name: &'static str, seconds: i64, step: Step) -> Length {
    Length { name, seconds, step }
}

const DAY: i64 = 86_400;

/// The lengths, in the order in which a key goes through them. In the history, 30 days are months and 365 days years.
pub const LENGTHS: [Length; 16] = [
    length("1 min", 60, Step::Seconds(60)),
    length("3 min", 180, Step::Seconds(180)),
    length("5 min", 300, Step::Seconds(300)),
    length("10 min", 600, Step::Seconds(600)),
    length("15 min", 900, Step::Seconds(900)),
    length("30 min", 1800, Step::Seconds(1800)),
    length("1 hour", 3600, Step::Seconds(3600)),
    length("3 hours", 3 * 3600, Step::Hours(3)),
    length("6 hours", 6 * 3600, Step::Hours(6)),
    length("12 hours", 12 * 3600, Step::Hours(12)),
    length("1 day", DAY, Step::Days),
    length("3 days", 3 * DAY, Step::ThreeDays),
    length("7 days", 7 * DAY, Step::Weeks),
    length("30 days", 30 * DAY, Step::Months),
    length("365 days", 365 * DAY, Step::Years),
    length("all", 0, Step::All),
];

/// The length of the first screen: a day.
pub const FIRST: usize = 10;

/// The zone of the local time.
pub fn zone() -> TimeZone {
    TimeZone::system()
}

/// A window of time: the records that ended from `start` up to, and without, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Unix seconds; `None`: from the beginning.
    pub start: Option<i64>,
    /// Unix seconds; `None`: to the end.
    pub end: Option<i64>,
}

impl Window {
    /// The records of the window.
    pub fn range(self) -> store::Range {
        store::Range { since: self.start, until: self.end.map(|end| end - 1) }
    }
}

/// The window that ends now.
pub fn last(length: usize, now: i64) -> Window {
    match LENGTHS[length].seconds {
        0 => Window { start: None, end: None },
        seconds => Window { start: Some(now + 1 - seconds), end: Some(now + 1) },
    }
}

/// The calendar's window of this length that `point` is in.
pub fn around(length: usize, point: i64, zone: &TimeZone) -> Window {
    let step = LENGTHS[length].step;
    if step == Step::All {
        return Window { start: None, end: None };
    }
    let start = floor(step, point, zone);
    Window { start: Some(start), end: Some(after(step, start, zone)) }
}

/// The local date and time, where the calendar has one.
fn civil(point: i64, zone: &TimeZone) -> Option<DateTime> {
    Timestamp::from_second(point).ok().map(|point| zone.to_datetime(point))
}

/// When a local date and time begins. What a clock change skips begins when the change is over.
fn instant(local: DateTime, zone: &TimeZone) -> Option<i64> {
    zone.to_timestamp(local).ok().map(Timestamp::as_second)
}

fn offset(point: i64, zone: &TimeZone) -> i64 {
    Timestamp::from_second(point).map_or(0, |point| zone.to_offset(point).seconds().into())
}

/// The first second after `start`, up to `end`, in which clocks show another offset than at `start`.
fn change(start: i64, end: i64, zone: &TimeZone) -> Option<i64> {
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

/// The last multiple of `seconds` on the clock up to `point`, or the clock change after it: where clocks change by half
/// an hour, hours begin anew.
fn floor_seconds(seconds: i64, point: i64, zone: &TimeZone) -> i64 {
    let offset = offset(point, zone);
    let start = (point + offset).div_euclid(seconds) * seconds - offset;
    match change(start, point, zone) {
        Some(change) if (self::offset(start, zone) - offset) % seconds != 0 => change,
        _ => start,
    }
}

/// The start of the piece that `point` is in.
fn floor(step: Step, point: i64, zone: &TimeZone) -> i64 {
    if let Step::Seconds(seconds) = step {
        return floor_seconds(seconds, point, zone);
    }
    let start = (|| {
        let local = civil(point, zone)?;
        let start = instant(floor_local(step, local)?, zone)?;
        // Behind a clock change that skips the local time of the start.
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

/// The start of the piece after the one that begins at `start`.
fn after(step: Step, start: i64, zone: &TimeZone) -> i64 {
    if let Step::Seconds(seconds) = step {
        let offset = offset(start, zone);
        let end = (start + offset).div_euclid(seconds) * seconds + seconds - offset;
        return match change(start, end - 1, zone) {
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
    next.filter(|next| *next > start).unwrap_or(start + DAY)
}

/// The pieces that a chart may have, from the shortest.
const PIECES: [(Step, i64); 18] = [
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

/// Cuts a window into at most `most` pieces of the calendar: the points where they begin and end. The first and the last
/// piece may be short.
pub fn pieces(start: i64, end: i64, most: usize, zone: &TimeZone) -> Vec<i64> {
    let most = most.max(1);
    let fits = |(_, seconds): &&(Step, i64)| (end - start) / seconds + 2 <= most as i64;
    let step = PIECES.iter().find(fits).map_or(Step::Years, |(step, _)| *step);
    let mut edges = vec![start];
    let mut at = after(step, floor(step, start, zone), zone);
    while at < end && edges.len() < most {
        edges.push(at);
        at = after(step, at, zone);
    }
    edges.push(end.max(start + 1));
    edges
}

/// A point in time as the header shows it: local time, to the second only where there is one.
pub fn point(seconds: i64, zone: &TimeZone) -> String {
    match civil(seconds, zone) {
        None => seconds.to_string(),
        Some(local) if local.second() != 0 => local.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Some(local) => local.strftime("%Y-%m-%d %H:%M").to_string(),
    }
}

/// How the local time is called at a point, such as `CET` or `+0545`.
pub fn zone_name(seconds: i64, zone: &TimeZone) -> String {
    Timestamp::from_second(seconds)
        .map(|point| zone.to_offset_info(point).abbreviation().to_owned())
        .unwrap_or_default()
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

    fn index(name: &str) -> usize {
        LENGTHS.iter().position(|length| length.name == name).unwrap()
    }

    #[test]
    fn days_of_23_and_25_hours() {
        let day = |point| around(index("1 day"), at(point), &zone());
        let spring = day("2026-03-29T12:00:00Z");
        assert_eq!(
            spring,
            Window { start: Some(at("2026-03-28T23:00:00Z")), end: Some(at("2026-03-29T22:00:00Z")) }
        );
        let autumn = day("2026-10-25T12:00:00Z");
        assert_eq!(
            autumn,
            Window { start: Some(at("2026-10-24T22:00:00Z")), end: Some(at("2026-10-25T23:00:00Z")) }
        );
    }

    #[test]
    fn windows_follow_each_other_without_gap_or_overlap() {
        let lord_howe = TimeZone::posix("<+1030>-10:30<+11>-11,M10.1.0,M4.1.0").unwrap();
        let nepal = TimeZone::posix("<+0545>-5:45").unwrap();
        // Clocks change at midnight: that day has no 00:00.
        let cairo = TimeZone::posix("EET-2EEST,M4.5.5/0,M10.5.4/24").unwrap();
        for zone in [zone(), lord_howe, nepal, cairo, TimeZone::UTC] {
            for (length, _) in LENGTHS.iter().enumerate().take(LENGTHS.len() - 1) {
                for begin in [
                    "2026-03-28T20:00:00Z",
                    "2026-04-04T10:00:00Z",
                    "2026-04-23T18:00:00Z",
                    "2026-10-24T20:00:00Z",
                ] {
                    let mut window = around(length, at(begin), &zone);
                    for _ in 0..50 {
                        let (start, end) = (window.start.unwrap(), window.end.unwrap());
                        let name = LENGTHS[length].name;
                        assert!(start < end, "{name} {zone:?}");
                        assert_eq!(around(length, start, &zone), window, "{name} at its start");
                        assert_eq!(around(length, end - 1, &zone), window, "{name} at its end");
                        let next = around(length, end, &zone);
                        assert_eq!(next.start, Some(end), "{name} after {start} {zone:?}");
                        assert_eq!(
                            around(length, start - 1, &zone).end,
                            Some(start),
                            "{name} before {start} {zone:?}"
                        );
                        window = next;
                    }
                }
            }
        }
    }

    #[test]
    fn long_windows_are_those_of_the_calendar() {
        let point = at("2026-02-18T12:00:00Z"); // A Wednesday.
        let start = |name| around(index(name), point, &TimeZone::UTC).start.unwrap();
        assert_eq!(start("7 days"), at("2026-02-16T00:00:00Z"));
        assert_eq!(start("30 days"), at("2026-02-01T00:00:00Z"));
        assert_eq!(start("365 days"), at("2026-01-01T00:00:00Z"));
        let month = around(index("30 days"), point, &TimeZone::UTC);
        assert_eq!(month.end, Some(at("2026-03-01T00:00:00Z")));
        assert_eq!(around(index("all"), point, &TimeZone::UTC), Window { start: None, end: None });
    }

    #[test]
    fn pieces_cover_a_window() {
        let (start, end) = (at("2026-03-01T10:17:05Z"), at("2026-03-31T10:17:05Z"));
        for most in [1, 2, 3, 10, 78, 300] {
            let edges = pieces(start, end, most, &zone());
            assert!(edges.len() <= most + 1, "{} pieces for {most}", edges.len() - 1);
            assert_eq!((edges[0], edges[edges.len() - 1]), (start, end));
            assert!(edges.windows(2).all(|edge| edge[0] < edge[1]), "{edges:?}");
        }
        // At 78 columns a month is cut at the half days of local time.
        assert_eq!(pieces(start, end, 78, &zone())[1], at("2026-03-01T11:00:00Z"));
    }

    #[test]
    fn no_time_is_too_far_away() {
        for point in [i64::MIN / 4, -1, 0, i64::MAX / 4] {
            for length in 0..LENGTHS.len() {
                let _ = around(length, point, &zone());
            }
        }
    }
}
