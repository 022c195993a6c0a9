//! The one escape of untrusted bytes in text, for every output and input: `\xff` stands for a byte and `\u{202e}` for a
//! character. A backslash is written as `\x5c` exactly where it would begin such an escape, so paths stay readable and every
//! text stands for exactly one sequence of bytes.

use std::fmt::Write;

use crate::bytes::Bytes;

/// Digits of the largest character, `\u{10ffff}`.
const MAX_DIGITS: usize = 6;

/// Converts bytes to text for JSON, whose own escapes carry what a terminal must not get: valid UTF-8 stays as it is, other
/// bytes become `\xff`. [`from_text`] restores the bytes.
pub fn to_text(bytes: &[u8]) -> String {
    escape(bytes, |_| false)
}

/// Converts bytes to text that every database system can store: as [`to_text`], and NUL, which PostgreSQL refuses, becomes `\x00`.
/// [`from_text`] restores the bytes.
pub fn to_column(bytes: &[u8]) -> String {
    escape(bytes, |character| character == '\0')
}

/// Converts bytes to text, from which [`from_text`] restores them; characters that are `hostile` are escaped, too: `\x1b` if they
/// are ASCII, else `\u{202e}`.
pub(super) fn escape(bytes: &[u8], hostile: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid();
        for (at, character) in valid.char_indices() {
            let is_ambiguous = character == '\\' && read_escape(&valid.as_bytes()[at..]).is_some();
            if is_ambiguous || (character.is_ascii() && hostile(character)) {
                let _ = write!(out, "\\x{:02x}", u32::from(character));
            } else if hostile(character) {
                push_character(character, &mut out);
            } else {
                out.push(character);
            }
        }
        push_bytes(chunk.invalid(), &mut out);
    }
    out
}

/// Writes a character as `\u{202e}`.
pub(super) fn push_character(character: char, out: &mut String) {
    let _ = write!(out, "\\u{{{:x}}}", u32::from(character));
}

/// Writes each byte as `\xff`.
pub(super) fn push_bytes(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        let _ = write!(out, "\\x{byte:02x}");
    }
}

/// Restores the bytes from text of any of the outputs. Whatever is no escape stays as it is, also bytes that are not valid UTF-8.
pub fn from_text(text: impl AsRef<[u8]>) -> Bytes {
    let mut rest = text.as_ref();
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some((first, after)) = rest.split_first() {
        if let Some((escape, length)) = read_escape(rest) {
            escape.push(&mut bytes);
            rest = &rest[length..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    bytes
}

/// What an escape stands for.
#[derive(Clone, Copy)]
pub(super) enum Escape {
    Byte(u8),
    Character(char),
}

impl Escape {
    pub(super) fn push(self, bytes: &mut Bytes) {
        match self {
            Self::Byte(byte) => bytes.push(byte),
            Self::Character(character) => {
                bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }
}

/// Reads the escape at the beginning of `text` and returns its length, too; `None` if there is no escape.
pub(super) fn read_escape(text: &[u8]) -> Option<(Escape, usize)> {
    match text {
        [b'\\', b'x', digits @ ..] => {
            let byte = u8::try_from(hexadecimal(digits.get(..2)?)?).ok()?;
            Some((Escape::Byte(byte), 4))
        }
        [b'\\', b'u', b'{', digits @ ..] => {
            let count = digits.iter().take(MAX_DIGITS + 1).position(|byte| *byte == b'}')?;
            let character = char::from_u32(hexadecimal(&digits[..count])?)?;
            Some((Escape::Character(character), count + 4))
        }
        _ => None,
    }
}

/// The number that 1 to 6 hexadecimal digits stand for.
fn hexadecimal(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || digits.len() > MAX_DIGITS {
        return None;
    }
    digits.iter().try_fold(0, |number, digit| Some(number * 16 + char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::sanitize;

    #[test]
    fn valid_text_stays_and_ambiguous_backslashes_are_escaped() {
        for (bytes, text) in [
            (&b"/usr/bin/\xc3\xa4 \\n\n"[..], "/usr/bin/ä \\n\n"),
            (b"\xff", "\\xff"),
            (b"\\xff", "\\x5cxff"),
            (b"\\x\xff", "\\x\\xff"),
            (b"\\\\x41", "\\\\x5cx41"),
            (b"\\x5cx41", "\\x5cx5cx41"),
            (b"\\u{41}", "\\x5cu{41}"),
            (b"\\u{}\\u{41\\u{110000}\\u{d800}\\u{0000041}", "\\u{}\\u{41\\u{110000}\\u{d800}\\u{0000041}"),
        ] {
            assert_eq!(to_text(bytes), text);
            assert_eq!(from_text(text), bytes);
        }
        assert_eq!(from_text("\\xC3\\xa4 \\u{202E} \\u{00041}"), "ä \u{202e} A".as_bytes());
        // A text of this picosnitch before it had one escape, and what is no text of it.
        assert_eq!(from_text(b"\xff\\x4"), b"\xff\\x4");
    }

    /// A field of CSV as a reader gets it, without the apostrophe of the rule in docs/query.md.
    fn csv_value(field: &str) -> String {
        let quoted = field.strip_prefix('"').and_then(|field| field.strip_suffix('"'));
        let value = quoted.map_or(field.to_owned(), |field| field.replace("\"\"", "\""));
        value.strip_prefix('\'').map_or(value.clone(), str::to_owned)
    }

    fn assert_restored(bytes: &[u8]) {
        assert_eq!(from_text(to_text(bytes)), bytes, "json");
        let column = to_column(bytes);
        assert_eq!(from_text(&column), bytes, "{column}");
        assert!(!column.contains('\0'));
        let terminal = sanitize::terminal(bytes);
        assert_eq!(from_text(&terminal), bytes, "{terminal}");
        assert_eq!(from_text(sanitize::ascii(&terminal)), bytes, "{terminal}");
        assert_eq!(sanitize::message(&terminal), terminal);
        let field = sanitize::csv_field(bytes);
        assert_eq!(from_text(csv_value(&field)), bytes, "{field}");
    }

    #[test]
    fn every_output_is_restored_by_the_one_input() {
        // Every string of six of the units that have a meaning.
        let units: [&[u8]; 8] = [b"\\", b"x", b"u", b"{", b"}", b"5", b"c", b"\xff"];
        for number in 0..8_usize.pow(6) {
            let bytes: Vec<u8> =
                (0..6).flat_map(|digit| units[number / 8_usize.pow(digit) % 8].iter().copied()).collect();
            assert_eq!(from_text(sanitize::terminal(&bytes)), bytes);
        }
        // Random strings of more units (xorshift).
        let more = [
            "\\u{", "\\x", "\n", "\u{202e}", "\u{9b}", "ä", "€", "😀", "'", "\"", ",", "=", "\0", "-", " ",
            "A",
        ];
        let more = more.iter().map(|unit| unit.as_bytes()).chain([&b"\xc3"[..], b"\xf0\x9f"]);
        let units: Vec<&[u8]> = units.into_iter().chain(more).collect();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 33) as usize % below
        };
        for _ in 0..100_000 {
            let count = random(12);
            let bytes: Vec<u8> =
                (0..count).flat_map(|_| units[random(units.len())].iter().copied()).collect();
            assert_restored(&bytes);
        }
    }
}
