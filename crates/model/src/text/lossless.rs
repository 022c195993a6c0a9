//! A lossless text form of untrusted bytes, for JSON (docs/record.md).

use std::fmt::Write;

use crate::bytes::Bytes;

/// Converts bytes to text, from which [`from_text`] restores them. Valid UTF-8 stays as it is; other bytes become `\xff`.
/// Where the bytes themselves contain a backslash, an x and two hexadecimal digits, the backslash becomes `\x5c`.
pub fn to_text(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid();
        for (at, character) in valid.char_indices() {
            if character == '\\' && escaped(&valid.as_bytes()[at..]).is_some() {
                out.push_str("\\x5c");
            } else {
                out.push(character);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// Restores the bytes that [`to_text`] converted. Bytes that are not valid UTF-8, which are no text of it, stay as they are.
pub fn from_text(text: impl AsRef<[u8]>) -> Bytes {
    let mut rest = text.as_ref();
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some((first, after)) = rest.split_first() {
        if let Some(byte) = escaped(rest) {
            bytes.push(byte);
            rest = &rest[4..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    bytes
}

/// The byte for which an escape at the beginning of `text` stands; `None` if there is no escape.
fn escaped(text: &[u8]) -> Option<u8> {
    let [b'\\', b'x', high, low, ..] = text else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some((digit(*high)? * 16 + digit(*low)?) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_text_stays_and_all_bytes_are_restored() {
        for (bytes, text) in [
            (&b"/usr/bin/\xc3\xa4 \\n\n"[..], "/usr/bin/ä \\n\n"),
            (b"\xff", "\\xff"),
            (b"\\xff", "\\x5cxff"),
            (b"\\x\xff", "\\x\\xff"),
            (b"\\\\x41", "\\\\x5cx41"),
            (b"\\x5cx41", "\\x5cx5cx41"),
        ] {
            assert_eq!(to_text(bytes), text);
            assert_eq!(from_text(text), bytes);
        }
        // Every string of six of the bytes that have a meaning.
        let letters = [b'\\', b'x', b'5', b'c', 0xff, 0xc3, 0xa4, b'-'];
        for number in 0..8_usize.pow(6) {
            let bytes: Vec<u8> = (0..6).map(|digit| letters[number / 8_usize.pow(digit) % 8]).collect();
            assert_eq!(from_text(to_text(&bytes)), bytes);
        }
    }
}
