//! Finds what is forgotten in other text: command lines, paths, cgroups, lines of logs.

use std::net::IpAddr;

use model::{Address, Bytes, text::sanitize};

/// Finds a path, a host name or addresses in text. A longer path or host name that contains it is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextMatcher(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// A path as it is, and as logs write it.
    Path(Vec<Bytes>),
    /// A host name, in lower case.
    Host(Bytes),
    /// IP addresses from the first to the last.
    Addresses(IpAddr, IpAddr),
    /// A word, such as an address of vsock.
    Word(Bytes),
    Nothing,
}

impl TextMatcher {
    pub(super) fn path(path: &[u8]) -> Self {
        let written = [sanitize::terminal(path), sanitize::conn_log_field(path)];
        let mut forms = vec![path.to_vec()];
        forms.extend(written.into_iter().map(String::into_bytes));
        forms.push(model::text::lossless::to_text(path).into_bytes());
        forms.retain(|form| !form.is_empty());
        forms.sort();
        forms.dedup();
        Self(Kind::Path(forms))
    }

    pub(super) fn host(name: &[u8]) -> Self {
        Self(if name.is_empty() { Kind::Nothing } else { Kind::Host(name.to_ascii_lowercase()) })
    }

    pub(super) fn address(address: Address) -> Self {
        match address {
            Address::Ip(ip) => Self(Kind::Addresses(ip, ip)),
            Address::Many => Self(Kind::Nothing),
            other => Self(Kind::Word(other.to_string().into_bytes())),
        }
    }

    pub(super) fn network(first: IpAddr, last: IpAddr) -> Self {
        Self(Kind::Addresses(first, last))
    }

    pub(super) fn nothing() -> Self {
        Self(Kind::Nothing)
    }

    /// Whether the text has what is forgotten.
    pub fn matches(&self, text: &[u8]) -> bool {
        match &self.0 {
            Kind::Nothing => false,
            Kind::Path(forms) => forms.iter().any(|form| {
                occurrences(text, form)
                    .any(|(before, after)| ends_before_path(before) && !goes_on(after, is_path_byte))
            }),
            Kind::Host(name) => {
                let text = text.to_ascii_lowercase();
                occurrences(&text, name)
                    .any(|(before, after)| !is_subdomain(before) && !goes_on(after, is_host_byte))
            }
            Kind::Word(word) => occurrences(text, word).any(|(before, after)| {
                let is_part = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
                !is_part(before.last()) && !is_part(after.first())
            }),
            Kind::Addresses(first, last) => has_address(text, |ip| (*first..=*last).contains(&ip)),
        }
    }
}

/// The text before and behind each place where `part` is.
fn occurrences<'a>(text: &'a [u8], part: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    let places = text.windows(part.len().max(1)).enumerate().filter(move |(_, window)| *window == part);
    places.map(move |(at, _)| (&text[..at], &text[at + part.len()..]))
}

fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || b"_-+~/".contains(&byte)
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || b"_-".contains(&byte)
}

/// Whether a path or name goes on behind it: a dot at the end of a sentence, or of a host name, is no part of it.
fn goes_on(after: &[u8], is_part: impl Fn(u8) -> bool) -> bool {
    match after {
        [b'.', next, ..] => is_part(*next),
        [next, ..] => is_part(*next),
        [] => false,
    }
}

/// Whether a path that begins with a slash begins here: more slashes before it change nothing.
fn ends_before_path(before: &[u8]) -> bool {
    let end = before.iter().rposition(|byte| *byte != b'/').map(|last| before[last]);
    end.is_none_or(|byte| !is_path_byte(byte) && byte != b'.')
}

/// Whether a host name goes on to the left: `www.` before it makes another name, `*.` does not.
fn is_subdomain(before: &[u8]) -> bool {
    match before {
        [.., previous, b'.'] => is_host_byte(*previous),
        [.., previous] => is_host_byte(*previous),
        [] => false,
    }
}

