//! Patterns: conditions on a value that are more than equality.

use std::{borrow::Cow, io::Write};

use model::{
    Scope,
    text::{
        command_line::{self, SEPARATOR},
        lossless::from_text,
    },
};
use rusqlite::types::ValueRef;

use super::{dimension::Dimension, sql_value::value_from_sql, value::Value};
use crate::values;

/// A condition on a value of a dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// A path whose last component is this.
    FileName(Vec<u8>),
    /// Texts with anything in the place of each `*`: the literal parts between them.
    Glob(Vec<Vec<u8>>),
    /// Paths whose last component is like that.
    FileNameGlob(Vec<Vec<u8>>),
    /// A domain or one of its sub-domains; without a dot in front, in lower case.
    DomainAndBelow(Vec<u8>),
    /// A name, or a kind and this name (`docker:web-1`, `Flatpak org.mozilla.firefox`), or the systemd service of this name.
    Named(Vec<u8>),
    /// Addresses with this scope.
    Scope(Scope),
    /// Digests that begin with these hexadecimal digits, in lower case.
    DigestPrefix(String),
    /// Values whose text contains this one, whatever the case of its letters.
    Contains(Needle),
}

impl Pattern {
    /// Reads a glob; `None` if the text has no `*`. The escape `\x2a` stands for the character itself.
    pub fn glob(text: &[u8]) -> Option<Self> {
        glob_parts(text).map(Self::Glob)
    }

    /// Reads a glob for the names of files; `None` if the text has no `*`.
    pub fn file_name_glob(text: &[u8]) -> Option<Self> {
        glob_parts(text).map(Self::FileNameGlob)
    }

    /// Whether a stored value matches.
    pub fn matches_stored(&self, dimension: Dimension, stored: ValueRef<'_>) -> bool {
        match (self, stored) {
            // The usual case, without a copy of the text.
            (Self::Contains(needle), ValueRef::Text(bytes)) => needle.is_in_value(dimension, bytes),
            _ => self.matches(dimension, &value_from_sql(dimension, stored)),
        }
    }

    /// Whether a value matches.
    pub fn matches(&self, dimension: Dimension, value: &Value) -> bool {
        match (self, value) {
            (_, Value::None) => false,
            (Self::Contains(needle), Value::Bytes(bytes)) => needle.is_in_value(dimension, bytes),
            // Ports are compared in each row.
            (Self::Contains(needle), Value::Integer(number)) => match values::named(dimension, *number) {
                Some(name) => needle.is_in(name.as_bytes()),
                None => needle.is_in(decimal(*number, &mut [0; DECIMAL_BYTES])),
            },
            (Self::Contains(needle), value) => needle.is_in(&values::bytes(dimension, value)),
            (Self::Scope(scope), Value::Bytes(name)) => scope.name().as_bytes() == name,
            (Self::DigestPrefix(digits), Value::Sha256(digest)) => digest.to_hex().starts_with(digits),
            // Between the arguments of a command line the user types blanks.
            (Self::Glob(parts), Value::Bytes(line)) if dimension.is_command_line() => {
                let spaced: Vec<u8> =
                    line.iter().map(|byte| if *byte == SEPARATOR { b' ' } else { *byte }).collect();
                matches_glob(parts, &spaced) || matches_glob(parts, &command_line::quote(line))
            }
            (_, Value::Bytes(bytes)) => self.matches_bytes(bytes),
            _ => false,
        }
    }

    /// A text that all values contain that match, with the case of its letters; the longest one that is known.
    pub fn literal(&self) -> Option<&[u8]> {
        match self {
            Self::FileName(text) | Self::DomainAndBelow(text) | Self::Named(text) => Some(text),
            Self::Glob(parts) | Self::FileNameGlob(parts) => {
                parts.iter().map(Vec::as_slice).max_by_key(|part| part.len())
            }
            Self::Contains(_) | Self::Scope(_) | Self::DigestPrefix(_) => None,
        }
    }

    fn matches_bytes(&self, bytes: &[u8]) -> bool {
        match self {
            Self::FileName(name) => file_name(bytes) == name,
            Self::Glob(parts) => matches_glob(parts, bytes),
            Self::FileNameGlob(parts) => matches_glob(parts, file_name(bytes)),
            Self::DomainAndBelow(domain) => {
                bytes.strip_suffix(&domain[..]).is_some_and(|rest| rest.is_empty() || rest.ends_with(b"."))
            }
            Self::Named(name) => {
                let is_separator = |byte: &u8| matches!(byte, b' ' | b':');
                bytes == name
                    || bytes.splitn(2, is_separator).nth(1) == Some(name)
                    || bytes.strip_prefix(&name[..]) == Some(b".service")
            }
            Self::Contains(_) | Self::Scope(_) | Self::DigestPrefix(_) => false,
        }
    }
}

