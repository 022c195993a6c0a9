//! When a query ends before it has an answer.

use std::sync::atomic::AtomicBool;

/// What ends a query before it has an answer.
#[derive(Clone, Copy)]
pub(super) struct Limits<'a> {
    /// Another thread sets this when the answer is no longer needed.
    pub interrupted: &'a AtomicBool,
    /// Groups by ids that may be in memory at the same time.
    pub max_groups: usize,
}
