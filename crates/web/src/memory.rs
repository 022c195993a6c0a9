//! Memory that answers needed goes back to the system: a page left open must not keep what one large question took.

/// Blocks from this size on are mapped by themselves, and unmapped when they are freed. glibc would raise it with each such block.
#[cfg(target_env = "gnu")]
const MAPPED_FROM: libc::c_int = 128 * 1024;
/// Pools of small blocks. Each thread would have its own.
#[cfg(target_env = "gnu")]
const POOLS: libc::c_int = 2;

/// Sets the allocator up (mallopt(3)). Call it before threads are started.
pub(crate) fn prepare() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in [
        (libc::M_MMAP_THRESHOLD, MAPPED_FROM),
        (libc::M_TRIM_THRESHOLD, MAPPED_FROM),
        (libc::M_ARENA_MAX, POOLS),
    ] {
        // SAFETY: it changes numbers of the allocator under its own lock.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// Gives back what is free (malloc_trim(3)).
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it gives back pages that hold no block, under the locks of the allocator.
    unsafe {
        libc::malloc_trim(0);
    }
}
