//! Parses `config.json` of the original picosnitch: JSON with comments (`#`, `//`) and, tolerated, commas before a closing
//! bracket.

use serde_json::Value;

use super::{
    ignore::{self, DomainOrder},
    node::{Node, NodeValue},
    problem::Problem,
    ranges,
    secret::Secret,
    sections::Config,
    server,
    table_reader::TableReader,
};

/// Reads the text of a `config.json`.
pub(super) fn parse(text: &str) -> Result<Config, Vec<Problem>> {
    let plain = without_comments(text);
    let value = serde_json::from_str(&plain).map_err(|error| {
        // serde_json appends the position, and the problem has the line already.
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or(&message);
        // Column 0 stands for the end of the line before.
        let line = error.line().saturating_sub(usize::from(error.column() == 0)).max(1);
        vec![Problem { line: Some(line), message: format!("not valid JSON: {message}") }]
    })?;
    let mut problems = Vec::new();
    let config = from_tree(&mut problems, convert(&plain, value, None));
    if problems.is_empty() {
        Ok(config)
    } else {
        problems.sort_by_key(|problem| problem.line);
        Err(problems)
    }
}

/// Reads every key of the tree.
fn from_tree(problems: &mut Vec<Problem>, root: Node) -> Config {
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
    top.finish();
    config
}

fn convert(text: &str, value: Value, line: Option<usize>) -> Node {
    let value = match value {
        Value::Null => NodeValue::Null,
        Value::Bool(value) => NodeValue::Boolean(value),
        Value::Number(number) => match number.as_i64() {
            Some(value) => NodeValue::Integer(value),
            None => NodeValue::Unsupported("number", number.to_string()),
        },
        Value::String(value) => NodeValue::Text(value),
        Value::Array(items) => {
            NodeValue::Array(items.into_iter().map(|item| convert(text, item, line)).collect())
        }
        Value::Object(entries) => NodeValue::Table(
            entries
                .into_iter()
                .map(|(key, value)| {
                    let line = line_of(text, &key).or(line);
                    (key, convert(text, value, line))
                })
                .collect(),
        ),
    };
    Node { line, value }
}

/// The first line, from 1, that has `key` as a key without escapes.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let quoted = format!("\"{key}\"");
    text.match_indices(&quoted)
        .find(|(at, _)| text[at + quoted.len()..].trim_start().starts_with(':'))
        .map(|(at, _)| 1 + text[..at].bytes().filter(|byte| *byte == b'\n').count())
}

/// Replaces comments and trailing commas by spaces, so that lines and columns stay the same.
fn without_comments(text: &str) -> String {
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
    String::from_utf8_lossy(&out).into_owned()
}

/// Replaces the rest of the line by spaces; returns the last position that was replaced.
fn blank_line(out: &mut [u8], start: usize) -> usize {
    let end = out[start..].iter().position(|byte| *byte == b'\n').map_or(out.len(), |length| start + length);
    out[start..end].fill(b' ');
    end - 1
}
