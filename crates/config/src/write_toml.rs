//! Writes a `config.toml` with explanations: the default file, in which the values are replaced that differ from their defaults.

use super::{
    ignore::IgnoreRule,
    load::DEFAULT_TOML,
    sections::Config,
    server::{ServerKind, SqlServer, TlsMode},
};

/// The default file with the values of a configuration; of those keys that the original picosnitch has, too.
pub(super) fn with_values(config: &Config) -> String {
    let values = values(config);
    let (mut out, mut section) = (String::with_capacity(DEFAULT_TOML.len()), String::new());
    for line in DEFAULT_TOML.lines() {
        let plain = line.strip_prefix('#').unwrap_or(line);
        if let Some(name) = plain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
            let is_used =
                values.iter().any(|(key, _)| key.rsplit_once('.').is_some_and(|(of, _)| of == section));
            out.push_str(if is_used { plain } else { line });
        } else {
            let key = plain.split_once(" = ").map(|(key, _)| format!("{section}.{key}"));
            match key.and_then(|key| values.iter().find(|(known, _)| *known == key)) {
                Some((key, value)) => {
                    let name = key.rsplit_once('.').map_or(*key, |(_, name)| name);
                    out.push_str(&format!("{name} = {value}"));
                }
                None => out.push_str(line),
            }
        }
        out.push('\n');
    }
    out
}

/// The values that differ from their defaults, as TOML.
fn values(config: &Config) -> Vec<(&'static str, String)> {
    let (default, mut values) = (Config::default(), Vec::new());
    let mut add = |key, differs: bool, value: String| {
        if differs {
            values.push((key, value));
        }
    };
    let (monitor, log, virustotal) = (&config.monitor, &config.log, &config.virustotal);
    let booleans = [
        ("monitor.bandwidth", monitor.bandwidth, default.monitor.bandwidth),
        ("monitor.every_exe", monitor.every_exe, default.monitor.every_exe),
        ("log.sqlite", log.sqlite, default.log.sqlite),
        ("log.text", log.text, default.log.text),
        ("log.addresses", log.addresses, default.log.addresses),
        ("log.commands", log.commands, default.log.commands),
        ("log.ports", log.ports, default.log.ports),
        ("notifications.desktop", config.notifications.desktop, default.notifications.desktop),
        ("virustotal.file_upload", virustotal.file_upload, default.virustotal.file_upload),
    ];
    booleans.into_iter().for_each(|(key, value, default)| add(key, value != default, value.to_string()));
    let numbers = [
        ("monitor.ring_buffer_pages", monitor.ring_buffer_pages, default.monitor.ring_buffer_pages),
        ("log.retention_days", log.retention_days, default.log.retention_days),
        ("log.write_limit_seconds", log.write_limit_seconds, default.log.write_limit_seconds),
        (
            "virustotal.request_limit_seconds",
            virustotal.request_limit_seconds,
            default.virustotal.request_limit_seconds,
        ),
    ];
    numbers.into_iter().for_each(|(key, value, default)| add(key, value != default, value.to_string()));
    let limit = monitor.rlimit_nofile;
    add("monitor.rlimit_nofile", limit.is_some(), limit.unwrap_or_default().to_string());
    add("virustotal.api_key", !virustotal.api_key.0.is_empty(), text(&virustotal.api_key.0));
    let rules: Vec<String> = log.ignore.iter().map(rule).collect();
    add("log.ignore", !rules.is_empty(), format!("[{}]", rules.join(", ")));
    if let Some(server) = &log.server {
        values.extend(server_values(server));
    }
    values
}

fn server_values(server: &SqlServer) -> Vec<(&'static str, String)> {
    let client = match server.client {
        ServerKind::PostgreSql => "postgresql",
        ServerKind::MariaDb => "mariadb",
        ServerKind::MySql => "mysql",
        ServerKind::ClickHouse => "clickhouse",
    };
    let tls = match server.tls {
        TlsMode::Disable => "disable",
        TlsMode::Prefer => "prefer",
        TlsMode::Require => "require",
        TlsMode::VerifyCa => "verify-ca",
        TlsMode::VerifyFull => "verify-full",
    };
    vec![
        ("log.server.client", text(client)),
        ("log.server.host", text(&server.host)),
        ("log.server.port", server.port.to_string()),
        ("log.server.user", text(&server.user)),
        ("log.server.password", text(&server.password.0)),
        ("log.server.database", text(&server.database)),
        ("log.server.table_name", text(&server.table_name)),
        ("log.server.tls", text(tls)),
    ]
}

fn rule(rule: &IgnoreRule) -> String {
    match rule {
        IgnoreRule::Port(port) => port.to_string(),
        other => text(&other.to_string()),
    }
}

/// A TOML string. All escapes of JSON are escapes of TOML, which wants one more.
fn text(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}
