//! The history: logs of the original into ours.

use std::{fs::File, net::IpAddr, path::Path};

use anyhow::Context;

use super::{
    programs,
    progress::Progress,
    report::{Report, SourceLine},
};
use ::import::{ImportError, Settings, Source, SourceReport, Target, import_source, preview_source};
use config::{Config, layout::Layout};
use daemon::monitor::max_log_bytes;
use known_programs::{KnownPrograms, Rank, RecordFile};
use model::{Event, EventKind, GeoInfo, ProcessContext, text::time};
use names::{GeoFiles, Geography};
use store::{ImportSource, LogBeforeImport, Writer};

/// Finds out what would be imported of a source.
pub(super) fn preview(
    source: &mut Source,
    log: (&[ImportSource], Option<&LogBeforeImport>),
    settings: &Settings,
    report: &mut Report,
) {
    let mut progress = Progress::new();
    let result = preview_source(source, log, settings, &mut |row, total| progress.show(row, total));
    progress.clear();
    add_to_report(source, result, report);
}

fn add_to_report(source: &Source, result: Result<SourceReport, ImportError>, report: &mut Report) {
    match result {
        Ok(result) => report.sources.push(SourceLine::new(source, result)),
        Err(error) => report.add_unreadable(source.path(), &error),
    }
}

/// An import into the log.
pub(super) struct Import {
    writer: Writer,
    record: RecordFile,
    geography: Geography,
    settings: Settings,
    max_bytes: Option<u64>,
    notes: Vec<String>,
}

impl Import {
    /// Opens the log and the known programs, as the owner of the log.
    ///
    /// # Errors
    /// The log cannot be opened.
    pub fn begin(layout: &Layout, config: &Config, settings: Settings) -> anyhow::Result<Self> {
        let mut writer = Writer::open(&layout.database)?;
        writer.begin_import()?;
        let (record, mut notes) = RecordFile::open(&layout.record_json);
        let files = GeoFiles {
            country: config.names.country_file.clone(),
            network: config.names.network_file.clone(),
        };
        let directory = layout.database.parent().context("the log has no directory")?;
        let (geography, problems) = Geography::open(&files, directory);
        notes.extend(problems);
        let max_bytes = max_log_bytes(config.log.retention_megabytes, &layout.database);
        Ok(Self { writer, record, geography, settings, max_bytes, notes })
    }

    /// Imports a source.
    pub fn add_source(&mut self, mut source: Source, report: &mut Report) {
        // Where the log has sums only, there is no room for more; the source before may have filled it.
        report.sums_before = self.writer.detail_since();
        self.settings.cutoff = self.settings.cutoff.max(report.sums_before.unwrap_or(i64::MIN));
        let known = self.record.known();
        let geography = &mut self.geography;
        let mut locate = |address: IpAddr| -> GeoInfo { geography.locate(address) };
        let mut observe = |context: &ProcessContext| observe(&mut known.lock(), context);
        let mut target = Target {
            writer: &mut self.writer,
            max_bytes: self.max_bytes,
            locate: &mut locate,
            observe: &mut observe,
        };
        let mut progress = Progress::new();
        let result = import_source(&mut source, &mut target, &self.settings, &mut |row, total| {
            progress.show(row, total)
        });
        progress.clear();
        if let Ok(SourceReport { counts, .. }) = &result
            && counts.imported > 0
        {
            self.add_event(&source, counts.imported, counts.span);
        }
        add_to_report(&source, result, report);
    }

    fn add_event(&mut self, source: &Source, records: u64, span: Option<(i64, i64)>) {
        let span = span.map_or(String::new(), |(first, last)| {
            format!(", {} to {}", time::local(first), time::local(last))
        });
        let text = format!(
            "{records} records of the original picosnitch were imported from {}{span}.",
            source.path().display()
        );
        let mut event = Event::new(EventKind::Log, time::now(), text);
        (event.subject, event.count) = ("import".to_owned(), records);
        event.begin = None;
        if let Err(error) = self.writer.add_import_event(&event) {
            self.notes.push(model::error_chain(&error));
        }
    }

    /// Adds the known programs of the original.
    pub fn add_known_programs(&mut self, path: &Path, file: File, report: &mut Report) {
        report.known_programs.push(programs::add(&mut self.record, path, file));
    }

    /// Writes the known programs, and makes the sums of the records.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn finish(mut self, report: &mut Report) -> anyhow::Result<()> {
        let saved = self.record.finish();
        report.notes.append(&mut self.notes);
        report.notes.extend(saved.notes);
        report.notes.extend(self.record.known().lock().take_reached_bounds());
        saved.result.context("cannot write record.json; run the command again")?;
        let mut progress = Progress::new();
        let now = time::now();
        while self.writer.roll_up_import(now)? {
            progress.say("Making sums of the records ...");
        }
        progress.clear();
        for event in self.writer.take_events() {
            self.writer.add_import_event(&event)?;
        }
        report.notes.extend(self.writer.take_notices());
        self.writer.checkpoint()?;
        Ok(())
    }
}

/// Makes the programs of a context known, so that there is no alert about them later.
fn observe(known: &mut KnownPrograms, context: &ProcessContext) {
    let ProcessContext { program, parent, grandparent, .. } = context;
    for (rank, program) in Rank::ALL.into_iter().zip([program, parent, grandparent]) {
        if !program.path.is_empty() {
            known.observe(rank, &program.path, &program.name);
            if let Some(digest) = program.sha256 {
                known.observe_digest(&program.path, digest);
            }
        }
    }
}
