//! The UTC offsets of a zone over time, for a computation elsewhere.

use jiff::{Timestamp, tz::TimeZone};

/// A span of time with one UTC offset, up to the next span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetSpan {
    /// Its first second, unix seconds UTC; of the first span of several the beginning of all that was asked for.
    pub start: i64,
    /// Seconds that local time is ahead of UTC.
    pub offset: i64,
}

/// Returns the spans from `start` to `end`, both included; `None` if they are more than `max_spans`, or if one of the points is
/// beyond the calendar.
pub fn offset_spans(start: i64, end: i64, max_spans: usize, zone: &TimeZone) -> Option<Vec<OffsetSpan>> {
    let (first, last) = (Timestamp::from_second(start).ok()?, Timestamp::from_second(end).ok()?);
    let mut spans = vec![OffsetSpan { start, offset: zone.to_offset(first).seconds().into() }];
    for change in zone.following(first).take_while(|change| change.timestamp() <= last) {
        let span =
            OffsetSpan { start: change.timestamp().as_second(), offset: change.offset().seconds().into() };
        // A change may be one of the name only.
        if spans.last().is_some_and(|before| before.offset == span.offset) {
            continue;
        }
        if spans.len() >= max_spans {
            return None;
        }
        spans.push(span);
    }
    Some(spans)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_second_has_the_offset_of_its_span() {
        for rules in ["UTC0", "CET-1CEST,M3.5.0,M10.5.0/3", "LHST-10:30LHDT-11,M10.1.0,M4.1.0", "NPT-5:45"] {
            let zone = TimeZone::posix(rules).unwrap();
            let (start, end) = (1_600_000_000, 1_700_000_000);
            let spans = offset_spans(start, end, 100, &zone).unwrap();
            assert_eq!(spans[0].start, start);
            assert!(spans.is_sorted_by_key(|span| span.start));
            let offset_at = |point: i64| {
                let span = spans.iter().rev().find(|span| span.start <= point).unwrap();
                span.offset
            };
            let edges = spans.iter().flat_map(|span| [span.start - 1, span.start]);
            for point in (start..end).step_by(7_777).chain(edges).filter(|point| *point >= start) {
                let expected: i64 = zone.to_offset(Timestamp::from_second(point).unwrap()).seconds().into();
                assert_eq!(offset_at(point), expected, "{rules} {point}");
            }
        }
        let summer = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        assert_eq!(offset_spans(0, 1_000_000_000, 5, &summer), None);
        assert_eq!(offset_spans(0, i64::MAX, 5, &TimeZone::UTC), None);
    }
}
