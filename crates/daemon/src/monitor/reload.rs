//! Reads the configuration anew while the daemon records. A bad one changes nothing; keys that need a restart are named.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    context_ids::ContextUpdate,
    notifiers::Notifiers,
    recorder_settings::{keys_and_values, recorder_settings},
    state::Monitor,
};
use crate::{error::MonitorError, messages::ToRecorder, problems::print_to_stderr};
use capture::DrainMode;
use config::{Config, SECTION_OF_DASH};
use ipc::Channel;
use model::text::sanitize;

/// What a new configuration changes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    /// `key = value (was value)`, for keys that take effect at once.
    now: Vec<String>,
    /// The same for keys that take effect at the next start.
    at_restart: Vec<String>,
    /// The same for keys that `picosnitch dash` reads at its own start.
    of_dash: Vec<String>,
}

impl Monitor {
    /// Opens the logs again, and reads the configuration anew.
    pub(super) fn reload(&mut self) -> Result<(), MonitorError> {
        self.service.reloading();
        self.recorder.send(&ToRecorder::ReopenLogs, None)?;
        match Config::load(&self.layout) {
            Ok(loaded) => self.apply(&loaded.config)?,
            Err(errors) => {
                let errors = errors.to_string();
                self.refuse(&errors.lines().map(str::trim).collect::<Vec<_>>().join("; "))?;
            }
        }
        self.service.ready();
        Ok(())
    }

    /// Reports why a new configuration is not used.
    fn refuse(&mut self, why: &str) -> Result<(), MonitorError> {
        self.recorder.report(format!(
            "The configuration was read anew and is not used: {why}. The one before stays in force until it is corrected and \
             read again."
        ))
    }

    fn apply(&mut self, new: &Config) -> Result<(), MonitorError> {
        let effective = self.config.with_live_keys(new);
        let Some(text) = Changes::between(&self.config, &effective, new).sentence() else {
            print_to_stderr("the configuration was read anew: nothing has changed in it");
            return Ok(());
        };
        let settings = recorder_settings(&self.layout, &effective, None);
        let message = ToRecorder::NewSettings(Box::new(settings), text.clone());
        if let Err(error) = Channel::encode(&message) {
            return self.refuse(&format!("it is too long for the recorder, which takes 64 KiB ({error})"));
        }
        // The flows until now belong to the old configuration.
        self.drain(DrainMode::Regular)?;
        self.recorder.send(&message, None)?;
        // Command lines that were blanked are sent again, if they are to be logged now.
        let mut updates = Vec::new();
        self.contexts.renew(&mut updates);
        updates.into_iter().try_for_each(|update: ContextUpdate| self.recorder.send(&update.into(), None))?;
        self.every_exe = effective.monitor.every_exe;
        self.window = Duration::from_secs(u64::from(effective.log.write_limit_seconds));
        if self.notifiers.is_some() != effective.notifications.desktop {
            self.notifiers = effective.notifications.desktop.then(Notifiers::new);
        }
        self.config = effective;
        print_to_stderr(&sanitize::message(&text));
        for sentence in new.without_effect() {
            print_to_stderr(&sentence);
        }
        Ok(())
    }
}

impl Changes {
    /// The changes from `old` to `new`, of which `effective` takes effect at once.
    fn between(old: &Config, effective: &Config, new: &Config) -> Self {
        let values = |config: &Config| keys_and_values(config).into_iter().collect::<BTreeMap<_, _>>();
        let (old_values, effective_values, new_values) = (values(old), values(effective), values(new));
        let mut changes = Self::default();
        let keys: BTreeSet<&String> = old_values.keys().chain(new_values.keys()).collect();
        for key in keys {
            let (before, after) = (old_values.get(key), new_values.get(key));
            if before == after && !is_hidden_change(key, old, new) {
                continue;
            }
            let line = format!("{key} = {} (was {})", shown(after), shown(before));
            let list = match () {
                () if key.split('.').next() == Some(SECTION_OF_DASH) => &mut changes.of_dash,
                () if effective_values.get(key) == after && !is_hidden_change(key, effective, new) => {
                    &mut changes.now
                }
                () => &mut changes.at_restart,
            };
            list.push(line);
        }
        changes
    }

    /// One text about all changes; `None` without any.
    fn sentence(&self) -> Option<String> {
        let mut text = match self.now.is_empty() {
            false => format!("The configuration was changed: {}.", self.now.join(", ")),
            true => "The configuration was read anew.".to_owned(),
        };
        if !self.at_restart.is_empty() {
            text += &format!(
                " Only after a restart (`{}`) there will be: {}.",
                model::service::command("restart"),
                self.at_restart.join(", ")
            );
        }
        if !self.of_dash.is_empty() {
            text += &format!(" picosnitch dash uses at its next start: {}.", self.of_dash.join(", "));
        }
        (*self != Self::default()).then_some(text)
    }
}

/// Whether a secret has changed, whose text shows only that there is one.
fn is_hidden_change(key: &str, old: &Config, new: &Config) -> bool {
    match key {
        "virustotal.api_key" => old.virustotal.api_key != new.virustotal.api_key,
        "web.password_hash" => old.web.password_hash != new.web.password_hash,
        "log.server.password" => old.log.server != new.log.server,
        _ => key.ends_with(".password") && old.export != new.export,
    }
}

fn shown(value: Option<&String>) -> &str {
    match value.map(String::as_str) {
        None | Some("null") => "not set",
        Some(value) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(old: &str, new: &str) -> Changes {
        let [old, new] = [old, new].map(|text| Config::from_toml(text).unwrap());
        Changes::between(&old, &old.with_live_keys(&new), &new)
    }

    #[test]
    fn changes_are_told_by_when_they_take_effect() {
        let found = changes(
            "[log]\nretention_days = 7",
            "[log]\nretention_days = 8\nretention_megabytes = 50\nsqlite = false\n[web]\nport = 5101",
        );
        assert_eq!(
            found.now,
            ["log.retention_days = 8 (was 7)", "log.retention_megabytes = 50 (was not set)"]
        );
        assert_eq!(found.at_restart, ["log.sqlite = false (was true)"]);
        assert_eq!(found.of_dash, ["web.port = 5101 (was 5100)"]);
        let text = found.sentence().unwrap();
        assert!(
            text.starts_with("The configuration was changed: log.retention_days = 8 (was 7), log."),
            "{text}"
        );
        assert!(
            text.contains("Only after a restart (`sudo ") && text.contains("dash uses at its next start"),
            "{text}"
        );
        assert_eq!(changes("", "").sentence(), None);
    }

    #[test]
    fn what_is_secret_is_not_told_but_that_it_changed_is() {
        let found = changes("[virustotal]\napi_key = \"one\"", "[virustotal]\napi_key = \"two\"");
        assert_eq!(found.at_restart.len(), 1);
        let text = found.sentence().unwrap();
        assert!(
            text.contains("virustotal.api_key") && !text.contains("one") && !text.contains("two"),
            "{text}"
        );
        let found = changes("", "[log]\nignore = [\"hidden.example\"]");
        let text = found.sentence().unwrap();
        assert!(text.contains("log.ignore = 1 rules") && !text.contains("hidden.example"), "{text}");
    }
}
