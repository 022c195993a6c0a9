//! A bound for how often something happens: a burst at once, then one for each interval.

use std::time::{Duration, Instant};

/// Counts against a rate (GCRA, the generic cell rate algorithm of ITU-T I.371).
#[derive(Clone, Copy, Debug)]
pub(super) struct RateLimit {
    interval: Duration,
    /// What a whole burst is ahead of the rate.
    tolerance: Duration,
    /// When the rate would have allowed what has happened so far.
    allowed_at: Instant,
}

impl RateLimit {
    /// Allows `burst` at once and one for each `interval`.
    pub(super) fn new(burst: u32, interval: Duration, now: Instant) -> Self {
        Self { interval, tolerance: interval * burst.saturating_sub(1), allowed_at: now }
    }

    /// Counts one; false if it is above the rate.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if self.due() > now {
            return false;
        }
        self.allowed_at = self.allowed_at.max(now) + self.interval;
        true
    }

    /// When [`RateLimit::take`] succeeds.
    pub(super) fn due(&self) -> Instant {
        self.allowed_at.checked_sub(self.tolerance).unwrap_or(self.allowed_at)
    }

    /// Whether nothing has happened for so long that a new limit would allow the same.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        self.allowed_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        let now = Instant::now();
        let mut limit = RateLimit::new(5, Duration::from_secs(1), now);
        let count = |limit: &mut RateLimit, now| (0..100).filter(|_| limit.take(now)).count();
        assert_eq!(count(&mut limit, now), 5);
        assert_eq!(limit.due(), now + Duration::from_secs(1));
        assert_eq!(count(&mut limit, now + Duration::from_millis(2500)), 2);
        assert!(!limit.is_idle(now + Duration::from_secs(6)));
        assert!(limit.is_idle(now + Duration::from_secs(7)));
        assert_eq!(count(&mut limit, now + Duration::from_secs(100)), 5);
    }
}
