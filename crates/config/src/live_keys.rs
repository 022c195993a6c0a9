//! The keys that take effect while the daemon runs, when it reads its configuration anew. All others need a restart.

use super::sections::{Config, Log, Monitor};

/// The section that the daemon does not use: `picosnitch dash` reads it at its own start.
pub const SECTION_OF_DASH: &str = "web";

impl Config {
    /// This configuration with the values of `new` for the keys that take effect while the daemon runs.
    #[must_use]
    pub fn with_live_keys(&self, new: &Self) -> Self {
        let Self { monitor, log, notifications: _, virustotal, names, web: _, export, without_effect: _ } =
            self;
        let new = new.clone();
        Self {
            monitor: Monitor {
                ring_buffer_pages: monitor.ring_buffer_pages,
                rlimit_nofile: monitor.rlimit_nofile,
                ..new.monitor
            },
            log: Log { sqlite: log.sqlite, server: log.server.clone(), ..new.log },
            // Look-ups have a schedule that is in the middle of its work.
            virustotal: virustotal.clone(),
            // The recorder has given up the right to read other files, and another process asks name servers.
            names: names.clone(),
            // The exporter has given up the right to connect to other ports.
            export: export.clone(),
            ..new
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of all keys.
    fn keys(prefix: &str, value: &serde_json::Value, out: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(entries) => {
                for (name, value) in entries {
                    let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                    keys(&key, value, out);
                }
            }
            _ => out.push(prefix.to_owned()),
        }
    }

    #[test]
    fn the_documentation_says_of_each_key_when_it_takes_effect() {
        let text = include_str!("../../../docs/service.md");
        let table = text.split("| takes effect |").nth(1).unwrap();
        let mut all = Vec::new();
        keys("", &serde_json::to_value(Config::default()).unwrap(), &mut all);
        assert!(all.len() > 20);
        for key in all {
            assert!(table.contains(&format!("`{key}`")), "{key}");
        }
    }

    #[test]
    fn keys_of_the_start_stay_and_all_others_are_new() {
        let old = Config::default();
        let text = "[monitor]\nring_buffer_pages = 128\nevery_exe = true\n[log]\nsqlite = false\nretention_days = 7\n\
                    ignore = [22]\n[virustotal]\napi_key = \"x\"\n[names]\nreverse_dns = true\n";
        let new = Config::from_toml(text).unwrap();
        let effective = old.with_live_keys(&new);
        let mut expected = new.clone();
        expected.monitor.ring_buffer_pages = old.monitor.ring_buffer_pages;
        expected.log.sqlite = true;
        expected.virustotal = old.virustotal.clone();
        expected.names.reverse_dns = false;
        assert_eq!(effective, expected);
        assert_eq!(old.with_live_keys(&old), old);
        assert_eq!(new.with_live_keys(&new), new);
    }
}
