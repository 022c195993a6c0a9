//! Parses `config.toml`.

use std::path::PathBuf;

use toml::de::{DeTable, DeValue};

use super::{
    ignore::{self, DomainOrder},
    node::{BYTE_ORDER_MARK, Node, NodeValue},
    original,
    problem::{Problem, without_problems},
    ranges,
    secret::Secret,
    sections::{Config, Web},
    server,
    table_reader::TableReader,
};

/// Reads the text of a `config.toml`.
pub(super) fn parse(text: &str) -> Result<Config, Vec<Problem>> {
    let root = tree(text)?;
    if let Some(problem) = original::toml_problem(&root) {
        return Err(vec![problem]);
    }
    let mut problems = Vec::new();
    let config = from_tree(&mut problems, root);
    without_problems(config, problems)
}

/// Reads the text as a tree.
///
/// # Errors
/// It is no TOML.
pub(super) fn tree(text: &str) -> Result<Node, Vec<Problem>> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // Problems of the values that could be recovered from a broken file would only mislead.
        return Err(errors
            .iter()
            .map(|error| Problem {
                line: error.span().map(|span| line_at(text, span.start)),
                message: format!("not valid TOML: {}", error.message().replace('\n', ", ")),
            })
            .collect());
    }
    Ok(Node { line: None, value: convert_table(text, table.get_ref()) })
}

/// Reads every key of the tree.
fn from_tree(problems: &mut Vec<Problem>, root: Node) -> Config {
    let mut config = Config::default();
    let mut top = TableReader::new(problems, "", root);

    let mut table = top.table("monitor");
    table.boolean("bandwidth", &mut config.monitor.bandwidth);
    table.boolean("every_exe", &mut config.monitor.every_exe);
    if let Some(pages) = ranges::ring_buffer_pages(&mut table, "ring_buffer_pages") {
        config.monitor.ring_buffer_pages = pages;
    }
    config.monitor.rlimit_nofile = table.integer("rlimit_nofile", ranges::RLIMIT_NOFILE);
    table.finish();

    let mut table = top.table("log");
    table.boolean("sqlite", &mut config.log.sqlite);
    table.boolean("text", &mut config.log.text);
    if let Some(days) = table.integer("retention_days", ranges::RETENTION_DAYS) {
        config.log.retention_days = days;
    }
    config.log.retention_megabytes = ranges::retention_megabytes(&mut table, "retention_megabytes");
    if let Some(seconds) = table.integer("write_limit_seconds", ranges::WRITE_LIMIT_SECONDS) {
        config.log.write_limit_seconds = seconds;
    }
    if let Some(groups) = table.integer("fold_above", ranges::FOLD_ABOVE) {
        config.log.fold_above = groups;
    }
    table.boolean("addresses", &mut config.log.addresses);
    table.boolean("commands", &mut config.log.commands);
    table.boolean("ports", &mut config.log.ports);
    config.log.ignore = ignore::read_rules(&mut table, "ignore", DomainOrder::Forward);
    if let Some(node) = table.take("server") {
        config.log.server = server::read_toml(&mut table, "server", node);
    }
    table.finish();

    let mut table = top.table("notifications");
    table.boolean("desktop", &mut config.notifications.desktop);
    table.finish();

    let mut table = top.table("virustotal");
    if let Some(key) = table.secret("api_key", ranges::API_KEY_ALLOWED, ranges::is_api_key) {
        config.virustotal.api_key = Secret(key);
    }
    table.boolean("file_upload", &mut config.virustotal.file_upload);
    if let Some(url) = table.text("url", ranges::API_URL_ALLOWED, ranges::is_api_url) {
        config.virustotal.url = url;
    }
    if let Some(seconds) = table.integer("request_limit_seconds", ranges::REQUEST_LIMIT_SECONDS) {
        config.virustotal.request_limit_seconds = seconds;
    }
    table.finish();

    let mut table = top.table("names");
    let file = |text: String| Some(PathBuf::from(text));
    config.names.country_file =
        table.text("country_file", ranges::FILE_ALLOWED, ranges::is_file_path).and_then(file);
    config.names.network_file =
        table.text("network_file", ranges::FILE_ALLOWED, ranges::is_file_path).and_then(file);
    table.boolean("reverse_dns", &mut config.names.reverse_dns);
    table.finish();

    web(&mut top, &mut config.web);
    config.export = server::read_exports(&mut top);
    top.finish();
    config
}

/// Reads the section `[web]`.
fn web(top: &mut TableReader<'_>, web: &mut Web) {
    let mut table = top.table("web");
    if let Some(host) = table.text("host", ranges::LISTEN_HOST_ALLOWED, ranges::is_listen_host) {
        web.host = host;
    }
    if let Some(port) = table.integer("port", ranges::PORT) {
        web.port = port;
    }
    if let Some(name) = table.text("host_name", ranges::HOST_NAME_ALLOWED, ranges::is_host_name) {
        web.host_name = name;
    }
    let file = |text: String| Some(PathBuf::from(text));
    web.certificate = table.text("certificate", ranges::FILE_ALLOWED, ranges::is_file_path).and_then(file);
    web.key = table.text("key", ranges::FILE_ALLOWED, ranges::is_file_path).and_then(file);
    if let Some(hash) = table.secret("password_hash", ranges::PASSWORD_HASH_ALLOWED, ranges::is_password_hash)
    {
        web.password_hash = Secret(hash);
    }
    table.finish();
}

fn convert_table(text: &str, table: &DeTable<'_>) -> NodeValue {
    let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        // The line of the key, since the value of the table `[log]` begins below it.
        let key: &toml::Spanned<std::borrow::Cow<'_, str>> = key;
        let line = Some(line_at(text, key.span().start));
        (key.get_ref().to_string(), Node { line, value: convert(text, value.get_ref()) })
    };
    NodeValue::Table(table.iter().map(entry).collect())
}

fn convert(text: &str, value: &DeValue<'_>) -> NodeValue {
    match value {
        DeValue::Boolean(value) => NodeValue::Boolean(*value),
        DeValue::Integer(value) => match i64::from_str_radix(value.as_str(), value.radix()) {
            Ok(value) => NodeValue::Integer(value),
            Err(_) => NodeValue::Unsupported("integer", value.as_str().to_owned()),
        },
        DeValue::String(value) => NodeValue::Text(value.to_string()),
        DeValue::Float(value) => NodeValue::Unsupported("number", value.as_str().to_owned()),
        DeValue::Datetime(value) => NodeValue::Unsupported("date", value.to_string()),
        DeValue::Array(items) => NodeValue::Array(
            items
                .iter()
                .map(|item| Node {
                    line: Some(line_at(text, item.span().start)),
                    value: convert(text, item.get_ref()),
                })
                .collect(),
        ),
        DeValue::Table(table) => convert_table(text, table),
    }
}

/// The line, from 1, of a byte offset.
fn line_at(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
}
