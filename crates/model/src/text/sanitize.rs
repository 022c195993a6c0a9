//! Makes text that is safe for a given output (terminal, CSV, conn.log) from untrusted bytes. Text for JSON is made by
//! [`lossless::to_text`].
//!
//! *Hostile* characters are those on which a terminal may act or that a reader cannot see: control characters (C0, DEL, C1),
//! characters that change the direction or order of text, and invisible ones.

use std::fmt::Write;

use super::lossless;

/// Text for a terminal: hostile characters become `\x1b` if they are ASCII, else `\u{202e}`; bytes that are not valid UTF-8
/// become `\xff`. [`lossless::from_text`] restores the bytes.
pub fn terminal(bytes: &[u8]) -> String {
    lossless::escape(bytes, is_hostile)
}

/// A sentence for a terminal, in which paths and other values are already escaped by [`terminal`]: hostile characters are escaped,
/// backslashes stay, so that nothing is escaped twice.
pub fn message(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if !is_hostile(character) {
            out.push(character);
        } else if character.is_ascii() {
            lossless::push_bytes(&[character as u8], &mut out);
        } else {
            lossless::push_character(character, &mut out);
        }
    }
    out
}

/// Text for a terminal whose locale is not UTF-8, made from the result of [`terminal`]: characters that are not ASCII become
/// `\u{e9}`. Such a terminal would read them as single bytes, some of which are control characters.
pub fn ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii() {
            out.push(character);
        } else {
            lossless::push_character(character, &mut out);
        }
    }
    out
}

/// Makes a serialised JSON document safe for a terminal: hostile characters become JSON escapes (`\u202e`). They can only be
/// inside strings, since the rest is ASCII, so the meaning of the document stays the same.
pub fn json_document(document: &str) -> String {
    // Fast path: most documents are printable ASCII, and some are long.
    if document.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~')) {
        return document.to_owned();
    }
    let mut out = String::with_capacity(document.len());
    for character in document.chars() {
        // A line break is between values, since the serialiser escapes line breaks inside strings.
        if is_hostile(character) && character != '\n' {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(character);
        }
    }
    out
}

/// A field of `query --csv` (RFC 4180): the text of [`terminal`], quoted where necessary. If a spreadsheet would read the field
/// as a formula, since it begins with `=`, `+`, `-` or `@`, it gets an apostrophe at the front, the mark of spreadsheets for
/// text. A field that begins with an apostrophe gets one more. So a reader that removes one apostrophe from the front and then
/// calls [`lossless::from_text`] has the bytes. Numbers do not pass through this function and keep their sign.
pub fn csv_field(bytes: &[u8]) -> String {
    quote_csv(terminal(bytes))
}

/// The same of a sentence in which values are already escaped ([`message`]).
pub fn csv_message(text: &str) -> String {
    quote_csv(message(text))
}

fn quote_csv(mut text: String) -> String {
    if text.starts_with(['=', '+', '-', '@', '\'']) {
        text.insert(0, '\'');
    }
    if text.contains([',', '"']) || text.starts_with(' ') || text.ends_with(' ') {
        text = format!("\"{}\"", text.replace('"', "\"\""));
    }
    text
}

/// A field of `conn.log`: commas and hostile characters are removed, bytes that are not valid UTF-8 become `\xff`.
pub fn conn_log_field(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.extend(chunk.valid().chars().filter(|character| *character != ',' && !is_hostile(*character)));
        lossless::push_bytes(chunk.invalid(), &mut out);
    }
    out
}

/// Whether a character is hostile: a control character, or one of the format characters (Cf), the line and paragraph
/// separators and the invisible letters of Unicode 16.
fn is_hostile(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
            | '\u{890}' | '\u{891}' | '\u{8e2}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Shortens a text to `width` characters by removing its middle, since both ends of a path are informative.
pub fn shorten(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let tail = kept.div_ceil(2);
    let head = text.chars().take(kept - tail);
    head.chain(['…']).chain(text.chars().skip(length - tail)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_characters_do_not_reach_a_terminal() {
        assert_eq!(terminal(b"/usr/bin/caf\xc3\xa9 \\n"), "/usr/bin/café \\n");
        assert_eq!(terminal(b"a\n\t\x1b[31m\0\x7f"), "a\\x0a\\x09\\x1b[31m\\x00\\x7f");
        assert_eq!(terminal("\u{9b}31m".as_bytes()), "\\u{9b}31m");
        assert_eq!(terminal(b"\x9b\xff\xc3"), "\\x9b\\xff\\xc3");
        assert_eq!(
            terminal("a\u{202e}b\u{200b}c\u{2066}d\u{feff}".as_bytes()),
            "a\\u{202e}b\\u{200b}c\\u{2066}d\\u{feff}"
        );
        for code in 0..=0xffff_u32 {
            if let Some(character) = char::from_u32(code) {
                let out = terminal(character.to_string().as_bytes());
                assert!(!out.chars().any(char::is_control), "{code:x}");
            }
        }
    }

    #[test]
    fn values_in_messages_are_escaped_once() {
        let text = format!("{} is gone\n", terminal(b"/tmp/\\x41\xff"));
        assert_eq!(message(&text), "/tmp/\\x5cx41\\xff is gone\\x0a");
        assert_eq!(message("\u{202e}\u{9b}"), "\\u{202e}\\u{9b}");
        assert_eq!(csv_message("-\\xff, \n"), "\"'-\\xff, \\x0a\"");
    }

    #[test]
    fn json_documents_are_safe_for_a_terminal() {
        let text = "a\n\"\\\u{7f}\u{9b}\u{202e}\u{e0041}ä";
        let document = json_document(&serde_json::to_string_pretty(&[text]).unwrap());
        assert!(document.chars().all(|character| character == '\n' || !is_hostile(character)), "{document}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&document).unwrap(), [text]);
    }

    #[test]
    fn csv_fields_are_quoted_and_never_formulas() {
        for (value, expected) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("a \"x\"", "\"a \"\"x\"\"\""),
            ("=1+1", "'=1+1"),
            ("@SUM(A1,A2)", "\"'@SUM(A1,A2)\""),
            ("-x", "'-x"),
            ("'=1", "''=1"),
            ("a\r\nb", "a\\x0d\\x0ab"),
            ("\t=1", "\\x09=1"),
            (" x", "\" x\""),
        ] {
            assert_eq!(csv_field(value.as_bytes()), expected, "{value:?}");
        }
    }

    #[test]
    fn conn_log_fields_contain_no_separator() {
        assert_eq!(conn_log_field(b"a,b\nc\0d\x1b\xff \"e\""), "abcd\\xff \"e\"");
    }

    #[test]
    fn shortening_keeps_both_ends() {
        assert_eq!(shorten("/usr/lib/firefox", 20), "/usr/lib/firefox");
        assert_eq!(shorten("/usr/lib/firefox", 9), "/usr…efox");
        assert_eq!(shorten("äöüäöü", 3), "ä…ü");
        assert_eq!(shorten("abc", 0), "…");
    }
}
