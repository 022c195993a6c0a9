//! Points of time from local times without a zone, in the order in which they were written.

use calendar::{LocalSecond, TimeZone, local_second};

use crate::{
    fields::RowTime,
    oddity::{Oddities, Oddity},
};

/// Rows of one write may be a little out of order: a time that is earlier by less than this is no second passage of an hour.
const TOLERANCE: i64 = 600;

/// Reads the times of the rows of a source, one after the other.
pub(crate) struct LocalClock {
    zone: TimeZone,
    /// The time of the row before, unix seconds UTC.
    pub last: i64,
    /// The last text with its seconds: many rows have the same.
    known: Option<(String, LocalSecond)>,
}

impl LocalClock {
    /// Goes on after a row at `last`, unix seconds UTC.
    pub fn new(zone: TimeZone, last: i64) -> Self {
        Self { zone, last, known: None }
    }

    /// The time of the next row, unix seconds UTC; `None` if it cannot be read. An hour that a clock change repeats is passed
    /// twice: a time that is before that of the row before is of the second passage.
    pub fn read(&mut self, time: &RowTime, odd: &mut Oddities) -> Option<i64> {
        let seconds = match time {
            RowTime::None => return None,
            RowTime::Seconds(seconds) => *seconds,
            RowTime::Local(text) => match self.local(text)? {
                LocalSecond::Once(seconds) => seconds,
                LocalSecond::Skipped(change) => {
                    odd.add(Oddity::SkippedTime);
                    change
                }
                LocalSecond::Repeated(first, second) => {
                    odd.add(Oddity::RepeatedTime);
                    let before = self.last.saturating_sub(TOLERANCE);
                    let is_second = first < before || self.is_in_second_passage();
                    if is_second && second >= before { second } else { first }
                }
            },
        };
        self.last = seconds;
        Some(seconds)
    }

    /// Whether the row before was in the second passage of an hour.
    fn is_in_second_passage(&self) -> bool {
        let text = calendar::rfc3339(self.last, &self.zone);
        let second = text.get(..19).and_then(|text| local_second(text, &self.zone));
        matches!(second, Some(LocalSecond::Repeated(_, second)) if second == self.last)
    }

    fn local(&mut self, text: &str) -> Option<LocalSecond> {
        if let Some((known, second)) = &self.known
            && known == text
        {
            return Some(*second);
        }
        let second = local_second(text, &self.zone)?;
        self.known = Some((text.to_owned(), second));
        Some(second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hour_that_comes_twice_is_told_apart_by_the_order_of_the_rows() {
        let zone = calendar::posix_zone("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let mut clock = LocalClock::new(zone, i64::MIN);
        let mut read = |text: &str| {
            let mut odd = Oddities::default();
            let time = clock.read(&RowTime::Local(text.to_owned()), &mut odd);
            (time, odd.iter().next())
        };
        // 2026-10-25 02:00 CEST is 00:00 UTC.
        let two = 1_792_886_400;
        assert_eq!(read("2026-10-25 01:59:00"), (Some(two - 60), None));
        assert_eq!(read("2026-10-25 02:00:10"), (Some(two + 10), Some(Oddity::RepeatedTime)));
        assert_eq!(read("2026-10-25 02:59:00").0, Some(two + 3540));
        assert_eq!(read("2026-10-25 02:58:50").0, Some(two + 3530), "a little out of order");
        assert_eq!(read("2026-10-25 02:00:10").0, Some(two + 3610));
        assert_eq!(read("2026-10-25 02:59:00").0, Some(two + 7140));
        assert_eq!(read("2026-10-25 02:58:30").0, Some(two + 7110), "still the second passage");
        assert_eq!(read("2026-10-25 03:00:00"), (Some(two + 7200), None));
        // The clock was set back by a day: neither passage is after the row before.
        assert_eq!(read("2026-10-26 12:00:00").1, None);
        assert_eq!(read("2026-10-25 02:30:00").0, Some(two + 1800));
        let spring = read("2026-03-29 02:30:00");
        assert_eq!(spring, (Some(1_774_746_000), Some(Oddity::SkippedTime)));
        assert_eq!(read("yesterday"), (None, None));
    }
}
