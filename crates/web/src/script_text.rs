//! Scripts without their comments and the indentation of code and markup: a fifth of what is sent would be for those who read the
//! source.

/// What precedes a slash that begins a regular expression, and not a division (ECMA-262, section 12.9.5).
const BEFORE_REGEX: &[u8] = b"(,=:[!&|?{};+-*%~^<>";

/// Where the text is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Code,
    /// In an expression of a template; the number of braces that are open in it.
    TemplateCode(u32),
    Template,
    /// In a template of markup, which `html` makes.
    Markup,
}

/// Leaves out comments (between `/*` and `*/`, and from `//` on) and the spaces at the beginning of lines of code and markup. Returns
/// the text as it is if it does not end where code ends: then it was not understood.
pub(crate) fn without_comments(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut places = vec![Place::Code];
    let mut at = 0;
    while let Some(byte) = bytes.get(at).copied() {
        let place = places.last().copied().unwrap_or(Place::Code);
        let rest = &bytes[at..];
        let length = match (place, byte) {
            (Place::Template | Place::Markup, b'\\') => 2,
            (Place::Template | Place::Markup, b'`') => {
                places.pop();
                1
            }
            (Place::Template | Place::Markup, b'$') if rest.starts_with(b"${") => {
                places.push(Place::TemplateCode(0));
                2
            }
            (Place::Markup, b'\n') => {
                // Several spaces are one there, and a line break is one (CSS Text, section 4.1).
                out.push(b'\n');
                at += 1 + rest[1..].iter().take_while(|byte| **byte == b' ').count();
                continue;
            }
            (Place::Template | Place::Markup, _) => 1,
            (_, b'`') => {
                places.push(if out.ends_with(b"html") { Place::Markup } else { Place::Template });
                1
            }
            (Place::TemplateCode(0), b'}') => {
                places.pop();
                1
            }
            (Place::TemplateCode(open), b'{' | b'}') => {
                let open = if byte == b'{' { open + 1 } else { open - 1 };
                places.pop();
                places.push(Place::TemplateCode(open));
                1
            }
            (_, b'"' | b'\'') => quoted(rest, byte),
            (_, b'/') if rest.starts_with(b"/*") => {
                let length = find(rest, b"*/").map_or(rest.len(), |end| end + 2);
                // A comment parts words, and one of several lines ends a line (ECMA-262, section 12.4).
                end_code(&mut out, if rest[..length].contains(&b'\n') { b'\n' } else { b' ' });
                at += length + rest[length..].iter().take_while(|byte| **byte == b' ').count();
                continue;
            }
            (_, b'/') if rest.starts_with(b"//") => {
                at += find(rest, b"\n").unwrap_or(rest.len());
                continue;
            }
            (_, b'/') if begins_regex(&out) => regex(rest),
            (_, b'\n') => {
                // Code does not mean anything by its indentation.
                end_code(&mut out, b'\n');
                at += 1 + rest[1..].iter().take_while(|byte| **byte == b' ').count();
                continue;
            }
            _ => 1,
        };
        out.extend_from_slice(&rest[..length.min(rest.len())]);
        at += length;
    }
    match String::from_utf8(out) {
        Ok(out) if places == [Place::Code] => out,
        _ => text.to_owned(),
    }
}

/// Adds a space or a line break behind code, if there is none yet.
fn end_code(out: &mut Vec<u8>, end: u8) {
    while out.last() == Some(&b' ') {
        out.pop();
    }
    if !matches!(out.last(), None | Some(b'\n')) {
        out.push(end);
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// The length of a text in quotes.
fn quoted(text: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while let Some(byte) = text.get(at) {
        at += match byte {
            b'\\' => 2,
            byte if *byte == quote => return at + 1,
            _ => 1,
        };
    }
    text.len()
}

/// Whether a slash after this code begins a regular expression.
fn begins_regex(code: &[u8]) -> bool {
    let code = code.trim_ascii_end();
    let word_start = code.iter().rposition(|byte| !byte.is_ascii_alphanumeric()).map_or(0, |at| at + 1);
    match code.last() {
        None => true,
        Some(last) => {
            BEFORE_REGEX.contains(last) || matches!(&code[word_start..], b"return" | b"typeof" | b"case")
        }
    }
}

/// The length of a regular expression, without its flags.
fn regex(text: &[u8]) -> usize {
    let (mut at, mut is_in_class) = (1, false);
    while let Some(byte) = text.get(at) {
        match byte {
            b'\\' => at += 1,
            b'[' => is_in_class = true,
            b']' => is_in_class = false,
            b'/' if !is_in_class => return at + 1,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_comments_go() {
        for (source, expected) in [
            ("/** What it is. */\nlet a = 1; // why\n", "let a = 1;\n"),
            ("let url = 'https://x'; // c\n", "let url = 'https://x';\n"),
            (
                "let t = `// no ${a /* c */ + `/* no */${b}`} //`;\n",
                "let t = `// no ${a + `/* no */${b}`} //`;\n",
            ),
            ("let f = () => `${{ a: 1 }.a}`; // c\n", "let f = () => `${{ a: 1 }.a}`;\n"),
            ("let r = /[/*]\\/*/g; let d = a / b / c; // c\n", "let r = /[/*]\\/*/g; let d = a / b / c;\n"),
            (
                "let q = \"\\\"/*\"; /* c\n c */ let z = (x) / 2; // 2/1\n",
                "let q = \"\\\"/*\";\nlet z = (x) / 2;\n",
            ),
            ("return /\\/\\//.test(a); // c\n", "return /\\/\\//.test(a);\n"),
            ("if (a) {\n  b(`\n  c`);\n}\n", "if (a) {\nb(`\n  c`);\n}\n"),
            ("a = b +/**/+ c;\nreturn /*\n*/ d;\n", "a = b + + c;\nreturn\nd;\n"),
            ("t = `\n\n  a  \n`;\n\n\nb;\n", "t = `\n\n  a  \n`;\nb;\n"),
            (
                "html`\n  <b title='a\n  b'>${c(`\n  d`)}\n    e  f</b>`;\n",
                "html`\n<b title='a\nb'>${c(`\n  d`)}\ne  f</b>`;\n",
            ),
            ("let open = `${ // c\n", "let open = `${ // c\n"),
        ] {
            assert_eq!(without_comments(source), expected);
        }
    }
}
