//! Bytes a second, over the last second and the last ten.

use std::{collections::VecDeque, time::Duration};

/// Slots of about half a second, as the daemon drains.
const SECOND: usize = 2;
const TEN_SECONDS: usize = 20;
/// A minute of them.
pub const MINUTE: usize = 120;

/// Bytes sent and received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    pub sent: u64,
    pub received: u64,
}

impl Bytes {
    pub fn sum(self) -> u64 {
        self.sent.saturating_add(self.received)
    }

    pub fn add(&mut self, more: Self) {
        self.sent = self.sent.saturating_add(more.sent);
        self.received = self.received.saturating_add(more.received);
    }

    /// What came since `before`; nothing may go back.
    pub fn since(self, before: Self) -> Self {
        Self {
            sent: self.sent.saturating_sub(before.sent),
            received: self.received.saturating_sub(before.received),
        }
    }

    /// Bytes a second.
    pub fn over(self, time: Duration) -> Self {
        let nanoseconds = time.as_nanos().max(1);
        let rate =
            |bytes: u64| u64::try_from(u128::from(bytes) * 1_000_000_000 / nanoseconds).unwrap_or(u64::MAX);
        Self { sent: rate(self.sent), received: rate(self.received) }
    }
}

/// How long the last slots were.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    lengths: VecDeque<Duration>,
    /// Slots since the beginning.
    pub slots: usize,
}

impl Clock {
    pub fn close(&mut self, length: Duration) {
        self.lengths.push_back(length);
        if self.lengths.len() > TEN_SECONDS {
            self.lengths.pop_front();
        }
        self.slots += 1;
    }

    fn last(&self, slots: usize) -> Duration {
        self.lengths.iter().rev().take(slots).sum()
    }
}

/// Of a program: what was moved in the slot that is open, and in those before it.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    pub now: Bytes,
    before: VecDeque<Bytes>,
}

impl Rates {
    pub fn close(&mut self) {
        self.before.push_back(std::mem::take(&mut self.now));
        if self.before.len() > TEN_SECONDS {
            self.before.pop_front();
        }
    }

    pub fn second(&self, clock: &Clock) -> Bytes {
        self.rate(clock, SECOND)
    }

    pub fn ten_seconds(&self, clock: &Clock) -> Bytes {
        self.rate(clock, TEN_SECONDS)
    }

    fn rate(&self, clock: &Clock, slots: usize) -> Bytes {
        let mut sum = Bytes::default();
        self.before.iter().rev().take(slots).for_each(|slot| sum.add(*slot));
        sum.over(clock.last(slots))
    }
}

/// Of a connection, of which there may be many: the last second.
#[derive(Clone, Copy, Debug, Default)]
pub struct SecondRate {
    pub now: Bytes,
    before: [Bytes; SECOND],
}

impl SecondRate {
    pub fn close(&mut self) {
        self.before = [std::mem::take(&mut self.now), self.before[0]];
    }

    pub fn second(&self, clock: &Clock) -> Bytes {
        let mut sum = self.before[0];
        sum.add(self.before[1]);
        sum.over(clock.last(SECOND))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_bytes_by_the_time_that_the_slots_took() {
        let (mut clock, mut rates, mut second) = (Clock::default(), Rates::default(), SecondRate::default());
        for slot in 0..40_u64 {
            // Drains come a little early or late, and bring what has come meanwhile.
            let length = Duration::from_millis(if slot % 2 == 0 { 480 } else { 520 });
            let bytes = Bytes { sent: 0, received: length.as_millis() as u64 * 1000 };
            rates.now.add(bytes);
            second.now.add(bytes);
            clock.close(length);
            rates.close();
            second.close();
        }
        let steady = Bytes { sent: 0, received: 1_000_000 };
        assert_eq!((rates.second(&clock), rates.ten_seconds(&clock)), (steady, steady));
        assert_eq!(second.second(&clock), steady);
        clock.close(Duration::from_millis(500));
        rates.close();
        second.close();
        assert_eq!(rates.second(&clock).received, 509_803);
        assert_eq!(rates.ten_seconds(&clock).received, 950_099);
        assert_eq!(Bytes { sent: u64::MAX, received: 0 }.over(Duration::ZERO).sent, u64::MAX);
    }
}
