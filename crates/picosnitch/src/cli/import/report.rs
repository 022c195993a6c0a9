//! What was imported, as text and as JSON.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{configuration::Outcome, files::Files, programs::KnownProgramsReport};
use ::import::{Counts, ImportError, Opened, Source, SourceReport};
use model::text::{
    sanitize, time,
    units::{ByteUnit, grouped},
};

/// What became of a log.
pub(super) struct SourceLine {
    path: PathBuf,
    opened: Opened,
    result: SourceReport,
}

impl SourceLine {
    pub fn new(source: &Source, result: SourceReport) -> Self {
        Self { path: source.path().to_owned(), opened: source.opened(), result }
    }
}

/// What was imported, or would be.
pub(super) struct Report {
    is_preview: bool,
    pub retention_days: u32,
    /// Before this time the log has sums only.
    pub sums_before: Option<i64>,
    pub sources: Vec<SourceLine>,
    unreadable: Vec<(PathBuf, String)>,
    pub known_programs: Vec<KnownProgramsReport>,
    pub configuration: Option<Outcome>,
    left_out: Vec<(PathBuf, &'static str)>,
    pub notes: Vec<String>,
}

impl Report {
    pub fn new(files: &Files, is_preview: bool) -> Self {
        Self {
            is_preview,
            retention_days: 0,
            sums_before: None,
            sources: Vec::new(),
            unreadable: Vec::new(),
            known_programs: Vec::new(),
            configuration: None,
            left_out: files.left_out.clone(),
            notes: Vec::new(),
        }
    }

    /// Adds a log that cannot be read at all.
    pub fn add_unreadable(&mut self, path: &Path, error: &ImportError) {
        if matches!(error, ImportError::OwnLog(_)) {
            return self
                .left_out
                .push((path.to_owned(), "it is a log of this picosnitch, not of the original"));
        }
        self.unreadable.push((path.to_owned(), model::error_chain(error)));
    }

    /// Whether nothing failed, and there was anything.
    pub fn is_complete(&self) -> bool {
        let has_any =
            !self.sources.is_empty() || !self.known_programs.is_empty() || self.configuration.is_some();
        has_any
            && self.unreadable.is_empty()
            && self.sources.iter().all(|source| source.result.error.is_none())
            && self.known_programs.iter().all(|programs| programs.error.is_none())
    }

    pub fn text(&self) -> String {
        let mut lines = Vec::new();
        for source in &self.sources {
            self.add_source(source, &mut lines);
        }
        for (path, error) in &self.unreadable {
            lines.push(format!("{} is not imported: {}", show(path), sanitize::message(error)));
        }
        for programs in &self.known_programs {
            let path = show(&programs.path);
            lines.push(match self.is_preview {
                true => format!("{path}: {} known programs", grouped(programs.has as u64)),
                false => {
                    format!("{path}: {} programs are known now that were not", grouped(programs.new as u64))
                }
            });
            lines.extend(programs.error.iter().map(|error| format!("  {}", sanitize::message(error))));
        }
        if let Some(configuration) = &self.configuration {
            lines.extend(configuration.text(self.is_preview));
        }
        for (path, why) in &self.left_out {
            lines.push(format!("{} is not imported: {why}", show(path)));
        }
        lines.extend(self.notes.iter().map(|note| sanitize::message(note)));
        lines.push(match (self.is_preview, self.is_complete()) {
            (true, _) => "Nothing was changed (--dry-run).".to_owned(),
            (false, true) => "Done. Nothing of the original's files was changed.".to_owned(),
            (false, false) => {
                "Not all could be imported: see above. What was imported stays, and the command goes on when it is repeated."
                    .to_owned()
            }
        });
        if let Some(kept) = self.configuration.as_ref().and_then(Outcome::kept)
            && let Some(last) = lines.last_mut()
        {
            last.push_str(&format!(" But its configuration is {} now.", show(kept)));
        }
        lines.join("\n") + "\n"
    }

