//! Parts of the calendar in SQL: a point in the same part as the time of a record.

use calendar::{TimeZone, offset_spans};
use store::Dimension;

/// Clock changes in one statement; more are in the range of a clock that was wrong only.
const MAX_SPANS: usize = 500;
const HOUR: i64 = 3600;
const DAY: i64 = 86_400;
const WEEK: i64 = 7 * DAY;
/// Seconds from the beginning of a week (Monday) to that of unix time (Thursday).
const WEEK_OFFSET: i64 = 3 * DAY;

/// The expression over a column with a time for groups by these dimensions; `None` if no dimension is one of time. For parts of the
/// calendar it is the first second of the local hour, day or week, or the clock change in it, so that the calendar has the same value
/// there. `first` and `last` are the ends of the time that is asked for and that has records.
pub(crate) fn expression(
    dimensions: impl IntoIterator<Item = Dimension>,
    column: &str,
    (first, last): (i64, i64),
    zone: &TimeZone,
) -> Option<String> {
    let of_time: Vec<Dimension> = dimensions
        .into_iter()
        .filter(|dimension| *dimension == Dimension::Time || dimension.is_calendar())
        .collect();
    if of_time.is_empty() {
        return None;
    }
    let spans = match of_time.contains(&Dimension::Time) || first > last {
        true => None,
        false => offset_spans(first, last, MAX_SPANS, zone),
    };
    let Some(spans) = spans else { return Some(column.to_owned()) };
    let is_by_hour =
        of_time.iter().any(|dimension| matches!(dimension, Dimension::Hour | Dimension::HourOfDay));
    let (step, shift) = match is_by_hour {
        true => (HOUR, 0),
        false if of_time.iter().all(|dimension| *dimension == Dimension::Week) => (WEEK, WEEK_OFFSET),
        false => (DAY, 0),
    };
    let mut sql = String::new();
    for (at, span) in spans.iter().enumerate() {
        // The remainder has the sign of the dividend in both dialects.
        let start = format!(
            "{column} - ((({column} + {offset}) % {step} + {step}) % {step})",
            offset = span.offset + shift
        );
        // Before a clock change, which may also lie before the range, another part may lie at the same local time.
        let start = format!("GREATEST({}, {start})", span.start);
        sql += &match spans.get(at + 1) {
            Some(next) => format!("WHEN {column} < {} THEN {start} ", next.start),
            None if at == 0 => return Some(start),
            None => format!("ELSE {start} "),
        };
    }
    Some(format!("CASE {sql}END"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_divided_as_coarsely_as_the_dimensions_allow() {
        let zone = calendar::posix_zone("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let range = (1_700_000_000, 1_700_086_400);
        let expression =
            |dimensions: &[Dimension]| expression(dimensions.iter().copied(), "time", range, &zone);
        assert_eq!(expression(&[Dimension::Name]), None);
        assert_eq!(expression(&[Dimension::Day, Dimension::Time]).unwrap(), "time");
        assert_eq!(
            expression(&[Dimension::Week, Dimension::Month]).unwrap(),
            "GREATEST(1700000000, time - (((time + 3600) % 86400 + 86400) % 86400))"
        );
        assert_eq!(
            expression(&[Dimension::Week]).unwrap(),
            "GREATEST(1700000000, time - (((time + 262800) % 604800 + 604800) % 604800))"
        );
        assert_eq!(
            expression(&[Dimension::Year, Dimension::HourOfDay]).unwrap(),
            "GREATEST(1700000000, time - (((time + 3600) % 3600 + 3600) % 3600))"
        );
    }

    #[test]
    fn a_clock_change_begins_a_part() {
        let zone = calendar::posix_zone("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        // 2023-10-29 01:00 UTC
        let found = expression([Dimension::Day], "time", (1_698_000_000, 1_699_000_000), &zone).unwrap();
        assert!(
            found.starts_with("CASE WHEN time < 1698541200 THEN GREATEST(1698000000, time - (((time + 7200)"),
            "{found}"
        );
        assert!(found.contains("ELSE GREATEST(1698541200, time - (((time + 3600)"), "{found}");
    }
}
