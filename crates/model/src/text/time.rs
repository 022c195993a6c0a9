//! Converts points in time and durations between unix seconds and text in local time.

use std::time::{SystemTime, UNIX_EPOCH};

/// The present time in unix seconds.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() as i64)
}

/// Formats a point in time as `YYYY-MM-DD HH:MM:SS` in local time; as the number itself if it is outside the calendar of
/// localtime_r(3).
pub fn local(seconds: i64) -> String {
    let mut parts = std::mem::MaybeUninit::<libc::tm>::uninit();
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

/// Reads a duration in seconds: a number with the unit `s`, `m`, `h`, `d` or `w`.
pub fn parse_span(text: &str) -> Option<i64> {
    let unit = text.chars().next_back()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    let number = &text[..text.len() - 1];
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    number.parse::<i64>().ok()?.checked_mul(seconds)
}

/// Reads a point in time: unix seconds; `YYYY-MM-DD`, `YYYY-MM-DD HH:MM` or `YYYY-MM-DD HH:MM:SS` in local time (with a
/// space or `T`); or a duration before `now` (`5m`).
pub fn parse_point(text: &str, now: i64) -> Option<i64> {
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    if let Some(span) = parse_span(text) {
        return now.checked_sub(span);
    }
    let (date, time) = text.split_once([' ', 'T']).unwrap_or((text, "00:00:00"));
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = match time.len() {
        5 => numbers(time, ':', [2, 2]).map(|[hour, minute]| [hour, minute, 0])?,
        _ => numbers(time, ':', [2, 2, 2])?,
    };
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // SAFETY: the structure consists of integers and a pointer that may be null, so zeroes are a valid value; mktime reads and
    // normalises it.
    let (seconds, parts) = unsafe {
        let mut parts: libc::tm = std::mem::zeroed();
        parts.tm_year = year - 1900;
        parts.tm_mon = month - 1;
        parts.tm_mday = day;
        parts.tm_hour = hour;
        parts.tm_min = minute;
        parts.tm_sec = second;
        parts.tm_isdst = -1;
        (libc::mktime(&raw mut parts), parts)
    };
    // mktime normalises 31 February to 3 March, which is not what the user wrote.
    let exists = parts.tm_mon == month - 1 && parts.tm_mday == day && parts.tm_year == year - 1900;
    exists.then_some(seconds)
}

/// Reads numbers of exactly these lengths with `separator` between them.
fn numbers<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[i32; N]> {
    let mut parts = text.split(separator);
    let mut found = [0; N];
    for (number, digits) in found.iter_mut().zip(digits) {
        let part = parts.next()?;
        if part.len() != digits || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_and_durations_are_read() {
        assert_eq!(parse_point("1700000000", 0), Some(1_700_000_000));
        assert_eq!(parse_point("5m", 1000), Some(700));
        assert_eq!(parse_span("365d"), Some(31_536_000));
        let noon = parse_point("2026-03-01 12:00", 0).unwrap();
        assert_eq!(parse_point("2026-03-01T12:00:00", 0), Some(noon));
        assert_eq!(parse_point("2026-03-01 12:00:59", 0), Some(noon + 59));
        assert_eq!(parse_point("2026-03-01", 0), Some(noon - 12 * 3600));
        for wrong in [
            "",
            "m",
            "-5m",
            "5x",
            "2026-02-31",
            "2026-13-01",
            "2026-1-1",
            "2026-01-01 25:00",
            "2026-01-01 1:00",
            "2026-01-01 12:00:00:00",
            "yesterday",
            "99999999999999999999d",
            "ä",
        ] {
            assert_eq!(parse_point(wrong, 1000), None, "{wrong}");
        }
    }

    #[test]
    fn local_time_reads_back() {
        for seconds in [0, 1_700_000_000, 4_102_444_800] {
            assert_eq!(parse_point(&local(seconds), 0), Some(seconds));
        }
        assert_eq!(local(i64::MAX), i64::MAX.to_string());
    }
}
