//! Wall-clock time in seconds, as the protocol has it.

use std::time::{SystemTime, UNIX_EPOCH};

use model::boot_time;

/// The present in unix seconds, rounded to milliseconds.
pub(super) fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0.0, |now| rounded(now.as_secs_f64()))
}

/// The moment of the boot in unix seconds. It changes when the wall clock is set.
pub(super) fn booted_at() -> f64 {
    now() - boot_time() as f64 / 1e9
}

pub(super) fn rounded(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}
