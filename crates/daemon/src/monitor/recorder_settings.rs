//! The settings of the recorder, as they follow from the configuration and this machine.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::MetadataExt,
    path::Path,
};

use config::{Config, layout::Layout, log_rules::LogRules};
use model::Continuity;
use names::GeoFiles;
use serde_json::Value;

use crate::messages::{LookupSettings, ReporterSettings, Settings};

/// The largest log without `log.retention_megabytes`, bytes.
const DEFAULT_MAX_LOG_BYTES: u64 = 4_000_000_000;
/// The key of the rules about what is not logged.
const IGNORE_KEY: &str = "log.ignore";
/// Without `log.retention_megabytes` a log takes at most this part of its file system.
const DEFAULT_SHARE: u64 = 10;

/// `continuity` is `None` if nothing is left to the next run.
pub(super) fn recorder_settings(
    layout: &Layout,
    config: &Config,
    continuity: Option<Continuity>,
) -> Settings {
    let lookups = (!config.virustotal.api_key.0.is_empty()).then_some(LookupSettings {
        upload: config.virustotal.file_upload,
        request_limit_seconds: config.virustotal.request_limit_seconds,
    });
    Settings {
        database: config.log.sqlite.then(|| layout.database.clone()),
        error_log: layout.error_log.clone(),
        reporter: ReporterSettings {
            record_json: layout.record_json.clone(),
            exe_log: layout.exe_log.clone(),
            conn_log: config.log.text.then(|| layout.conn_log.clone()),
            desktop: config.notifications.desktop,
            lookups,
        },
        write_limit_seconds: config.log.write_limit_seconds,
        retention_days: config.log.retention_days,
        retention_bytes: max_log_bytes(config.log.retention_megabytes, &layout.database),
        fold_above: config.log.fold_above,
        network_namespace: network_namespace(),
        missing_walls: sandbox::missing_walls(),
        boot_id: boot_id(),
        configuration: configuration_lines(config),
        rules: LogRules::of(config),
        geography: GeoFiles {
            country: config.names.country_file.clone(),
            network: config.names.network_file.clone(),
        },
        continuity: continuity.unwrap_or_default(),
        has_journal: continuity.is_some() && config.log.sqlite,
        reverse_dns: config.names.reverse_dns,
    }
}

/// Bytes above which the log loses detail; `None` if it may have any size.
pub fn max_log_bytes(megabytes: Option<u32>, database: &Path) -> Option<u64> {
    if let Some(megabytes) = megabytes {
        return (megabytes > 0).then_some(u64::from(megabytes) * 1_000_000);
    }
    let directory = database.parent().unwrap_or(Path::new("/"));
    let size = nix::sys::statvfs::statvfs(directory)
        .map_or(u64::MAX, |found| found.blocks().saturating_mul(found.fragment_size()));
    Some((size / DEFAULT_SHARE).min(DEFAULT_MAX_LOG_BYTES))
}

/// The network namespace of the first process, which is that of systemd-resolved; 0 when unknown. A unit may run the monitor in
/// another one.
fn network_namespace() -> u32 {
    let namespace = fs::metadata("/proc/1/ns/net").or_else(|_| fs::metadata("/proc/self/ns/net"));
    let namespace = namespace.map_or(0, |namespace| namespace.ino());
    u32::try_from(namespace).unwrap_or(0)
}

/// The id of this boot (random(4)); empty when unknown.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// The configuration, a line for each key, in the order of the keys. Secrets are blanked.
fn configuration_lines(config: &Config) -> String {
    let lines = keys_and_values(config).into_iter().map(|(key, value)| format!("{key} = {value}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The keys of the configuration in their order, with their values as text. Secrets are blanked.
pub(super) fn keys_and_values(config: &Config) -> Vec<(String, String)> {
    let mut keys = Vec::new();
    if let Ok(tree) = serde_json::to_value(config) {
        add_keys("", &tree, &mut keys);
    }
    keys
}

fn add_keys(key: &str, value: &Value, keys: &mut Vec<(String, String)>) {
    match value {
        Value::Object(entries) => {
            for (name, value) in entries {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                add_keys(&key, value, keys);
            }
        }
        // What is not to be in the log is not told there either.
        Value::Array(rules) if key == IGNORE_KEY => {
            let mut hasher = DefaultHasher::new();
            value.to_string().hash(&mut hasher);
            keys.push((key.to_owned(), format!("{} rules ({:016x})", rules.len(), hasher.finish())));
        }
        value => keys.push((key.to_owned(), value.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_limit_is_what_is_configured_or_a_tenth_of_the_file_system() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("snitch.db");
        assert_eq!(max_log_bytes(Some(0), &database), None);
        assert_eq!(max_log_bytes(Some(500), &database), Some(500_000_000));
        let default = max_log_bytes(None, &database).unwrap();
        assert!(default > 0 && default <= DEFAULT_MAX_LOG_BYTES, "{default}");
    }

    #[test]
    fn a_configuration_is_a_line_for_each_key_without_secrets() {
        let config = Config::from_toml("[virustotal]\napi_key = \"secret\"").unwrap();
        let lines = configuration_lines(&config);
        assert!(lines.contains("log.retention_days = 365"), "{lines}");
        assert!(!lines.contains("\"secret\""), "{lines}");
        let config = Config::from_toml("[log]\nignore = [\"hidden.example\", 22]").unwrap();
        let lines = configuration_lines(&config);
        assert!(lines.contains("log.ignore = 2 rules (") && !lines.contains("hidden"), "{lines}");
    }
}