/// Bytes of a number as text at most: those of the least, with its sign.
const DECIMAL_BYTES: usize = 20;

/// A number as text, without an allocation.
fn decimal(number: i64, buffer: &mut [u8; DECIMAL_BYTES]) -> &[u8] {
    let mut rest = &mut buffer[..];
    // It has room for any number.
    let _ = write!(rest, "{number}");
    let length = DECIMAL_BYTES - rest.len();
    &buffer[..length]
}

/// The last component of a path.
fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// The literal parts of a glob; `None` if the text has no `*`.
fn glob_parts(text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let parts: Vec<Vec<u8>> = text.split(|byte| *byte == b'*').map(from_text).collect();
    (parts.len() > 1).then_some(parts)
}

/// Whether a text consists of these literal parts with anything between them.
fn matches_glob(parts: &[Vec<u8>], text: &[u8]) -> bool {
    let [first, middle @ .., last] = parts else { return false };
    let Some(mut rest) = text.strip_prefix(&first[..]) else { return false };
    for part in middle.iter().filter(|part| !part.is_empty()) {
        // The first occurrence leaves the most for the parts that follow.
        let Some(at) = rest.windows(part.len()).position(|window| window == part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// A text to find, whatever the case of its letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Needle {
    /// In lower case.
    lower: Vec<u8>,
    /// The first byte in both cases, if the text is ASCII and not empty.
    first: Option<(u8, u8)>,
}

impl Needle {
    pub fn new(text: &[u8]) -> Self {
        let lower = lowercase(text);
        let first = lower.first().filter(|_| lower.is_ascii());
        let first = first.map(|byte| (*byte, byte.to_ascii_uppercase()));
        Self { lower, first }
    }

    /// Whether a value contains this text, as bytes or as it is shown.
    fn is_in_value(&self, dimension: Dimension, bytes: &[u8]) -> bool {
        self.is_in(bytes)
            || dimension.is_command_line()
                && self.may_need_quotes()
                && matches!(command_line::quote(bytes), Cow::Owned(quoted) if self.is_in(&quoted))
    }

    /// Whether the text may be in what [`command_line::quote`] makes, and not in the bytes. It adds quotes, and between two of
    /// them a single backslash; what is between the quotes, or in front of them, is in the bytes as well.
    fn may_need_quotes(&self) -> bool {
        self.lower.contains(&b'\'') || self.lower == b"\\"
    }

    /// Whether a text contains this one. A NUL separates the arguments of a command line; a space matches it as well.
    fn is_in(&self, text: &[u8]) -> bool {
        if self.lower.is_empty() {
            return true;
        }
        let Some((lower, upper)) = self.first else {
            return lowercase(text).windows(self.lower.len()).any(|window| self.equals(window));
        };
        if lower == b' ' {
            return text.windows(self.lower.len()).any(|window| self.equals(window));
        }
        memchr::memchr2_iter(lower, upper, text)
            .any(|at| text.get(at..at + self.lower.len()).is_some_and(|window| self.equals(window)))
    }

    fn equals(&self, window: &[u8]) -> bool {
        let equal = |(byte, wanted): (&u8, &u8)| {
            byte.to_ascii_lowercase() == *wanted || *wanted == b' ' && *byte == 0
        };
        window.iter().zip(&self.lower).all(equal)
    }
}

/// A text in lower case. Bytes that are not UTF-8 stay as they are.
fn lowercase(text: &[u8]) -> Vec<u8> {
    let mut lower = Vec::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        lower.extend_from_slice(chunk.valid().to_lowercase().as_bytes());
        lower.extend_from_slice(chunk.invalid());
    }
    lower
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_texts() {
        let glob = |pattern: &str, text: &[u8]| {
            Pattern::glob(pattern.as_bytes()).unwrap().matches(Dimension::Domain, &Value::Bytes(text.into()))
        };
        assert!(glob("*.github.com", b"api.github.com") && !glob("*.github.com", b"github.com"));
        assert!(!glob("*.github.com", b"evilgithub.com") && !glob("*.github.com", b"api.github.com.example"));
        assert!(glob("a*b*c", b"abc") && glob("a*b*c", b"axxbxbc") && !glob("a*b*c", b"acb"));
        assert!(glob("a*a", b"aa") && !glob("a*a", b"a"));
        assert!(glob("*", b"") && glob("**x", b"\xffx") && glob("*\\x2a", b"a*") && !glob("*\\x2a", b"ab"));
        assert_eq!(Pattern::glob(b"github.com"), None);
    }

    #[test]
    fn globs_match_across_arguments() {
        let line = Value::Bytes(b"curl\0-s\0https://x.org/a b".to_vec());
        let glob = |text: &[u8]| Pattern::glob(text).unwrap().matches(Dimension::CommandLine, &line);
        assert!(glob(b"curl -s *") && glob(b"curl * b") && glob(b"curl -s '*'") && !glob(b"curl-s*"));
    }

    #[test]
    fn a_text_is_found_in_any_case() {
        let found = |needle: &str, text: &[u8]| Needle::new(needle.as_bytes()).is_in(text);
        assert!(found("GitHub", b"api.github.com") && found("github", b"GITHUB"));
        assert!(!found("githubx", b"github") && !found("a", b"") && found("", b""));
        assert!(found("\u{c4}rger", "GRO\u{df}ER \u{e4}RGER".as_bytes()));
        assert!(found("curl https", b"curl\0https://example.org") && found(" https", b"curl\0https"));
        assert!(found("-o \u{e4} b", "curl\0-o\0\u{c4} b".as_bytes()));
        assert!(found("x", b"\xff\xfeX"));
    }

    #[test]
    fn numbers_are_found_as_text() {
        let found = |needle: &[u8], number| {
            Pattern::Contains(Needle::new(needle)).matches(Dimension::Port, &Value::Integer(number))
        };
        assert!(found(b"44", 443) && found(b"443", 8443) && !found(b"4430", 443));
        assert!(found(b"many", model::PORT_MANY) && found(b"-1", -1) && found(b"", 0));
        assert!(found(i64::MIN.to_string().as_bytes(), i64::MIN) && !found(b"\0", 1));
    }

    #[test]
    fn command_lines_are_found_as_they_are_shown() {
        let found = |needle: &[u8], line: &[u8]| {
            let pattern = Pattern::Contains(Needle::new(needle));
            let is_found = pattern.matches(Dimension::CommandLine, &Value::Bytes(line.to_vec()));
            assert_eq!(pattern.matches_stored(Dimension::CommandLine, ValueRef::Blob(line)), is_found);
            assert_eq!(pattern.matches_stored(Dimension::CommandLine, ValueRef::Text(line)), is_found);
            is_found
        };
        let line = b"bash\0-c\0S\0A B\0it's\0";
        // Whatever part of what is shown is found, and so are the bytes.
        let shown = command_line::quote(line).into_owned();
        for start in 0..shown.len() {
            for end in start..=shown.len() {
                assert!(found(&shown[start..end], line), "{start}..{end}");
            }
        }
        assert!(found(b"a b", line) && found(b"IT'S", line) && found(b"s\0a b\0it", line));
        assert!(!found(b"'-c'", line) && !found(b"S ' A", line));
        // Without boundaries nothing is quoted.
        assert!(found(b"a b", b"bash -c A B") && !found(b"'A B'", b"bash -c A B"));
        // Other texts have no quotes.
        let pattern = Pattern::Contains(Needle::new(b"'a b'"));
        assert!(!pattern.matches(Dimension::Executable, &Value::Bytes(b"/x\0a b".to_vec())));
    }

    #[test]
    fn names_and_prefixes_match() {
        let value = |text: &[u8]| Value::Bytes(text.to_vec());
        let named = Pattern::Named(b"web-1".to_vec());
        for (text, expected) in [
            ("docker web-1", true),
            ("docker:web-1", true),
            ("web-1", true),
            ("web-1.service", true),
            ("docker web-11", false),
            ("web", false),
        ] {
            assert_eq!(named.matches(Dimension::Container, &value(text.as_bytes())), expected, "{text}");
        }
        let domain = Pattern::DomainAndBelow(b"github.com".to_vec());
        for (text, expected) in [("github.com", true), ("a.b.github.com", true), ("evilgithub.com", false)] {
            assert_eq!(domain.matches(Dimension::Domain, &value(text.as_bytes())), expected, "{text}");
        }
        let digest = Value::Sha256(model::Sha256([0xab; 32]));
        assert!(Pattern::DigestPrefix("aba".to_owned()).matches(Dimension::Sha256, &digest));
        assert!(!Pattern::DigestPrefix("abb".to_owned()).matches(Dimension::Sha256, &digest));
        let file = Pattern::FileName(b"firefox".to_vec());
        assert!(file.matches(Dimension::Executable, &value(b"/usr/lib/firefox/firefox")));
        assert!(!file.matches(Dimension::Executable, &value(b"/usr/lib/firefox/x")));
        let files = Pattern::file_name_glob(b"fire*").unwrap();
        assert!(files.matches(Dimension::Executable, &value(b"/usr/lib/firefox/firefox")));
        assert!(!files.matches(Dimension::Executable, &value(b"/usr/lib/firefox/x")));
    }
}
