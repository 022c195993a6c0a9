//! Local times as other programs write them, without a zone.

use jiff::tz::TimeZone;

use super::parse::{date, local_part, time_of_day};

/// The second that a local date and time stands for, unix seconds UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalSecond {
    /// There is one.
    Once(i64),
    /// A clock change repeats it: the first and the second time.
    Repeated(i64, i64),
    /// A clock change skips it: the second of the change.
    Skipped(i64),
}

/// Reads `YYYY-MM-DD HH:MM:SS`, also with a `T` or a fraction of a second; `None` for anything else.
pub fn local_second(text: &str, zone: &TimeZone) -> Option<LocalSecond> {
    let (day, rest) = text.split_at_checked(10)?;
    let time = rest.strip_prefix([' ', 'T'])?;
    let (time, fraction) = time.split_at_checked(8)?;
    let is_fraction = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !fraction.is_empty() && !fraction.strip_prefix('.').is_some_and(is_fraction) {
        return None;
    }
    let part = local_part(date(day)?.to_datetime(time_of_day(time)?), zone)?;
    if part.is_clock_change {
        return Some(LocalSecond::Skipped(part.start));
    }
    Some(match part.end - 1 {
        last if last == part.start => LocalSecond::Once(last),
        last => LocalSecond::Repeated(part.start, last),
    })
}

/// The time zone of a name such as `Europe/Vienna` or `UTC`; `None` if the machine knows none.
pub fn named_zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

/// A time zone by its rules, as in the variable TZ (POSIX); `None` if they are none.
pub fn posix_zone(rules: &str) -> Option<TimeZone> {
    TimeZone::posix(rules).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Central European time: clocks change at 01:00 UTC on 2026-03-29 and 2026-10-25.
    fn zone() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    #[test]
    fn a_local_time_is_one_second_or_two_or_none() {
        let read = |text| local_second(text, &zone());
        assert_eq!(read("2026-03-01 12:00:00"), Some(LocalSecond::Once(1_772_362_800)));
        assert_eq!(read("2026-03-01T12:00:00.25"), Some(LocalSecond::Once(1_772_362_800)));
        let first = 1_792_888_200;
        assert_eq!(read("2026-10-25 02:30:00"), Some(LocalSecond::Repeated(first, first + 3600)));
        assert_eq!(read("2026-03-29 02:30:00"), Some(LocalSecond::Skipped(1_774_746_000)));
        for text in [
            "",
            "2026-03-01",
            "2026-03-01 12:00",
            "2026-03-01 12:00:00x",
            "2026-03-01 12:00:00.",
            "2026-13-01 12:00:00",
            "1772362800",
            "ääääääääää ää",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_zone_has_a_name() {
        assert!(named_zone("UTC").is_some());
        assert!(named_zone("Nowhere/Land").is_none());
    }
}
