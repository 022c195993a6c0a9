//! The ranges of values, and the checks that need more than a range.

use std::{net::IpAddr, ops::RangeInclusive};

use super::table_reader::TableReader;

pub(super) const RETENTION_DAYS: RangeInclusive<u32> = 1..=36_500;
/// A smaller log could not store the programs and addresses of a day.
pub(super) const RETENTION_MEGABYTES: RangeInclusive<u32> = 10..=10_000_000;
pub(super) const FOLD_ABOVE: RangeInclusive<u32> = 16..=65_536;
pub(super) const WRITE_LIMIT_SECONDS: RangeInclusive<u32> = 1..=3600;
pub(super) const REQUEST_LIMIT_SECONDS: RangeInclusive<u32> = 0..=86_400;
/// Fewer than 256 descriptors are not enough for the BPF programs alone; the upper end is the kernel's default of `fs.nr_open`.
pub(super) const RLIMIT_NOFILE: RangeInclusive<u64> = 256..=1_048_576;
pub(super) const RING_BUFFER_PAGES: RangeInclusive<u32> = 16..=65_536;
pub(super) const FILE_ALLOWED: &str = "the path of a file, from the root: /...";
pub(super) const API_URL_ALLOWED: &str =
    "an address that begins with https://; http:// only for this machine";
pub(super) const API_KEY_ALLOWED: &str = "at most 256 letters, digits, hyphens and underscores; empty = off";

pub(super) const PORT: RangeInclusive<u16> = 1..=65_535;
pub(super) const LISTEN_HOST_ALLOWED: &str = "localhost, or an IP address";
pub(super) const HOST_NAME_ALLOWED: &str = "a name of letters, digits, hyphens and dots";
pub(super) const PASSWORD_HASH_ALLOWED: &str =
    "what `picosnitch dash --hash-password` prints ($argon2id$...); empty = no password";

pub(super) fn is_listen_host(text: &str) -> bool {
    text == "localhost" || text.parse::<IpAddr>().is_ok()
}

pub(super) fn is_host_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    text.len() <= 253 && text.bytes().all(is_allowed)
}

pub(super) fn is_password_hash(text: &str) -> bool {
    text.is_empty() || text.starts_with("$argon2") && text.len() <= 512
}

pub(super) fn is_file_path(text: &str) -> bool {
    text.starts_with('/') && text.len() < 4096 && !text.contains('\0')
}

/// The key goes into an HTTP header, so no other characters are allowed.
pub(super) fn is_api_key(text: &str) -> bool {
    text.len() <= 256 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// The key is sent to this address, so the connection must be encrypted or end on this machine.
pub(super) fn is_api_url(text: &str) -> bool {
    let local = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
    let rest = text.strip_prefix("https://").or_else(|| {
        local.iter().find_map(|local| text.strip_prefix(local).filter(|rest| rest.starts_with([':', '/'])))
    });
    text.len() <= 512
        && rest.is_some_and(|rest| rest.len() > 1)
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'@' | b'?' | b'#'))
}

/// Reads a number of pages, which the kernel requires to be a power of two.
pub(super) fn ring_buffer_pages(reader: &mut TableReader<'_>, key: &'static str) -> Option<u32> {
    let line = reader.line_of(key);
    let pages = reader.integer(key, RING_BUFFER_PAGES)?;
    if pages.is_power_of_two() {
        return Some(pages);
    }
    let (from, to) = (RING_BUFFER_PAGES.start(), RING_BUFFER_PAGES.end());
    let message = format!("the integer {pages} is not allowed; allowed: a power of two from {from} to {to}");
    reader.problem(line, key, message);
    None
}

/// Reads the size limit of the log; 0 is no limit.
pub(super) fn retention_megabytes(reader: &mut TableReader<'_>, key: &'static str) -> Option<u32> {
    let line = reader.line_of(key);
    let size = reader.integer(key, 0..=*RETENTION_MEGABYTES.end())?;
    if size == 0 || RETENTION_MEGABYTES.contains(&size) {
        return Some(size);
    }
    let (from, to) = (RETENTION_MEGABYTES.start(), RETENTION_MEGABYTES.end());
    let message = format!("the integer {size} is not allowed; allowed: 0, or an integer from {from} to {to}");
    reader.problem(line, key, message);
    None
}
