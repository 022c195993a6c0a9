//! The clock that both halves share.

/// Nanoseconds since the boot, suspended time included: the clock of `bpf_ktime_get_boot_ns`.
pub fn boot_time() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
    now.map_or(0, |now| std::time::Duration::from(now).as_nanos() as u64)
}
