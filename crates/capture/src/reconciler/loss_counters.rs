//! Losses as differences of counters that only grow.

use serde::{Deserialize, Serialize};

use model::{Loss, LossKind};

/// Counters of the kernel half and of the kernel, as they are read in one drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LossCounters {
    pub process_events: u64,
    pub release_events: u64,
    pub flow_operations: u64,
    pub flow_bytes: u64,
    pub name_events: u64,
    /// Calls of hooks that the kernel skipped.
    pub skipped_calls: u64,
    /// Skipped calls whose work a backup program has done.
    pub repaired_calls: u64,
}

impl LossCounters {
    /// Takes over newer counters and returns what was lost in between.
    pub(crate) fn advance(&mut self, newer: Self) -> Vec<Loss> {
        let before = std::mem::replace(self, newer);
        // The two counters are not read at the same moment, so the difference may seem to go back.
        let lost_calls = before.lost_calls().max(newer.lost_calls());
        self.skipped_calls = lost_calls;
        self.repaired_calls = 0;
        [
            (LossKind::ProcessEvents, newer.process_events, before.process_events),
            (LossKind::ReleaseEvents, newer.release_events, before.release_events),
            (LossKind::FlowTableFull, newer.flow_operations, before.flow_operations),
            (LossKind::FlowTableBytes, newer.flow_bytes, before.flow_bytes),
            (LossKind::Names, newer.name_events, before.name_events),
            (LossKind::SkippedCalls, lost_calls, before.lost_calls()),
        ]
        .into_iter()
        .map(|(kind, newer, before)| Loss { kind, count: newer.wrapping_sub(before) })
        .filter(|loss| loss.count > 0)
        .collect()
    }

    /// Skipped calls whose work no backup program has done.
    fn lost_calls(&self) -> u64 {
        self.skipped_calls.saturating_sub(self.repaired_calls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_differences() {
        let mut counters = LossCounters::default();
        let newer = LossCounters { flow_bytes: 5, process_events: 2, ..LossCounters::default() };
        assert_eq!(
            counters.advance(newer),
            [
                Loss { kind: LossKind::ProcessEvents, count: 2 },
                Loss { kind: LossKind::FlowTableBytes, count: 5 }
            ]
        );
        assert_eq!(counters.advance(newer), []);
        let newer = LossCounters { flow_bytes: 6, ..newer };
        assert_eq!(counters.advance(newer), [Loss { kind: LossKind::FlowTableBytes, count: 1 }]);
    }

    #[test]
    fn repaired_calls_are_not_lost_and_lost_calls_are_counted_once() {
        let calls = |skipped_calls, repaired_calls| LossCounters {
            skipped_calls,
            repaired_calls,
            ..LossCounters::default()
        };
        let lost = |count| Loss { kind: LossKind::SkippedCalls, count };
        let mut counters = LossCounters::default();
        assert_eq!(counters.advance(calls(7, 7)), []);
        assert_eq!(counters.advance(calls(9, 8)), [lost(1)]);
        assert_eq!(counters.advance(calls(9, 9)), [], "the counter of the backup program came late");
        assert_eq!(counters.advance(calls(11, 10)), []);
        assert_eq!(counters.advance(calls(12, 10)), [lost(1)]);
    }
}
