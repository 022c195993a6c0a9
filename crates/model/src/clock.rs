//! The clock that user space and the BPF programs share.

/// Nanoseconds since the boot, including suspended time: the clock of `bpf_ktime_get_boot_ns`.
pub fn boot_time() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
    now.map_or(0, |now| std::time::Duration::from(now).as_nanos() as u64)
}

/// The same in whole seconds, as the log has it.
pub fn boot_seconds() -> i64 {
    i64::try_from(boot_time() / 1_000_000_000).unwrap_or(i64::MAX)
}
