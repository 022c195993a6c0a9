//! Parses `config.json` of the original picosnitch: JSON with comments (`#`, `//`, `/* */`) and, tolerated, a byte-order mark and
//! commas before a closing bracket.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};

use super::{
    ignore::{self, DomainOrder},
    node::{BYTE_ORDER_MARK, Node, NodeValue},
    original,
    problem::{Problem, without_problems},
    ranges,
    secret::Secret,
    sections::Config,
    server,
    table_reader::TableReader,
};

/// Reads the text of a `config.json`.
pub(super) fn parse(text: &str) -> Result<Config, Vec<Problem>> {
    let mut problems = Vec::new();
    let root = tree(text, &mut problems)?;
    let config = from_tree(&mut problems, root);
    without_problems(config, problems)
}

/// Reads the text as a tree. Keys that are there twice are problems.
///
/// # Errors
/// It is no JSON.
pub(super) fn tree(text: &str, problems: &mut Vec<Problem>) -> Result<Node, Vec<Problem>> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let plain = without_comments(text)?;
    let value: Value = serde_json::from_str(&plain).map_err(|error| {
        // serde_json appends the position, and the problem has the line already.
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or(&message);
        // Column 0 stands for the end of the line before.
        let line = error.line().saturating_sub(usize::from(error.column() == 0)).max(1);
        vec![Problem { line: Some(line), message: format!("not valid JSON: {message}") }]
    })?;
    Ok(convert(&plain, value, None, problems))
}

/// Reads every key of the tree.
pub(super) fn from_tree(problems: &mut Vec<Problem>, root: Node) -> Config {
    let mut config = Config::default();
    let mut top = TableReader::new(problems, "", root);
    top.boolean("Bandwidth monitor", &mut config.monitor.bandwidth);
    if let Some(days) = top.integer("DB retention (days)", ranges::RETENTION_DAYS) {
        config.log.retention_days = days;
    }
    top.boolean("DB sql log", &mut config.log.sqlite);
    config.log.server = server::read_json(&mut top, "DB sql server");
    top.boolean("DB text log", &mut config.log.text);
    if let Some(seconds) = top.integer("DB write limit (seconds)", ranges::WRITE_LIMIT_SECONDS) {
        config.log.write_limit_seconds = seconds;
    }
    top.boolean("Desktop notifications", &mut config.notifications.desktop);
    top.boolean("Every exe (not just conns)", &mut config.monitor.every_exe);
    top.boolean("Log addresses", &mut config.log.addresses);
    top.boolean("Log commands", &mut config.log.commands);
    top.boolean("Log ports", &mut config.log.ports);
    config.log.ignore = ignore::read_rules(&mut top, "Log ignore", DomainOrder::Reversed);
    if let Some(pages) = ranges::ring_buffer_pages(&mut top, "Perf ring buffer (pages)") {
        config.monitor.ring_buffer_pages = pages;
    }
    config.monitor.rlimit_nofile = top.optional("Set RLIMIT_NOFILE", ranges::RLIMIT_NOFILE);
    if let Some(key) = top.secret("VT API key", ranges::API_KEY_ALLOWED, ranges::is_api_key) {
        config.virustotal.api_key = Secret(key);
    }
    top.boolean("VT file upload", &mut config.virustotal.file_upload);
    if let Some(seconds) = top.integer("VT request limit (seconds)", ranges::REQUEST_LIMIT_SECONDS) {
        config.virustotal.request_limit_seconds = seconds;
    }
    config.without_effect = original::take_keys_without_effect(&mut top);
    top.finish();
    config
}

/// A JSON value whose objects keep every entry, also one with the key of another.
enum Value {
    Null,
    Boolean(bool),
    Integer(i64),
    /// A number that is no 64-bit integer.
    Number(String),
    Text(String),
    Array(Vec<Value>),
    Object(Vec<(String, Value)>),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or_else(|_| Value::Number(value.to_string()), Value::Integer))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(format!("{value:?}")))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Value::Object(entries))
    }
}

fn convert(text: &str, value: Value, line: Option<usize>, problems: &mut Vec<Problem>) -> Node {
    let value = match value {
        Value::Null => NodeValue::Null,
        Value::Boolean(value) => NodeValue::Boolean(value),
        Value::Integer(value) => NodeValue::Integer(value),
        Value::Number(text) => NodeValue::Unsupported("number", text),
        Value::Text(value) => NodeValue::Text(value),
        Value::Array(items) => {
            NodeValue::Array(items.into_iter().map(|item| convert(text, item, line, problems)).collect())
        }
        Value::Object(entries) => {
            let mut table: Vec<(String, Node)> = Vec::with_capacity(entries.len());
            for (key, value) in entries {
                // Which of two values holds would depend on the reader.
                if table.iter().any(|(other, _)| *other == key) {
                    let lines: Vec<usize> = lines_of(text, &key).collect();
                    let message = format!("{}: the key is there twice; remove one", key.escape_debug());
                    problems.push(Problem { line: lines.get(1).copied().or(line), message });
                    continue;
                }
                let line = lines_of(text, &key).next().or(line);
                let node = convert(text, value, line, problems);
                table.push((key, node));
            }
            NodeValue::Table(table)
        }
    };
    Node { line, value }
}

/// The lines, from 1, that have `key` as a key without escapes.
fn lines_of<'a>(text: &'a str, key: &str) -> impl Iterator<Item = usize> + 'a {
    let quoted = format!("\"{key}\"");
    let is_key = |end: usize| text[end..].trim_start().starts_with(':');
    let found: Vec<usize> =
        text.match_indices(&quoted).map(|(at, _)| at).filter(|at| is_key(at + quoted.len())).collect();
    found.into_iter().map(|at| 1 + text[..at].bytes().filter(|byte| *byte == b'\n').count())
}

/// Replaces comments and trailing commas by spaces, so that lines and columns stay the same.
fn without_comments(text: &str) -> Result<String, Vec<Problem>> {
    let mut out = text.as_bytes().to_vec();
    let mut comma = None;
    let mut at = 0;
    while at < out.len() {
        match out[at] {
            b'"' => {
                comma = None;
                at += 1;
                while at < out.len() && out[at] != b'"' {
                    at += if out[at] == b'\\' { 2 } else { 1 };
                }
            }
            b'#' => at = blank_line(&mut out, at),
            b'/' if out.get(at + 1) == Some(&b'/') => at = blank_line(&mut out, at),
            b'/' if out.get(at + 1) == Some(&b'*') => {
                let Some(length) = text[at + 2..].find("*/") else {
                    let line = Some(1 + out[..at].iter().filter(|byte| **byte == b'\n').count());
                    let message = "not valid JSON: the comment that begins here has no end".to_owned();
                    return Err(vec![Problem { line, message }]);
                };
                let end = at + 2 + length + 2;
                out[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
                at = end - 1;
            }
            b',' => comma = Some(at),
            b']' | b'}' => {
                if let Some(comma) = comma.take() {
                    out[comma] = b' ';
                }
            }
            byte if byte.is_ascii_whitespace() => {}
            _ => comma = None,
        }
        at += 1;
    }
    // Only whole comments and commas became spaces, so this is still UTF-8.
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Replaces the rest of the line by spaces; returns the last position that was replaced.
fn blank_line(out: &mut [u8], start: usize) -> usize {
    let end = out[start..].iter().position(|byte| *byte == b'\n').map_or(out.len(), |length| start + length);
    out[start..end].fill(b' ');
    end - 1
}