    fn add_source(&self, source: &SourceLine, lines: &mut Vec<String>) {
        let SourceLine { path, opened, result } = source;
        let counts = &result.counts;
        lines.push(format!("{} ({})", show(path), result.format));
        if *opened == Opened::Copied {
            lines.push(
                "  it was read from a copy, since its last changes are in a journal beside it; run the original once more, or \
                 leave it as it is"
                    .to_owned(),
            );
        }
        let would = if self.is_preview { "would be " } else { "" };
        let again = match (result.is_known, counts.imported) {
            (true, 0) => ": all that it has was imported before",
            (true, _) => ", which is what was not imported before",
            (false, _) => "",
        };
        let span = counts.span.map_or(String::new(), |(first, last)| {
            format!(", {} to {}", time::local(first), time::local(last))
        });
        lines.push(format!("  {} records {would}imported{span}{again}", grouped(counts.imported)));
        if counts.imported > 0 {
            let unit = ByteUnit::Decimal;
            lines.push(format!(
                "  {} connections, {} sent, {} received. {}",
                grouped(counts.connections),
                unit.write(counts.sent),
                unit.write(counts.received),
                result.format.connections()
            ));
        }
        if counts.executions > 0 {
            lines.push(format!(
                "  {} are about executed programs (port -1), which have no connections",
                grouped(counts.executions)
            ));
        }
        lines.extend(
            counts.odd.iter().map(|(oddity, count)| format!("  {} {}", grouped(*count), oddity.sentence())),
        );
        self.add_left_out(counts, lines);
        if let Some(error) = &result.error {
            lines.push(format!("  it ended early: {}", sanitize::message(&model::error_chain(&**error))));
        }
    }

    /// Rows that were not imported, and why.
    fn add_left_out(&self, counts: &Counts, lines: &mut Vec<String>) {
        if counts.present > 0 {
            lines.push(format!(
                "  {} rows are left out: the log has their records already, from another file of the original or a damaged log",
                grouped(counts.present)
            ));
        }
        if counts.older > 0 {
            let why = match self.sums_before {
                Some(since) => format!(
                    "of a time before {}, for which the log keeps sums only, since it reached its size limit \
                     (log.retention_megabytes), or older than {} days (log.retention_days)",
                    time::local(since),
                    self.retention_days
                ),
                None => format!(
                    "older than {} days: to have them, raise log.retention_days in the configuration, and import again",
                    self.retention_days
                ),
            };
            lines.push(format!("  {} rows are left out: they are {why}", grouped(counts.older)));
        }
        if counts.future > 0 {
            lines.push(format!(
                "  {} rows are left out: their time has not come yet, so the clock was wrong",
                grouped(counts.future)
            ));
        }
        if counts.unreadable > 0 {
            lines.push(format!(
                "  {} rows are left out: their time cannot be read",
                grouped(counts.unreadable)
            ));
        }
    }

    pub fn json(&self) -> String {
        let sources: Vec<Value> = self.sources.iter().map(json_source).collect();
        let unreadable: Vec<Value> = self
            .unreadable
            .iter()
            .map(|(path, error)| json!({"path": path.to_string_lossy(), "error": error}))
            .collect();
        let programs: Vec<Value> = self
            .known_programs
            .iter()
            .map(|programs| {
                json!({
                    "path": programs.path.to_string_lossy(),
                    "new": programs.new,
                    "has": programs.has,
                    "error": programs.error,
                })
            })
            .collect();
        let left_out: Vec<Value> = self
            .left_out
            .iter()
            .map(|(path, why)| json!({"path": path.to_string_lossy(), "why": why}))
            .collect();
        let document = json!({
            "complete": self.is_complete(),
            "dry_run": self.is_preview,
            "retention_days": self.retention_days,
            "sums_before": self.sums_before,
            "logs": sources,
            "unreadable": unreadable,
            "known_programs": programs,
            "configuration": self.configuration.as_ref().map(Outcome::json),
            "left_out": left_out,
            "notes": self.notes,
        });
        format!("{}\n", sanitize::json_document(&format!("{document:#}")))
    }
}

fn json_source(source: &SourceLine) -> Value {
    let SourceLine { path, opened, result } = source;
    let counts = &result.counts;
    let odd: Map<String, Value> = counts
        .odd
        .iter()
        .filter_map(|(oddity, count)| {
            Some((serde_json::to_value(oddity).ok()?.as_str()?.to_owned(), (*count).into()))
        })
        .collect();
    json!({
        "path": path.to_string_lossy(),
        "format": result.format.to_string(),
        "opened": opened,
        "known": result.is_known,
        "imported": counts.imported,
        "connections": counts.connections,
        "sent": counts.sent,
        "received": counts.received,
        "executions": counts.executions,
        "first": counts.span.map(|span| span.0),
        "last": counts.span.map(|span| span.1),
        "present": counts.present,
        "older": counts.older,
        "future": counts.future,
        "unreadable": counts.unreadable,
        "odd": odd,
        "error": result.error.as_ref().map(|error| model::error_chain(&**error)),
    })
}

fn show(path: &Path) -> String {
    sanitize::terminal(path.as_os_str().as_encoded_bytes())
}
