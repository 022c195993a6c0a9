//! Settings of the kernel and of the C library's heap that keep the memory of the daemon small.

use std::time::{Duration, Instant};

/// Time between two calls of malloc_trim(3).
const TRIM_PERIOD: Duration = Duration::from_secs(10);
/// Bytes from which a block is mapped by itself: the default of mallopt(3), which moves upwards unless it is set.
#[cfg(target_env = "gnu")]
const MMAP_THRESHOLD: libc::c_int = 128 << 10;

/// Must be called before the first thread is started.
///
/// * The memory of all threads is in one heap: the threads are few and seldom busy, so that a heap for each would cost more than it saves.
/// * Large blocks, such as those of a rollup, are never part of the heap. The C library would put them there once it has freed the
///   first ones, and small blocks that come to lie behind them keep the heap from becoming small again.
/// * The kernel gives pages of 4 KiB only. Where it gives huge ones unasked (`always` in /sys/kernel/mm/transparent_hugepage/enabled),
///   each one that the heap touches costs 2 MiB, and pages that [`trim_heap`] has returned come back with it. The processes
///   that are started inherit this (PR_SET_THP_DISABLE(2const)); a kernel that refuses it takes more memory.
pub(crate) fn keep_memory_small() {
    #[cfg(target_env = "gnu")]
    // SAFETY: settings of the allocator (mallopt(3)).
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD);
    }
    // SAFETY: a setting of the process that has no other effect.
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
    }
}

/// Returns the memory that a burst has left behind to the system: the C library keeps free memory that lies between used
/// blocks. Does so at most once in ten seconds; `last` is the time of the last call that did.
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
