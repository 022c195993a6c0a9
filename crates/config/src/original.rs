//! The configuration files of the original picosnitch: keys of its `config.json` that have no effect here, and its
//! `config.toml`, which has other keys than that of this picosnitch at the same place.

use super::{
    node::{Node, NodeValue},
    problem::Problem,
    table_reader::TableReader,
};

/// Keys of `config.json` that have no effect, in groups with the reason. The original writes all keys with their defaults, so
/// nearly every file has them.
const WITHOUT_EFFECT: [(&[&str], &str); 5] = [
    (&["Dash scroll zoom", "Dash theme"], "there is no web page; `picosnitch view` shows the log"),
    (
        &["GeoIP lookup"],
        "countries are always looked up, in a file of this machine and never over the network",
    ),
    (&["Set st_dev mask"], "executables are identified by the device numbers of the kernel itself"),
    (
        &["Data owner", "Data group", "Data mode"],
        "the log belongs to the user picosnitch, and its group may read it",
    ),
    (&["Desktop user"], "every user who is logged in to a desktop is notified"),
];

/// The keys of `config.json` with those of this picosnitch.
pub(super) const JSON_KEYS: [(&str, &str); 17] = [
    ("Bandwidth monitor", "monitor.bandwidth"),
    ("DB retention (days)", "log.retention_days"),
    ("DB sql log", "log.sqlite"),
    ("DB sql server", "log.server"),
    ("DB text log", "log.text"),
    ("DB write limit (seconds)", "log.write_limit_seconds"),
    ("Desktop notifications", "notifications.desktop"),
    ("Every exe (not just conns)", "monitor.every_exe"),
    ("Log addresses", "log.addresses"),
    ("Log commands", "log.commands"),
    ("Log ignore", "log.ignore"),
    ("Log ports", "log.ports"),
    ("Perf ring buffer (pages)", "monitor.ring_buffer_pages"),
    ("Set RLIMIT_NOFILE", "monitor.rlimit_nofile"),
    ("VT API key", "virustotal.api_key"),
    ("VT file upload", "virustotal.file_upload"),
    ("VT request limit (seconds)", "virustotal.request_limit_seconds"),
];

/// Why a key of `config.json` has no effect; `None` if it has one, or is unknown.
pub(super) fn without_effect(key: &str) -> Option<&'static str> {
    WITHOUT_EFFECT.iter().find(|(keys, _)| keys.contains(&key)).map(|(_, why)| *why)
}

