//! Bytes per second over the last second and the last ten seconds, from slots of about half a second.

use std::{collections::VecDeque, time::Duration};

/// Slots of a second, of ten seconds and of a minute: the daemon reads its counters every half second.
const SECOND_SLOTS: usize = 2;
const TEN_SECOND_SLOTS: usize = 20;
pub const MINUTE_SLOTS: usize = 120;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByteCounts {
    pub sent: u64,
    pub received: u64,
}

impl ByteCounts {
    pub fn sum(self) -> u64 {
        self.sent.saturating_add(self.received)
    }

    pub fn add(&mut self, more: Self) {
        self.sent = self.sent.saturating_add(more.sent);
        self.received = self.received.saturating_add(more.received);
    }

    /// The difference to earlier counts, 0 where a count is smaller now.
    pub fn since(self, before: Self) -> Self {
        Self {
            sent: self.sent.saturating_sub(before.sent),
            received: self.received.saturating_sub(before.received),
        }
    }

    /// Bytes per second, if these were moved in `time`.
    pub fn over(self, time: Duration) -> Self {
        let nanoseconds = time.as_nanos().max(1);
        let rate =
            |bytes: u64| u64::try_from(u128::from(bytes) * 1_000_000_000 / nanoseconds).unwrap_or(u64::MAX);
        Self { sent: rate(self.sent), received: rate(self.received) }
    }
}

/// The lengths of the last slots, which are not exactly half a second.
#[derive(Clone, Debug, Default)]
pub struct SlotClock {
    lengths: VecDeque<Duration>,
    /// Slots that have been closed.
    pub slots: usize,
}

impl SlotClock {
    /// Closes a slot of this length.
    pub fn close(&mut self, length: Duration) {
        self.lengths.push_back(length);
        if self.lengths.len() > TEN_SECOND_SLOTS {
            self.lengths.pop_front();
        }
        self.slots += 1;
    }

    /// The total length of the last slots.
    fn last(&self, slots: usize) -> Duration {
        self.lengths.iter().rev().take(slots).sum()
    }
}

/// The bytes of a program in the open slot, and in ten seconds of slots before it.
#[derive(Clone, Debug, Default)]
pub struct ProgramRates {
    pub open: ByteCounts,
    before: VecDeque<ByteCounts>,
}

impl ProgramRates {
    pub fn close(&mut self) {
        self.before.push_back(std::mem::take(&mut self.open));
        if self.before.len() > TEN_SECOND_SLOTS {
            self.before.pop_front();
        }
    }

    pub fn second(&self, clock: &SlotClock) -> ByteCounts {
        self.rate(clock, SECOND_SLOTS)
    }

    pub fn ten_seconds(&self, clock: &SlotClock) -> ByteCounts {
        self.rate(clock, TEN_SECOND_SLOTS)
    }

    fn rate(&self, clock: &SlotClock, slots: usize) -> ByteCounts {
        let mut sum = ByteCounts::default();
        self.before.iter().rev().take(slots).for_each(|slot| sum.add(*slot));
        sum.over(clock.last(slots))
    }
}

/// The bytes of a connection in the open slot, and in one second of slots before it. There may be many of these.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConnectionRate {
    pub open: ByteCounts,
    before: [ByteCounts; SECOND_SLOTS],
}

impl ConnectionRate {
    pub fn close(&mut self) {
        self.before = [std::mem::take(&mut self.open), self.before[0]];
    }

    pub fn second(&self, clock: &SlotClock) -> ByteCounts {
        let mut sum = self.before[0];
        sum.add(self.before[1]);
        sum.over(clock.last(SECOND_SLOTS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_bytes_divided_by_the_length_of_the_slots() {
        let (mut clock, mut rates, mut second) =
            (SlotClock::default(), ProgramRates::default(), ConnectionRate::default());
        for slot in 0..40_u64 {
            // Drains are a little early or late, and report the bytes since the last one.
            let length = Duration::from_millis(if slot % 2 == 0 { 480 } else { 520 });
            let bytes = ByteCounts { sent: 0, received: length.as_millis() as u64 * 1000 };
            rates.open.add(bytes);
            second.open.add(bytes);
            clock.close(length);
            rates.close();
            second.close();
        }
        let steady = ByteCounts { sent: 0, received: 1_000_000 };
        assert_eq!((rates.second(&clock), rates.ten_seconds(&clock)), (steady, steady));
        assert_eq!(second.second(&clock), steady);
        clock.close(Duration::from_millis(500));
        rates.close();
        second.close();
        assert_eq!(rates.second(&clock).received, 509_803);
        assert_eq!(rates.ten_seconds(&clock).received, 950_099);
        assert_eq!(ByteCounts { sent: u64::MAX, received: 0 }.over(Duration::ZERO).sent, u64::MAX);
    }
}
