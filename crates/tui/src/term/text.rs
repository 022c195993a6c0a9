//! Untrusted bytes as safe text, and text of a known number of columns.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use model::text::sanitize;

/// Code points of one grapheme cluster; further combining marks are dropped.
const MAX_CODE_POINTS: usize = 5;
/// Bytes of one end of a long text: no terminal is wider.
const MAX_END_BYTES: usize = 16 * 1024;

/// Number of columns that a text takes on the screen.
pub fn width(text: &str) -> usize {
    // The usual case: no character of ASCII is wide, and control characters are escaped.
    if text.is_ascii() {
        return text.len();
    }
    text.graphemes(true).map(UnicodeWidthStr::width).sum()
}

/// Bytes as text that is safe for a terminal. With `ascii`, for a locale that is not UTF-8, the text is ASCII only: in
/// such a locale a byte of a multi-byte character could be a control character.
pub fn safe(bytes: &[u8], ascii: bool) -> String {
    let text = match bytes.get(..MAX_END_BYTES) {
        // Both ends of a long path are informative.
        Some(head) if bytes.len() > 2 * MAX_END_BYTES => {
            let tail = &bytes[bytes.len() - MAX_END_BYTES..];
            format!("{}...{}", sanitize::terminal(head), sanitize::terminal(tail))
        }
        _ => sanitize::terminal(bytes),
    };
    if ascii { sanitize::ascii(&text) } else { text }
}

/// A finished sentence as text that is safe for a terminal: values in it are escaped already, and stay as they are.
pub fn sentence(text: &str, ascii: bool) -> String {
    let text = sanitize::message(text);
    if ascii { sanitize::ascii(&text) } else { text }
}

/// Shortens a text to at most `columns` by replacing its middle with an ellipsis: both ends of a path are informative.
pub fn shorten(text: &str, columns: usize, ascii: bool) -> String {
    let gap = if ascii { "~" } else { "…" };
    if text.len() <= columns && text.is_ascii() {
        return text.to_owned();
    }
    let graphemes: Vec<&str> = text.graphemes(true).collect();
    let widths: Vec<usize> = graphemes.iter().map(|grapheme| grapheme.width()).collect();
    if widths.iter().sum::<usize>() <= columns {
        return graphemes.into_iter().map(bounded).collect();
    }
    if columns == 0 {
        return String::new();
    }
    let (mut head, mut tail) = (0, graphemes.len());
    let (mut left, mut right) = ((columns - 1) / 2, (columns - 1).div_ceil(2));
    while head < tail && widths[head] <= left {
        left -= widths[head];
        head += 1;
    }
    while head < tail && widths[tail - 1] <= right {
        right -= widths[tail - 1];
        tail -= 1;
    }
    let head = graphemes[..head].iter().copied().map(bounded);
    head.chain([gap.to_owned()]).chain(graphemes[tail..].iter().copied().map(bounded)).collect()
}

/// Shortens a path to at most `columns` by replacing a part of its directories with an ellipsis: the name of the file stays as
/// long as it fits.
pub fn shorten_path(text: &str, columns: usize, ascii: bool) -> String {
    let Some((directories, name)) = text.rsplit_once('/').filter(|_| width(text) > columns) else {
        return shorten(text, columns, ascii);
    };
    // The ellipsis stands for directories, so a slash follows it.
    match columns.checked_sub(width(name) + 1) {
        Some(left) if left > 0 => format!("{}/{name}", shorten_end(directories, left, ascii)),
        _ => shorten(name, columns, ascii),
    }
}

/// Shortens a text to at most `columns` by replacing its end with an ellipsis.
pub fn shorten_end(text: &str, columns: usize, ascii: bool) -> String {
    let mut out = String::new();
    let mut left = columns.saturating_sub(1);
    for grapheme in text.graphemes(true) {
        let Some(rest) = left.checked_sub(grapheme.width()) else { break };
        left = rest;
        out.push_str(&bounded(grapheme));
    }
    out + if ascii { "~" } else { "…" }
}

/// Shortens a text, or pads it with blanks, to exactly `columns`; with `right` the blanks come first.
pub fn fit(text: &str, columns: usize, right: bool, ascii: bool) -> String {
    let text = shorten(text, columns, ascii);
    let blank = " ".repeat(columns.saturating_sub(width(&text)));
    if right { blank + &text } else { text + &blank }
}

/// A noun in the number that belongs to `count`.
pub fn plural(count: u64, noun: &str) -> String {
    if count == 1 { noun.to_owned() } else { format!("{noun}s") }
}

fn bounded(grapheme: &str) -> String {
    grapheme.chars().take(MAX_CODE_POINTS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_in_a_sentence_stay_as_they_are() {
        assert_eq!(sentence("/bin/\\x1b has \u{e9}\u{1b}", false), "/bin/\\x1b has \u{e9}\\x1b");
        assert_eq!(sentence("\u{e9}", true), "\\u{e9}");
    }

    #[test]
    fn a_path_keeps_the_name_of_its_file() {
        let path = "/usr/lib/chromium/chrome";
        for (columns, expected) in [
            (24, path),
            (20, "/usr/lib/chr…/chrome"),
            (9, "/…/chrome"),
            (8, "…/chrome"),
            (7, "chrome"),
            (6, "chrome"),
            (5, "ch…me"),
        ] {
            let text = shorten_path(path, columns, false);
            assert!(width(&text) <= columns, "{columns}: {text}");
            assert!(text == expected, "{columns}: {text}");
        }
        assert_eq!(shorten_path("no slash", 5, false), "no…sh");
    }

    #[test]
    fn every_text_takes_the_columns_it_is_given() {
        let pile = format!("a{}b", "\u{301}".repeat(1000));
        for text in
            ["", "abc", "/usr/lib/firefox", "日本語のプログラム", "e\u{301}e\u{301}e\u{301}", "👍🏽👍🏽👍🏽", &pile]
        {
            for columns in 0..20 {
                for right in [false, true] {
                    assert_eq!(width(&fit(text, columns, right, false)), columns, "{text:?} in {columns}");
                }
            }
        }
        assert!(fit(&pile, 4, false, false).chars().count() < 20);
    }

    #[test]
    fn shortening_keeps_both_ends() {
        assert_eq!(shorten("/usr/lib/firefox", 9, false), "/usr…efox");
        assert_eq!(shorten("/usr/lib/firefox", 9, true), "/usr~efox");
        assert_eq!(shorten("日本語の", 5, false), "日…の");
    }

    #[test]
    fn text_is_ascii_in_other_locales() {
        let text = safe("\u{db}31m日\x1b[31m".as_bytes(), true);
        assert!(text.is_ascii() && !text.contains('\x1b'), "{text}");
        let long = safe(&[b'a'; 100_000], false);
        assert!(long.len() < 40_000);
    }
}
