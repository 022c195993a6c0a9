//! The original's `config.json`: JSON with comments (`#`, `//`) and, tolerated, commas before a closing
//! bracket.

use serde_json::Value;

use super::{
    Config, Problem, Secret,
    ignore::{self, Spelling},
    node::{Node, Raw, Reader},
    server,
};

/// Reads the text of a `config.json`.
pub(super) fn read(text: &str) -> Result<Config, Vec<Problem>> {
    let plain = without_comments(text);
    let value = serde_json::from_str(&plain).map_err(|error| {
        // serde_json appends the position, which is the line that is told anyway.
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or(&message);
        // Column 0 is the end of the line before.
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

fn from_tree(problems: &mut Vec<Problem>, root: Node) -> Config {
    let mut config = Config::default();
    let mut top = Reader::new(problems, "", root);
    top.boolean("Bandwidth monitor", &mut config.monitor.bandwidth);
    if let Some(days) = top.integer("DB retention (days)", super::RETENTION_DAYS) {
        config.log.retention_days = days;
    }
    top.boolean("DB sql log", &mut config.log.sqlite);
    config.log.server = server::read_json(&mut top, "DB sql server");
    top.boolean("DB text log", &mut config.log.text);
    if let Some(seconds) = top.integer("DB write limit (seconds)", super::WRITE_LIMIT_SECONDS) {
        config.log.write_limit_seconds = seconds;
    }
    top.boolean("Desktop notifications", &mut config.notifications.desktop);
    top.boolean("Every exe (not just conns)", &mut config.monitor.every_exe);
    top.boolean("Log addresses", &mut config.log.addresses);
    top.boolean("Log commands", &mut config.log.commands);
    config.log.ignore = ignore::read(&mut top, "Log ignore", Spelling::Reversed);
    if let Some(pages) = super::ring_buffer_pages(&mut top, "Perf ring buffer (pages)") {
        config.monitor.ring_buffer_pages = pages;
    }
    config.monitor.rlimit_nofile = top.optional("Set RLIMIT_NOFILE", super::RLIMIT_NOFILE);
    if let Some(key) = top.secret("VT API key", super::API_KEY_ALLOWED, super::is_api_key) {
        config.virustotal.api_key = Secret(key);
    }
    top.boolean("VT file upload", &mut config.virustotal.file_upload);
    if let Some(seconds) = top.integer("VT request limit (seconds)", super::REQUEST_LIMIT_SECONDS) {
        config.virustotal.request_limit_seconds = seconds;
    }
    top.finish();
    config
}

fn convert(text: &str, value: Value, line: Option<usize>) -> Node {
    let raw = match value {
        Value::Null => Raw::Null,
        Value::Bool(value) => Raw::Boolean(value),
        Value::Number(number) => match number.as_i64() {
            Some(value) => Raw::Integer(value),
            None => Raw::Other("number", number.to_string()),
        },
        Value::String(value) => Raw::Text(value),
        Value::Array(items) => Raw::Array(items.into_iter().map(|item| convert(text, item, line)).collect()),
        Value::Object(entries) => Raw::Table(
            entries
                .into_iter()
                .map(|(key, value)| {
                    let line = line_of(text, &key).or(line);
                    (key, convert(text, value, line))
                })
                .collect(),
        ),
    };
    Node { line, raw }
}

/// The line, from 1, on which `key` is written as a key (if it is written without escapes).
fn line_of(text: &str, key: &str) -> Option<usize> {
    let quoted = format!("\"{key}\"");
    text.match_indices(&quoted)
        .find(|(at, _)| text[at + quoted.len()..].trim_start().starts_with(':'))
        .map(|(at, _)| 1 + text[..at].bytes().filter(|byte| *byte == b'\n').count())
}

/// Blanks comments and trailing commas, so that lines and columns stay where they are.
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

/// Blanks up to the end of the line; returns the last position that was blanked.
fn blank_line(out: &mut [u8], start: usize) -> usize {
    let end = out[start..].iter().position(|byte| *byte == b'\n').map_or(out.len(), |length| start + length);
    out[start..end].fill(b' ');
    end - 1
}
