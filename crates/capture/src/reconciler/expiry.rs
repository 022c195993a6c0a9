//! The clock of the drains, and the removal of idle flows that have no end of their own.

use std::time::{Duration, Instant};

use crate::{abi::types, flow::FlowEntry};

/// Ticks between the moment at which the kernel half stops to use an idle flow and its removal: longer than any hook can
/// hold a pointer into the table.
const GRACE_TICKS: u32 = types::flow_ticks::GRACE_TICKS.0;
/// Least time between two ticks.
const MIN_TICK: Duration = Duration::from_millis(400);
/// Idle ticks after which a flow expires, while there is room in the table.
const RELAXED_EXPIRY: u32 = types::flow_ticks::EXPIRE_TICKS.0;
/// The same when the table is more than half full.
const PRESSED_EXPIRY: u32 = types::flow_ticks::EXPIRE_TICKS_PRESSED.0;
/// Size of the flow table.
const TABLE_ENTRIES: usize = types::abi_bound::MAX_FLOWS.0 as usize;

#[derive(Debug)]
pub(crate) struct Expiry {
    tick: u32,
    /// When the tick was advanced last.
    advanced: Instant,
    /// Idle ticks after which the kernel half stops to use a flow (`expire_ticks`).
    limit: u32,
    /// The tick at which the limit changed last.
    limit_since: u32,
}

impl Expiry {
    pub(crate) fn new(now: Instant) -> Self {
        Self { tick: 0, advanced: now, limit: RELAXED_EXPIRY, limit_since: 0 }
    }

    /// Goes on with the tick and the limit of an earlier run.
    pub(crate) fn resume(&mut self, (tick, limit): (u32, u32)) {
        (self.tick, self.limit, self.limit_since) = (tick, limit, tick);
    }

    /// Advances the clock if it is time, and returns the tick. Drains between the regular ones do not make the clock
    /// faster.
    pub(crate) fn advance(&mut self, now: Instant) -> u32 {
        if now.duration_since(self.advanced) >= MIN_TICK {
            self.tick = self.tick.wrapping_add(1);
            self.advanced = now;
        }
        self.tick
    }

    /// Adapts the limit to the number of entries in the table. Returns the new limit if it changed.
    pub(crate) fn adapt(&mut self, entries: usize) -> Option<u32> {
        let limit = if entries > TABLE_ENTRIES / 2 { PRESSED_EXPIRY } else { RELAXED_EXPIRY };
        (limit != self.limit).then(|| {
            self.limit = limit;
            self.limit_since = self.tick;
            limit
        })
    }

    /// Whether no hook can add to the flow any more because it was idle for too long.
    pub(crate) fn is_expired(&self, entry: &FlowEntry) -> bool {
        // After a change of the limit, hooks may for a moment use flows that have expired under one of the two limits.
        let is_limit_settled = self.tick.wrapping_sub(self.limit_since) >= GRACE_TICKS;
        let idle = self.tick.wrapping_sub(entry.last_tick);
        entry.expires && is_limit_settled && idle > self.limit + GRACE_TICKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(expiry: &mut Expiry, ticks: u32) {
        for _ in 0..ticks {
            expiry.advance(expiry.advanced + MIN_TICK);
        }
    }

    fn idle_since(last_tick: u32) -> FlowEntry {
        FlowEntry { last_tick, expires: true, ..FlowEntry::default() }
    }

    #[test]
    fn ticks_follow_each_other_no_faster_than_the_clock() {
        let begin = Instant::now();
        let mut expiry = Expiry::new(begin);
        assert_eq!(expiry.advance(begin + Duration::from_millis(399)), 0);
        assert_eq!(expiry.advance(begin + Duration::from_millis(400)), 1);
        assert_eq!(expiry.advance(begin + Duration::from_millis(401)), 1);
    }

    #[test]
    fn an_idle_flow_expires_after_the_limit_and_the_grace() {
        let mut expiry = Expiry::new(Instant::now());
        after(&mut expiry, RELAXED_EXPIRY + GRACE_TICKS);
        assert!(!expiry.is_expired(&idle_since(0)), "a hook may still hold a pointer to it");
        after(&mut expiry, 1);
        assert!(expiry.is_expired(&idle_since(0)));
        assert!(!expiry.is_expired(&idle_since(1)));
        assert!(!expiry.is_expired(&FlowEntry { expires: false, ..idle_since(0) }), "its socket is open");
    }

    #[test]
    fn a_new_limit_counts_after_the_grace() {
        let mut expiry = Expiry::new(Instant::now());
        after(&mut expiry, 50);
        assert_eq!(expiry.adapt(TABLE_ENTRIES / 2), None);
        assert_eq!(expiry.adapt(TABLE_ENTRIES / 2 + 1), Some(PRESSED_EXPIRY));
        assert_eq!(expiry.adapt(TABLE_ENTRIES), None);
        after(&mut expiry, GRACE_TICKS - 1);
        assert!(!expiry.is_expired(&idle_since(0)));
        after(&mut expiry, 1);
        assert!(expiry.is_expired(&idle_since(0)));
        assert_eq!(expiry.adapt(0), Some(RELAXED_EXPIRY));
        assert!(!expiry.is_expired(&idle_since(0)));
    }
}
