//! Periods of time that a screen shows: up to now, such as the last hour, or a part of the calendar, such as a day.

use jiff::tz::TimeZone;

use calendar::Step;

const DAY: i64 = 86_400;

/// A length of time to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeriodLength {
    /// The words that the user reads after "last".
    pub name: &'static str,
    /// Seconds; 0: all of the log.
    pub seconds: i64,
    /// The part of the calendar that a step in the history shows.
    pub(super) step: Step,
}

const fn length(name: &'static str, seconds: i64, step: Step) -> PeriodLength {
    PeriodLength { name, seconds, step }
}

/// The lengths, in the order of the key that goes through them. In the history, 30 days are months and 365 days years.
pub const LENGTHS: [PeriodLength; 16] = [
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
    DEFAULT_LENGTH,
    length("3 days", 3 * DAY, Step::ThreeDays),
    length("7 days", 7 * DAY, Step::Weeks),
    length("30 days", 30 * DAY, Step::Months),
    length("365 days", 365 * DAY, Step::Years),
    length("all", 0, Step::All),
];

/// The length of the first screen.
pub(super) const DEFAULT_LENGTH: PeriodLength = length("1 day", DAY, Step::Days);

impl PeriodLength {
    /// The period of this length that ends with the second `now`.
    pub fn last(self, now: i64) -> Period {
        match self.seconds {
            0 => Period::ALL,
            seconds => Period { start: Some(now + 1 - seconds), end: Some(now + 1) },
        }
    }

    /// The part of the calendar, of this length, that contains `point`.
    pub(super) fn around(self, point: i64, zone: &TimeZone) -> Period {
        if self.step == Step::All {
            return Period::ALL;
        }
        let start = calendar::floor(self.step, point, zone);
        Period { start: Some(start), end: Some(calendar::after(self.step, start, zone)) }
    }
}

/// A period: the recording windows that end at `start` or later and before `end`. Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// `None`: from the beginning of the log.
    pub start: Option<i64>,
    /// `None`: to the end of the log.
    pub end: Option<i64>,
}

impl Period {
    const ALL: Self = Self { start: None, end: None };

    /// The same for the log, whose ranges include their last second.
    pub(super) fn range(self) -> store::Range {
        store::Range { since: self.start, until: self.end.map(|end| end - 1) }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    /// Central European time: clocks change at 01:00 UTC on 2026-03-29 and 2026-10-25.
    fn zone() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    fn length(name: &str) -> PeriodLength {
        *LENGTHS.iter().find(|length| length.name == name).unwrap()
    }

    #[test]
    fn days_of_23_and_25_hours() {
        let day = |point| length("1 day").around(at(point), &zone());
        let spring = day("2026-03-29T12:00:00Z");
        assert_eq!(
            spring,
            Period { start: Some(at("2026-03-28T23:00:00Z")), end: Some(at("2026-03-29T22:00:00Z")) }
        );
        let autumn = day("2026-10-25T12:00:00Z");
        assert_eq!(
            autumn,
            Period { start: Some(at("2026-10-24T22:00:00Z")), end: Some(at("2026-10-25T23:00:00Z")) }
        );
    }

    #[test]
    fn periods_follow_each_other_without_gap_or_overlap() {
        let lord_howe = TimeZone::posix("<+1030>-10:30<+11>-11,M10.1.0,M4.1.0").unwrap();
        let nepal = TimeZone::posix("<+0545>-5:45").unwrap();
        // Clocks change at midnight: that day has no 00:00.
        let cairo = TimeZone::posix("EET-2EEST,M4.5.5/0,M10.5.4/24").unwrap();
        for zone in [zone(), lord_howe, nepal, cairo, TimeZone::UTC] {
            for length in &LENGTHS[..LENGTHS.len() - 1] {
                for begin in [
                    "2026-03-28T20:00:00Z",
                    "2026-04-04T10:00:00Z",
                    "2026-04-23T18:00:00Z",
                    "2026-10-24T20:00:00Z",
                ] {
                    let mut period = length.around(at(begin), &zone);
                    for _ in 0..50 {
                        let (start, end) = (period.start.unwrap(), period.end.unwrap());
                        let name = length.name;
                        assert!(start < end, "{name} {zone:?}");
                        assert_eq!(length.around(start, &zone), period, "{name} at its start");
                        assert_eq!(length.around(end - 1, &zone), period, "{name} at its end");
                        let next = length.around(end, &zone);
                        assert_eq!(next.start, Some(end), "{name} after {start} {zone:?}");
                        assert_eq!(
                            length.around(start - 1, &zone).end,
                            Some(start),
                            "{name} before {start} {zone:?}"
                        );
                        period = next;
                    }
                }
            }
        }
    }

    #[test]
    fn long_periods_are_those_of_the_calendar() {
        let point = at("2026-02-18T12:00:00Z"); // A Wednesday.
        let start = |name| length(name).around(point, &TimeZone::UTC).start.unwrap();
        assert_eq!(start("7 days"), at("2026-02-16T00:00:00Z"));
        assert_eq!(start("30 days"), at("2026-02-01T00:00:00Z"));
        assert_eq!(start("365 days"), at("2026-01-01T00:00:00Z"));
        let month = length("30 days").around(point, &TimeZone::UTC);
        assert_eq!(month.end, Some(at("2026-03-01T00:00:00Z")));
        assert_eq!(length("all").around(point, &TimeZone::UTC), Period { start: None, end: None });
    }

    #[test]
    fn no_time_is_too_far_away() {
        for point in [i64::MIN / 4, -1, 0, i64::MAX / 4] {
            for length in LENGTHS {
                let _ = length.around(point, &zone());
            }
        }
    }
}
