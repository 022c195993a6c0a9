//! Decides whether a flow waits for the next drain.

use crate::flow::FlowEntry;

/// How long a flow waits for its local or remote end to become known.
const MAX_HOLD_BACK_NANOSECONDS: u64 = 1_500_000_000;

/// Whether a flow is so young that it may wait for the next drain.
pub(crate) fn is_young(entry: &FlowEntry, now: u64) -> bool {
    now.saturating_sub(entry.began) < MAX_HOLD_BACK_NANOSECONDS
}
