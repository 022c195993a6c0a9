//! Command lines with the boundaries of their arguments.
//!
//! In memory and in the log a command line is its arguments joined by NUL, as in `/proc/PID/cmdline` but without the NUL at the
//! end: no argument contains a NUL, so `bash -c "A B"` and `bash -c A B` differ. Bytes without NUL are one argument, or a whole
//! command line with blanks: a process that writes its title over its arguments has such a one, and logs of older versions have
//! no other. So bytes without NUL are shown as they are, and others with the quotes of a shell.

use std::borrow::Cow;

use super::{lossless, sanitize};
use crate::bytes::Bytes;

/// The separator of arguments.
pub const SEPARATOR: u8 = 0;

/// The command line in the contents of `/proc/PID/cmdline`, where a NUL ends each argument. A process that wrote a title with
/// blanks over its arguments often leaves nothing but NULs behind it; they are no arguments.
pub fn from_proc(contents: &[u8]) -> &[u8] {
    let line = contents.strip_suffix(&[SEPARATOR]).unwrap_or(contents);
    let end = line.iter().rposition(|byte| *byte != SEPARATOR).map_or(0, |last| last + 1);
    let is_title = line[..end].contains(&b' ') && !line[..end].contains(&SEPARATOR);
    if is_title { &line[..end] } else { line }
}

/// Converts a command line to text that is safe for a terminal: that of [`quote`], escaped.
pub fn to_text(command_line: &[u8]) -> String {
    sanitize::terminal(&quote(command_line))
}

/// Writes a command line so that a POSIX shell would read the same arguments, for an output that escapes bytes itself. Arguments
/// with any bytes but ASCII letters, digits and harmless punctuation are in single quotes, so that a reader of the escaped text
/// finds escapes in quotes only. Bytes without NUL stay as they are.
pub fn quote(command_line: &[u8]) -> Cow<'_, [u8]> {
    if !command_line.contains(&SEPARATOR) {
        return Cow::Borrowed(command_line);
    }
    let mut out = Vec::with_capacity(command_line.len() + 16);
    for (at, argument) in command_line.split(|byte| *byte == SEPARATOR).enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        // An equals sign in the first word would make it an assignment.
        let is_plain = |byte: &u8| is_plain(*byte) || (*byte == b'=' && at > 0);
        if !argument.is_empty() && argument.iter().all(is_plain) {
            out.extend_from_slice(argument);
            continue;
        }
        out.push(b'\'');
        for byte in argument {
            match byte {
                b'\'' => out.extend_from_slice(b"'\\''"),
                byte => out.push(*byte),
            }
        }
        out.push(b'\'');
    }
    Cow::Owned(out)
}

/// Whether a byte needs no quotes in any word of a shell.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'_' | b'.' | b'/' | b',' | b':' | b'+' | b'@' | b'%')
}

/// The command lines that a typed text may mean: the bytes of the text itself, with its escapes read, and the arguments that a
/// shell would read in it. A text of [`to_text`] has its command line among them, and so has that of [`quote`] in any escape.
pub fn candidates(text: &[u8]) -> Vec<Bytes> {
    let mut candidates = vec![lossless::from_text(text)];
    if let Some(command_line) = read_words(text)
        && !candidates.contains(&command_line)
    {
        candidates.push(command_line);
    }
    candidates
}

/// The command line that the text of a column stands for: what [`lossless::to_column`] makes of [`quote`]. Arguments without a NUL
/// between them that look like such a text (a title that a process wrote over its arguments) cannot be told from it.
pub fn from_column(text: &str) -> Bytes {
    let quoted = lossless::from_text(text);
    match read_words(text.as_bytes()) {
        Some(line) if *quote(&line) == quoted => line,
        _ => quoted,
    }
}

/// Reads words as a POSIX shell does, without expansions and comments, and joins them by NUL. An escape stands for its byte or
/// character, in quotes and outside. `None` if there is no word, or a quote has no end.
fn read_words(text: &[u8]) -> Option<Bytes> {
    let mut line = Bytes::new();
    let (mut words, mut is_in_word, mut quote) = (0, false, None);
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        let from_here = rest;
        rest = after;
        let is_blank = quote.is_none() && matches!(byte, b' ' | b'\t' | b'\n');
        if !is_blank && !is_in_word {
            if words > 0 {
                line.push(SEPARATOR);
            }
            words += 1;
        }
        is_in_word = !is_blank;
        match (byte, quote) {
            _ if is_blank => {}
            (b'\'' | b'"', None) => quote = Some(*byte),
            (_, Some(end)) if *byte == end => quote = None,
            (b'\\', _) => rest = read_backslash(from_here, quote, &mut line)?,
            _ => line.push(*byte),
        }
    }
    (quote.is_none() && words > 0).then_some(line)
}

