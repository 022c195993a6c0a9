//! Wall-clock time in seconds, as the protocol has it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// The present in unix seconds, rounded to milliseconds.
pub(super) fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0.0, |now| rounded(now.as_secs_f64()))
}

/// Time of the boot in unix seconds. It changes when the wall clock is set.
pub(super) fn boot_time() -> f64 {
    let since_boot = clock_gettime(ClockId::CLOCK_BOOTTIME);
    now() - since_boot.map_or(0.0, |since_boot| Duration::from(since_boot).as_secs_f64())
}

pub(super) fn rounded(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}
