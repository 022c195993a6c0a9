//! The one spelling in which domains are kept.

use model::Bytes;

/// The longest name of a host, without the dot at its end (RFC 1035, section 2.3.4).
const MAX_DOMAIN_BYTES: usize = 253;

/// Returns a domain as it is kept: in lower case (RFC 4343), without a dot at its end. `None` for bytes that are no domain:
/// empty, too long, an address, or with bytes that no host name has.
pub(crate) fn normalize_domain(name: &[u8]) -> Option<Bytes> {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let is_host_byte =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') || !byte.is_ascii();
    if name.is_empty() || name.len() > MAX_DOMAIN_BYTES || !name.iter().all(is_host_byte) {
        return None;
    }
    // The last label of an address in any notation of inet_aton(3) is a number; that of a domain never is (RFC 3696,
    // section 2).
    let last = name.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    let is_number = |label: &[u8]| match label.strip_prefix(b"0x").or(label.strip_prefix(b"0X")) {
        Some(digits) => digits.iter().all(u8::is_ascii_hexdigit),
        None => label.iter().all(u8::is_ascii_digit),
    };
    (!is_number(last)).then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_possible_host_name_is_a_domain() {
        for (name, domain) in [
            ("Example.COM.", Some("example.com")),
            ("localhost", Some("localhost")),
            ("_dmarc.x-1.org", Some("_dmarc.x-1.org")),
            ("bücher.example", Some("bücher.example")),
            ("", None),
            (".", None),
            ("192.0.2.1", None),
            ("127.1", None),
            ("0x7f.1", None),
            ("0x7f000001", None),
            ("::1", None),
            ("fe80::1%eth0", None),
            ("a b", None),
            ("a\nb", None),
            ("a\u{1b}[2J", None),
        ] {
            assert_eq!(normalize_domain(name.as_bytes()).as_deref(), domain.map(str::as_bytes), "{name:?}");
        }
        assert_eq!(normalize_domain(&[b'a'; 254]), None);
    }
}
