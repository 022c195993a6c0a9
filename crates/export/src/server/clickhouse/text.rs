//! Values as text: literals in statements, and rows in the format TabSeparated (the manual's "Formats"), in which strings may have
//! any byte.

use std::fmt::Write as _;

use super::super::{
    rows::{Cell, Row},
    tables::Kind,
};

/// Stands for a parameter in a statement. Statements have no other control characters.
pub(crate) const PLACEHOLDER: char = '\u{1}';

/// Puts the parameters at their places: old versions know no others than those in the text.
pub(super) fn with_parameters(sql: &str, parameters: &[Cell]) -> String {
    let mut parts = sql.split(PLACEHOLDER);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for (part, parameter) in parts.zip(parameters) {
        write_literal(&mut text, parameter);
        text += part;
    }
    text
}

fn write_literal(sql: &mut String, cell: &Cell) {
    // Writing to a string cannot fail.
    let _ = match cell {
        Cell::Integer(number) => write!(sql, "{number}"),
        Cell::Text(text) => {
            sql.push('\'');
            write_escaped(sql, text);
            sql.write_char('\'')
        }
        Cell::Bytes(bytes) => write!(sql, "unhex('{}')", hex::encode(bytes)),
        Cell::Null => sql.write_str("NULL"),
    };
}

/// The escape of literals and of the format: the same.
fn write_escaped(sql: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '\\' => sql.push_str("\\\\"),
            '\'' => sql.push_str("\\'"),
            '\t' => sql.push_str("\\t"),
            '\n' => sql.push_str("\\n"),
            '\r' => sql.push_str("\\r"),
            control if u32::from(control) < 0x20 => {
                let _ = write!(sql, "\\x{:02x}", u32::from(control));
            }
            other => sql.push(other),
        }
    }
}

/// Adds rows in the format TabSeparated.
pub(super) fn write_rows(sql: &mut String, rows: &[Row]) {
    for row in rows {
        for (at, cell) in row.iter().enumerate() {
            if at > 0 {
                sql.push('\t');
            }
            match cell {
                Cell::Integer(number) => _ = write!(sql, "{number}"),
                Cell::Text(text) => write_escaped(sql, text),
                Cell::Bytes(bytes) => bytes.iter().for_each(|byte| _ = write!(sql, "\\x{byte:02x}")),
                Cell::Null => sql.push_str("\\N"),
            }
        }
        sql.push('\n');
    }
}

/// Reads rows in the format TabSeparated; `None` if they have other columns.
pub(super) fn rows(answer: &[u8], kinds: &[Kind]) -> Option<Vec<Row>> {
    let lines = answer.strip_suffix(b"\n").map(|lines| lines.split(|byte| *byte == b'\n'));
    lines.into_iter().flatten().map(|line| row(line, kinds)).collect()
}

fn row(line: &[u8], kinds: &[Kind]) -> Option<Row> {
    let mut cells = line.split(|byte| *byte == b'\t');
    let row = kinds.iter().map(|kind| cell(cells.next()?, *kind)).collect::<Option<Row>>()?;
    cells.next().is_none().then_some(row)
}

fn cell(bytes: &[u8], kind: Kind) -> Option<Cell> {
    if bytes == b"\\N" {
        return Some(Cell::Null);
    }
    Some(match kind {
        Kind::Integer => Cell::Integer(std::str::from_utf8(bytes).ok()?.parse().ok()?),
        Kind::Bytes => Cell::Bytes(unescaped(bytes)),
        Kind::Text => Cell::Text(String::from_utf8(unescaped(bytes)).ok()?),
    })
}

fn unescaped(bytes: &[u8]) -> Vec<u8> {
    let mut found = Vec::with_capacity(bytes.len());
    let mut bytes = bytes.iter();
    while let Some(byte) = bytes.next() {
        found.push(match byte {
            b'\\' => match bytes.next() {
                Some(b't') => b'\t',
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b'b') => 8,
                Some(b'f') => 12,
                Some(b'0') => 0,
                Some(other) => *other,
                None => b'\\',
            },
            other => *other,
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_what_they_were() {
        let written: Vec<Row> = vec![
            vec![Cell::Integer(i64::MIN), Cell::Text("a\tb\\'\n\r\u{1}é".into()), Cell::Bytes(vec![0, 255])],
            vec![Cell::Null, Cell::Text(String::new()), Cell::Null],
        ];
        let mut text = String::new();
        write_rows(&mut text, &written);
        assert_eq!(text, "-9223372036854775808\ta\\tb\\\\\\'\\n\\r\\x01é\t\\x00\\xff\n\\N\t\t\\N\n");
        // The server writes bytes as they are.
        let mut answer = text.replace("\\x01", "\u{1}").replace("\\x00\\xff", "\\0_").into_bytes();
        answer.iter_mut().filter(|byte| **byte == b'_').for_each(|byte| *byte = 255);
        let kinds = [Kind::Integer, Kind::Text, Kind::Bytes];
        assert_eq!(rows(&answer, &kinds).unwrap(), written);
        assert_eq!(rows(b"", &kinds).unwrap(), Vec::<Row>::new());
        assert!(rows(b"1\ta\n", &kinds).is_none() && rows(b"1\ta\tb\tc\n", &kinds).is_none());
        assert!(rows(b"x\ta\tb\n", &kinds).is_none());
    }

    #[test]
    fn parameters_cannot_leave_their_quotes() {
        let sql = "SELECT '?', \u{1}, \u{1}, \u{1}";
        let parameters = [Cell::Text("'\\\u{1}".into()), Cell::Bytes(vec![1, 255]), Cell::Integer(-1)];
        assert_eq!(with_parameters(sql, &parameters), "SELECT '?', '\\'\\\\\\x01', unhex('01ff'), -1");
    }
}
