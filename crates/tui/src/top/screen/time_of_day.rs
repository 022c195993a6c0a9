//! A point in time as a time of day.

use jiff::{Timestamp, tz::TimeZone};

/// The local time of day of a point in unix seconds.
pub fn time_of_day(seconds: i64, zone: &TimeZone) -> String {
    Timestamp::from_second(seconds)
        .map_or_else(|_| seconds.to_string(), |time| zone.to_datetime(time).strftime("%H:%M:%S").to_string())
}
