//! Settings of the C library's heap that keep the memory of the daemon small.

use std::time::{Duration, Instant};

/// Time between two calls of malloc_trim(3).
const TRIM_PERIOD: Duration = Duration::from_secs(60);

/// Keeps the memory of all threads in one heap: the threads are few and seldom busy, so that a heap for each would cost
/// more than it saves. Must be called before the first thread is started.
pub(crate) fn share_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a setting of the allocator (mallopt(3)).
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Returns the memory that a burst has left behind to the system: the C library keeps free memory that lies between used
/// blocks. Does so at most once a minute; `last` is the time of the last call that did.
pub(crate) fn trim_heap(last: &mut Instant) {
    if last.elapsed() < TRIM_PERIOD {
        return;
    }
    *last = Instant::now();
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}