/// What a key of the `config.toml` of the original 2.x is.
pub(super) enum TomlKey {
    /// The same as this key of `config.json`.
    Json(&'static str),
    /// Some of the rules of `Log ignore`.
    Ignore,
    /// It has no effect, for this reason.
    WithoutEffect(&'static str),
}

/// What a key with its table is; `None` if the original has no such key.
pub(super) fn toml_key(name: &str) -> Option<TomlKey> {
    Some(match name {
        "database.enabled" => TomlKey::Json("DB sql log"),
        "database.retention_days" => TomlKey::Json("DB retention (days)"),
        "database.write_limit_seconds" => TomlKey::Json("DB write limit (seconds)"),
        "database.text_log" => TomlKey::Json("DB text log"),
        "database.remote" => TomlKey::Json("DB sql server"),
        "log.addresses" => TomlKey::Json("Log addresses"),
        "log.commands" => TomlKey::Json("Log commands"),
        "log.ports" => TomlKey::Json("Log ports"),
        "log.ignore_ports" | "log.ignore_domains" | "log.ignore_ips" | "log.ignore_sha256" => TomlKey::Ignore,
        "desktop.notifications" => TomlKey::Json("Desktop notifications"),
        "monitoring.every_exe" => TomlKey::Json("Every exe (not just conns)"),
        "monitoring.perf_ring_buffer_pages" => TomlKey::Json("Perf ring buffer (pages)"),
        "monitoring.rlimit_nofile" => TomlKey::Json("Set RLIMIT_NOFILE"),
        "virustotal.api_key" => TomlKey::Json("VT API key"),
        "virustotal.file_upload" => TomlKey::Json("VT file upload"),
        "virustotal.request_limit_seconds" => TomlKey::Json("VT request limit (seconds)"),
        "data.owner" | "data.group" | "data.mode" => TomlKey::WithoutEffect(without_effect("Data owner")?),
        "desktop.user" => TomlKey::WithoutEffect(without_effect("Desktop user")?),
        "desktop.geoip_lookup" => TomlKey::WithoutEffect(without_effect("GeoIP lookup")?),
        "monitoring.st_dev_mask" => TomlKey::WithoutEffect(without_effect("Set st_dev mask")?),
        "monitoring.conn_map_max_entries" => TomlKey::WithoutEffect(
            "the table of flows has a fixed size, and what finds no room in it is reported",
        ),
        _ => return None,
    })
}

/// Takes the keys of `config.json` that have no effect, whatever their values are. Returns a sentence for each group that the file
/// has.
pub(super) fn take_keys_without_effect(top: &mut TableReader<'_>) -> Vec<String> {
    let mut sentences = Vec::new();
    for (keys, why) in WITHOUT_EFFECT {
        let present: Vec<String> =
            keys.iter().filter(|key| top.take(key).is_some()).map(|key| format!("{key:?}")).collect();
        match present.as_slice() {
            [] => {}
            [key] => sentences.push(format!("{key} has no effect: {why}")),
            keys => sentences.push(format!("{} have no effect: {why}", keys.join(", "))),
        }
    }
    sentences
}

/// Keys of the `config.toml` of the original 2.x, by table, with the keys of this picosnitch; empty where there is none.
const TOML_KEYS: [(&str, &[(&str, &str)]); 7] = [
    (
        "database",
        &[
            ("enabled", "log.sqlite"),
            ("retention_days", "log.retention_days"),
            ("write_limit_seconds", "log.write_limit_seconds"),
            ("text_log", "log.text"),
        ],
    ),
    ("database.remote", &[("client", "log.server.client"), ("connections_table", "log.server.table_name")]),
    ("data", &[("owner", ""), ("group", ""), ("mode", "")]),
    (
        "log",
        &[
            ("addresses", "log.addresses"),
            ("commands", "log.commands"),
            ("ports", "log.ports"),
            ("ignore_ports", "log.ignore"),
            ("ignore_domains", "log.ignore"),
            ("ignore_ips", "log.ignore"),
            ("ignore_sha256", "log.ignore"),
        ],
    ),
    ("desktop", &[("user", ""), ("notifications", "notifications.desktop"), ("geoip_lookup", "")]),
    (
        "monitoring",
        &[
            ("every_exe", "monitor.every_exe"),
            ("perf_ring_buffer_pages", "monitor.ring_buffer_pages"),
            ("rlimit_nofile", "monitor.rlimit_nofile"),
            ("conn_map_max_entries", ""),
            ("st_dev_mask", ""),
        ],
    ),
    (
        "virustotal",
        &[
            ("api_key", "virustotal.api_key"),
            ("file_upload", "virustotal.file_upload"),
            ("request_limit_seconds", "virustotal.request_limit_seconds"),
        ],
    ),
];

/// Tables that only the original has, and that only this picosnitch has.
const ITS_TABLES: [&str; 4] = ["database", "data", "desktop", "monitoring"];
const OUR_TABLES: [&str; 3] = ["monitor", "notifications", "names"];

/// Recognises the `config.toml` of the original: it has a table or a rule that only the original has, and no table that only this
/// picosnitch has. The problem explains what to do, instead of one for each key.
pub(super) fn toml_problem(root: &Node) -> Option<Problem> {
    let is_its_rule = |name: &str| name.starts_with("ignore_");
    let log = entry(root, "log").map(entries).unwrap_or_default();
    let marks = entries(root).iter().filter(|(name, _)| ITS_TABLES.contains(&name.as_str()));
    let mark =
        marks.min_by_key(|(_, node)| node.line).or_else(|| log.iter().find(|(name, _)| is_its_rule(name)));
    let has_ours = entries(root).iter().any(|(name, _)| OUR_TABLES.contains(&name.as_str()));
    let (_, mark) = mark.filter(|_| !has_ours)?;
    let (mut mapped, mut dropped) = (Vec::new(), Vec::new());
    for (table, keys) in TOML_KEYS {
        let Some(node) = table.split('.').try_fold(root, entry) else { continue };
        for (key, ours) in keys.iter().filter(|(key, _)| entry(node, key).is_some()) {
            let full = format!("{table}.{key}");
            match *ours {
                "" => dropped.push(full),
                ours if ours == full => mapped.push(full),
                ours => mapped.push(format!("{full} is {ours} here")),
            }
        }
    }
    let mut message =
        "this is a configuration of the original picosnitch, whose tables and keys have other names. \
                       `sudo picosnitch import` brings it over with the history: it keeps this file as \
                       config.toml.original, and writes one with the same values. Or move it away: without a \
                       file the defaults hold, and the next start writes one with all keys and explanations"
            .to_owned();
    if !mapped.is_empty() {
        message += &format!(". Its keys: {}", mapped.join(", "));
    }
    if !dropped.is_empty() {
        message += &format!(". Without effect here: {}", dropped.join(", "));
    }
    Some(Problem { line: mark.line, message })
}

fn entries(node: &Node) -> &[(String, Node)] {
    match &node.value {
        NodeValue::Table(entries) => entries,
        _ => &[],
    }
}

fn entry<'a>(node: &'a Node, name: &str) -> Option<&'a Node> {
    entries(node).iter().find(|(key, _)| key == name).map(|(_, node)| node)
}
