//! Points of time as text.

use jiff::{Timestamp, tz::TimeZone};

use super::step::{civil, offset};

/// A point in local time, with seconds only if they are not zero.
pub fn point_text(seconds: i64, zone: &TimeZone) -> String {
    match civil(seconds, zone) {
        None => seconds.to_string(),
        Some(local) if local.second() != 0 => local.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Some(local) => local.strftime("%Y-%m-%d %H:%M").to_string(),
    }
}

/// The local date of a point, for example `2026-11-28`.
pub fn day_text(seconds: i64, zone: &TimeZone) -> String {
    civil(seconds, zone).map_or_else(|| seconds.to_string(), |local| local.strftime("%Y-%m-%d").to_string())
}

/// The local month of a point, for example `2026-11`.
pub fn month_text(seconds: i64, zone: &TimeZone) -> String {
    civil(seconds, zone).map_or_else(|| seconds.to_string(), |local| local.strftime("%Y-%m").to_string())
}

/// The name of a day of the week, by its number of ISO 8601: 1 is Monday.
pub fn weekday_name(number: i64) -> Option<&'static str> {
    const NAMES: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    usize::try_from(number).ok()?.checked_sub(1).and_then(|index| NAMES.get(index)).copied()
}

/// A point with its offset from UTC (RFC 3339), for example `2026-11-28T14:30:00+01:00`; the number itself outside the
/// calendar.
pub fn rfc3339(seconds: i64, zone: &TimeZone) -> String {
    match Timestamp::from_second(seconds) {
        Ok(point) => point.display_with_offset(zone.to_offset(point)).to_string(),
        Err(_) => seconds.to_string(),
    }
}

/// The abbreviation of the time zone at a point, such as `CET` or `+0545`.
pub fn zone_name(seconds: i64, zone: &TimeZone) -> String {
    Timestamp::from_second(seconds)
        .map(|point| zone.to_offset_info(point).abbreviation().to_owned())
        .unwrap_or_default()
}

/// Local times for a column of a table. They have their offsets if those differ in the column, or if a clock change repeats
/// one of the times: two equal texts would stand for two times.
#[derive(Clone, Debug)]
pub struct Offsets {
    zone: TimeZone,
    shown: bool,
}

impl Offsets {
    /// For a column with these points.
    pub fn new(points: impl IntoIterator<Item = i64>, zone: &TimeZone) -> Self {
        let mut points = points.into_iter().peekable();
        let first = points.peek().map(|point| offset(*point, zone));
        let is_repeated = |point| {
            let local = civil(point, zone);
            local.is_some_and(|local| zone.to_ambiguous_timestamp(local).is_ambiguous())
        };
        let shown = points.any(|point| Some(offset(point, zone)) != first || is_repeated(point));
        Self { zone: zone.clone(), shown }
    }

    /// A point, to the second.
    pub fn text(&self, seconds: i64) -> String {
        match civil(seconds, &self.zone) {
            None => seconds.to_string(),
            Some(local) => format!("{}{}", local.strftime("%Y-%m-%d %H:%M:%S"), self.offset_text(seconds)),
        }
    }

    /// A point, to the minute.
    pub fn minute_text(&self, seconds: i64) -> String {
        match civil(seconds, &self.zone) {
            None => seconds.to_string(),
            Some(local) => format!("{}{}", local.strftime("%Y-%m-%d %H:%M"), self.offset_text(seconds)),
        }
    }

    fn offset_text(&self, seconds: i64) -> String {
        if !self.shown {
            return String::new();
        }
        let minutes = offset(seconds, &self.zone) / 60;
        let sign = if minutes < 0 { '-' } else { '+' };
        format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_shown_where_a_time_would_be_ambiguous() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        // 00:30 and 01:30 UTC are both 02:30.
        let night = [1_792_888_200, 1_792_891_800];
        let texts = night.map(|point| Offsets::new(night, &zone).minute_text(point));
        assert_eq!(texts, ["2026-10-25 02:30+02:00", "2026-10-25 02:30+01:00"]);
        assert_eq!(Offsets::new([night[0]], &zone).text(night[0]), "2026-10-25 02:30:00+02:00");
        assert_eq!(Offsets::new([1_700_000_000], &zone).text(1_700_000_000), "2023-11-14 23:13:20");
        assert_eq!(rfc3339(night[1], &zone), "2026-10-25T02:30:00+01:00");
        assert_eq!(rfc3339(i64::MAX, &zone), i64::MAX.to_string());
    }
}
