//! The configuration of the original: it is written as ours if there is none.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde_json::{Value, json};

use super::files::Files;
use config::{
    Config, ConfigErrors, KeyFate, OriginalConfig, Source, is_original_toml, layout::Layout, value_text,
};
use model::text::sanitize;

/// A larger file is no configuration.
const MAX_BYTES: u64 = 1 << 20;

/// The configuration of the original.
pub(super) struct Configuration(Option<(PathBuf, OriginalConfig)>);

/// What became of it, or would become of it.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    source: PathBuf,
    target: PathBuf,
    /// It is written, or would be: there is none of ours.
    is_new: bool,
    /// The name under which the original's was kept, at the place of ours.
    kept: Option<PathBuf>,
    /// Each key of the original with what it is here, and the value of ours if it differs.
    keys: Vec<(String, KeyFate, Option<String>)>,
    notes: Vec<String>,
}

impl Configuration {
    /// Reads the configuration that was found, if any.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(files: &Files, _layout: &Layout) -> anyhow::Result<Self> {
        let Some((path, of_2)) = &files.configuration else { return Ok(Self(None)) };
        let name = sanitize::terminal(path.as_os_str().as_encoded_bytes());
        let read = || -> anyhow::Result<String> {
            anyhow::ensure!(fs::metadata(path)?.len() <= MAX_BYTES, "it is larger than 1 MiB");
            Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
        };
        let text = read().with_context(|| format!("cannot read the configuration {name}"))?;
        let parsed = if *of_2 { OriginalConfig::from_toml(&text) } else { OriginalConfig::from_json(&text) };
        let parsed = parsed.map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(|problem| problem.message.clone()).collect();
            anyhow::anyhow!(
                "the configuration {name} cannot be read: {}; mend it, or import the other files one by one",
                problems.join("; ")
            )
        })?;
        Ok(Self(Some((path.clone(), parsed))))
    }

    /// The configuration that will hold after the import.
    ///
    /// # Errors
    /// That of this picosnitch is bad.
    pub fn effective(&self, layout: &Layout) -> Result<Config, ConfigErrors> {
        match &self.0 {
            Some((_, read)) if is_free(layout) => Ok(read.config.clone()),
            _ => Ok(Config::load(layout)?.config),
        }
    }

    /// Writes the configuration if there is none. Returns whether it did, and the name under which one of the original at the
    /// place of ours was kept.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, layout: &Layout) -> anyhow::Result<Option<Option<PathBuf>>> {
        match &self.0 {
            Some((_, read)) if is_free(layout) => {
                let path = layout.config.display();
                read.write(&layout.config).map(Some).with_context(|| format!("cannot write {path}"))
            }
            _ => Ok(None),
        }
    }

    /// What became of it; `written` is what [`Configuration::write`] returned, `None` before that.
    pub fn outcome(&self, layout: &Layout, written: Option<Option<PathBuf>>) -> Option<Outcome> {
        let (source, read) = self.0.as_ref()?;
        let is_new = written.is_some() || is_free(layout);
        let ours = if is_new { None } else { Config::load(layout).ok().map(|loaded| loaded.config) };
        let keys = read.keys.iter().map(|key| {
            let differs = match &key.fate {
                KeyFate::Becomes { key, value } => {
                    ours.as_ref().map(|ours| value_text(ours, key)).filter(|ours| ours != value)
                }
                _ => None,
            };
            (key.name.clone(), key.fate.clone(), differs)
        });
        Some(Outcome {
            source: source.clone(),
            target: layout.config.clone(),
            is_new,
            kept: written.flatten(),
            keys: keys.collect(),
            notes: read.notes.clone(),
        })
    }
}

/// Whether there is no configuration of this picosnitch: none at all, or one of the original at the place of ours.
fn is_free(layout: &Layout) -> bool {
    if layout.config_given {
        return false;
    }
    match fs::read_to_string(&layout.config) {
        Ok(text) => is_original_toml(&text),
        Err(_) => matches!(Config::load(layout), Ok(loaded) if matches!(loaded.source, Source::Defaults(_))),
    }
}

impl Outcome {
    /// The name under which a file of the original was kept.
    pub fn kept(&self) -> Option<&Path> {
        self.kept.as_deref()
    }

    pub fn text(&self, is_preview: bool) -> Vec<String> {
        let would = if is_preview { "would be" } else { "is" };
        let show = |path: &Path| sanitize::terminal(path.as_os_str().as_encoded_bytes());
        let (source, target) = (show(&self.source), show(&self.target));
        let mut lines = vec![match self.is_new {
            true => format!("Configuration: {target} {would} written with the values of {source}"),
            false => format!("Configuration: {target} stays as it is; {source} has"),
        }];
        if let Some(kept) = &self.kept {
            lines.push(format!("  the file of the original that was there is kept as {}", show(kept)));
        }
        for (name, fate, ours) in &self.keys {
            let name = sanitize::message(name);
            lines.push(match (fate, ours) {
                (KeyFate::Becomes { key, value }, None) => {
                    format!("  {name}: {key} = {}", sanitize::message(value))
                }
                (KeyFate::Becomes { key, value }, Some(ours)) => {
                    format!(
                        "  {name}: {key} = {}, but it is {} here",
                        sanitize::message(value),
                        sanitize::message(ours)
                    )
                }
                (KeyFate::WithoutEffect(why), _) => format!("  {name} has no effect here: {why}"),
                (KeyFate::Refused(why), _) => {
                    format!("  {name} is left out: {}", sanitize::message(why))
                }
            });
        }
        lines.extend(self.notes.iter().map(|note| format!("  {}", sanitize::message(note))));
        lines
    }

    pub fn json(&self) -> Value {
        let keys: Vec<Value> = self
            .keys
            .iter()
            .map(|(name, fate, ours)| match fate {
                KeyFate::Becomes { key, value } => {
                    json!({"name": name, "key": key, "value": value, "here": ours})
                }
                KeyFate::WithoutEffect(why) => json!({"name": name, "without_effect": why}),
                KeyFate::Refused(why) => json!({"name": name, "refused": why}),
            })
            .collect();
        json!({
            "source": self.source.to_string_lossy(),
            "target": self.target.to_string_lossy(),
            "written": self.is_new,
            "kept_as": self.kept.as_ref().map(|path| path.to_string_lossy()),
            "keys": keys,
            "notes": self.notes,
        })
    }
}