/// Whether one of the IP addresses in a text is wanted.
fn has_address(text: &[u8], is_wanted: impl Fn(IpAddr) -> bool) -> bool {
    let any = |token: &[u8]| {
        addresses_of(token).into_iter().flatten().any(|ip| is_wanted(ip.to_canonical()) || is_wanted(ip))
    };
    let is_decimal = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    text.split(|byte| !byte.is_ascii_hexdigit() && !b".:".contains(byte)).any(any)
        || text.split(|byte| !is_decimal(byte)).any(any)
}

/// The addresses that a token may be: all of it, or what is before a port.
fn addresses_of(token: &[u8]) -> [Option<IpAddr>; 2] {
    let Ok(token) = str::from_utf8(token) else { return [None; 2] };
    let whole = token.trim_matches('.').strip_suffix(':').unwrap_or(token.trim_matches('.'));
    let before_port = whole.split_once(':').and_then(|(address, _)| address.parse().ok());
    [whole.parse().ok(), before_port]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(matcher: &TextMatcher, found: &[&str], other: &[&str]) {
        for text in found {
            assert!(matcher.matches(text.as_bytes()), "{text}");
        }
        for text in other {
            assert!(!matcher.matches(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn whole_paths_are_found() {
        check(
            &TextMatcher::path(b"/usr/bin/curl"),
            &[
                "/usr/bin/curl",
                "sh\0-c\0/usr/bin/curl\0-x",
                "exec=/usr/bin/curl, then",
                "file:///usr/bin/curl.",
                "/usr/bin/curl (deleted)",
                "\"/usr/bin/curl\"",
                "/x:/usr/bin/curl:/y",
            ],
            &[
                "/usr/bin/curl-config",
                "/snap/usr/bin/curl",
                "./usr/bin/curl",
                "/usr/bin/curl.so",
                "/usr/bin/curl/x",
                "",
            ],
        );
        check(&TextMatcher::path(b"/a"), &["/a", "x /a y"], &["/ab", "/a/b", "b/a", "/b"]);
        // As the logs write it.
        let odd = TextMatcher::path(b"/o,d\xff\n");
        check(&odd, &["exe /o,d\\xff\\x0a (new)", "/od\\xff,name", "[\"/o,d\\xff\n\"]"], &["/o"]);
        assert!(odd.matches(b"x /o,d\xff\n"));
        check(&TextMatcher::path(b""), &[], &["", "x"]);
    }

    #[test]
    fn whole_host_names_are_found() {
        check(
            &TextMatcher::host(b"Example.com"),
            &[
                "example.com",
                "https://EXAMPLE.com/x",
                "a@example.com",
                "*.example.com",
                "example.com.",
                "\0example.com:443\0",
            ],
            &["www.example.com", "example.com.org", "example.community", "my-example.com", "anexample.com"],
        );
        check(&TextMatcher::host(b"a"), &["a", "curl a b", "//a/"], &["b", "cat", "a.b", "b.a", "a-b"]);
        check(&TextMatcher::host(b""), &[], &["", "x"]);
    }

    #[test]
    fn addresses_are_found_in_every_form() {
        let one = TextMatcher::address("192.0.2.7".parse().unwrap());
        check(
            &one,
            &[
                "192.0.2.7",
                "curl\0http://192.0.2.7:80/x",
                "::ffff:192.0.2.7",
                "to 192.0.2.7.",
                "via192.0.2.7",
                "x:192.0.2.7:y",
            ],
            &["192.0.2.70", "1192.0.2.7", "192.0.2.7.8", "192.0.2", ""],
        );
        let TextMatcher(Kind::Addresses(..)) = one else { panic!() };
        let network = TextMatcher::network("2001:db8::".parse().unwrap(), "2001:db8::ffff".parse().unwrap());
        check(
            &network,
            &["[2001:db8::1]:443", "2001:0DB8:0:0:0:0:0:12", "x 2001:db8::ff/64"],
            &["2001:db8:1::1", "::1", "db8"],
        );
        check(
            &TextMatcher::address("vsock:2".parse().unwrap()),
            &["vsock:2", "(vsock:2)"],
            &["vsock:22", "2"],
        );
    }
}
