//! Points in time as text in local time, for the daemon's logs. The crate `calendar` reads what people type.

use std::time::{SystemTime, UNIX_EPOCH};

unsafe extern "C" {
    /// tzset(3): reads the time zone, if it is another one than before.
    fn tzset();
}

/// The present time in unix seconds.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() as i64)
}

/// Formats a point in time as `YYYY-MM-DD HH:MM:SS` in local time; as the number itself if it is outside the calendar of
/// localtime_r(3).
pub fn local(seconds: i64) -> String {
    let mut parts = std::mem::MaybeUninit::<libc::tm>::uninit();
    // localtime_r(3) need not look at the file of the zone again, which may have changed since.
    // SAFETY: the function takes no arguments, locks what it changes, and no thread of picosnitch changes the environment.
    unsafe { tzset() };
    // SAFETY: both pointers are valid for the call. localtime_r fills the structure unless it returns null, and the structure
    // is read only if it was filled.
    let parts = unsafe {
        if libc::localtime_r(&raw const seconds, parts.as_mut_ptr()).is_null() {
            return seconds.to_string();
        }
        parts.assume_init()
    };
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        i64::from(parts.tm_year) + 1900,
        parts.tm_mon + 1,
        parts.tm_mday,
        parts.tm_hour,
        parts.tm_min,
        parts.tm_sec
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_time_is_to_the_second_and_any_number_is_text() {
        let text = local(1_700_000_000);
        // The zone of the machine is unknown here, but no zone is less than a quarter of an hour off.
        assert!(text.starts_with("2023-11-1") && text.ends_with(":20") && text.len() == 19, "{text}");
        assert_eq!(local(i64::MAX), i64::MAX.to_string());
    }
}