/// Reads a backslash and what belongs to it, and returns the rest of the text. `None` if a shell would wait for more.
fn read_backslash<'a>(text: &'a [u8], quote: Option<u8>, line: &mut Bytes) -> Option<&'a [u8]> {
    if let Some((escape, length)) = lossless::read_escape(text) {
        escape.push(line);
        return Some(&text[length..]);
    }
    match (text, quote) {
        ([_, byte, rest @ ..], None) | ([_, byte @ (b'$' | b'`' | b'"' | b'\\'), rest @ ..], Some(b'"')) => {
            line.push(*byte);
            Some(rest)
        }
        (_, None) => None,
        _ => {
            line.push(b'\\');
            Some(&text[1..])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(arguments: &[&[u8]]) -> Bytes {
        arguments.join(&SEPARATOR)
    }

    #[test]
    fn arguments_keep_their_boundaries() {
        for (arguments, text) in [
            (&[&b"bash"[..], b"-c", b"S", b"A", b""][..], "bash -c S A ''"),
            (&[b"bash", b"-c", b"S", b"A B"], "bash -c S 'A B'"),
            (&[b"bash", b"-c", b"S", b"A", b"B"], "bash -c S A B"),
            (&[b"A=1", b"--time=5", b"it's", b"#"], "'A=1' --time=5 'it'\\''s' '#'"),
            (&[b"x", "café".as_bytes(), b"\xff", b"a\nb", b"\\x41"], "x 'café' '\\xff' 'a\\x0ab' '\\x5cx41'"),
            (&[b"", b""], "'' ''"),
            (&[b"nginx: master process 'x'"], "nginx: master process 'x'"),
            (&[b"/bin/a\x1b"], "/bin/a\\x1b"),
            (&[b""], ""),
        ] {
            assert_eq!(to_text(&join(arguments)), text);
            assert!(candidates(text.as_bytes()).contains(&join(arguments)), "{text}");
        }
    }

    #[test]
    fn a_typed_text_is_read_as_a_shell_reads_it_and_as_it_is() {
        let read = |text: &[u8]| candidates(text);
        assert_eq!(read(b"ls"), [b"ls"]);
        assert_eq!(read(b""), [b""]);
        assert_eq!(read(b"a b"), [&b"a b"[..], b"a\0b"]);
        assert_eq!(read(b" a  \"b\\\"c\\n\" d\\ e'f' ")[1], b"a\0b\"c\\n\0d ef");
        assert_eq!(read(b"a #b")[1], b"a\0#b");
        assert_eq!(read(b"a\\x00b\\u{e4}"), [&b"a\0b\xc3\xa4"[..]]);
        assert_eq!(read(b"a 'it"), [b"a 'it"]);
        assert_eq!(read(b"it's \\"), [b"it's \\"]);
        assert_eq!(read(b"\xff \\xff")[1], b"\xff\0\xff");
    }

    #[test]
    fn a_title_over_the_arguments_has_no_arguments_behind_it() {
        assert_eq!(from_proc(b"bash\0-c\0S\0A\0\0"), b"bash\0-c\0S\0A\0");
        assert_eq!(from_proc(b"bash\0"), b"bash");
        assert_eq!(from_proc(b"cut\0off"), b"cut\0off");
        assert_eq!(from_proc(b"nginx: worker\0\0\0\0"), b"nginx: worker");
        assert_eq!(from_proc(b"sleep\0\0\0"), b"sleep\0\0");
        assert_eq!(from_proc(b"\0\0"), b"\0");
        assert_eq!(from_proc(b""), b"");
    }

    /// Random command lines of several arguments (xorshift).
    fn random_lines(count: usize) -> impl Iterator<Item = Bytes> {
        let units = [
            "\0", " ", "'", "\"", "\\", "\\x41", "\\u{", "}", "x", "5c", "\n", "\u{202e}", "ä", "$", "#",
            "=", "-",
        ];
        let units: Vec<_> =
            units.iter().map(|unit| unit.as_bytes()).chain([&b"\xff"[..], b"\0", b"a"]).collect();
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 33) as usize % below
        };
        (0..count).map(move |_| (0..random(12)).flat_map(|_| units[random(units.len())].to_vec()).collect())
    }

    #[test]
    fn every_text_of_a_command_line_is_read_back() {
        for line in random_lines(50_000) {
            let text = to_text(&line);
            for text in [sanitize::ascii(&text), lossless::to_text(&quote(&line)), text] {
                assert!(candidates(text.as_bytes()).contains(&line), "{text}");
            }
        }
    }

    #[test]
    fn columns_are_read_back_with_their_arguments() {
        for line in random_lines(50_000) {
            let column = lossless::to_column(&quote(&line));
            let read = from_column(&column);
            // A title may be read as arguments, and then looks the same.
            assert!(read == line || !line.contains(&SEPARATOR), "{column}");
            assert_eq!(lossless::to_column(&quote(&read)), column);
        }
    }

    #[test]
    fn a_shell_reads_the_same_arguments() {
        use std::{ffi::OsString, os::unix::ffi::OsStringExt, process::Command};
        for line in random_lines(100).filter(|line| line.contains(&SEPARATOR)) {
            let script = [b"printf '%s\\0' ", &*quote(&line)].concat();
            let shell = Command::new("sh").arg("-c").arg(OsString::from_vec(script)).output().unwrap();
            assert_eq!(shell.stdout, [&line[..], b"\0"].concat());
        }
    }
}
