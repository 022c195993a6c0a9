//! The import of one source: reads its rows from where the last import ended, and writes their records.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use calendar::TimeZone;
use model::{Address, GeoInfo, ProcessContext, Record};
use serde::Serialize;
use store::{
    ImportMarker, ImportSource, ImportWindow, LogBeforeImport, RecordsBeforeImport, StoreError, Writer,
};

use crate::{
    error::ImportError,
    fields::ReadRow,
    local_clock::LocalClock,
    oddity::{Oddities, Oddity},
    resume::find_known,
    source::{Format, Source},
};

/// Rows of one transaction.
const ROWS: usize = 8192;
/// Contexts of which it is remembered that they were observed.
const MAX_OBSERVED: usize = 4096;
/// Seconds by which a row may be later than now: the zone of its time may be wrong.
const MAX_FUTURE: i64 = 24 * 60 * 60;

/// How rows are imported.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The zone of local times.
    pub zone: TimeZone,
    /// Rows before this time are left out, unix seconds UTC.
    pub cutoff: i64,
    /// The present time, unix seconds UTC.
    pub now: i64,
}

/// Where records go.
pub struct Target<'a> {
    /// The log.
    pub writer: &'a mut Writer,
    /// Bytes that the log may have.
    pub max_bytes: Option<u64>,
    /// Finds country and network of an address.
    pub locate: &'a mut dyn FnMut(IpAddr) -> GeoInfo,
    /// Takes each context of the records, once at least.
    pub observe: &'a mut dyn FnMut(&ProcessContext),
}

/// How many rows there were, and what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Records that were written.
    pub imported: u64,
    /// Rows whose records the log has already: from another file, or from a damaged log.
    pub present: u64,
    /// Rows that are older than what the log keeps.
    pub older: u64,
    /// Rows of a time that has not come yet.
    pub future: u64,
    /// Rows that have no readable time.
    pub unreadable: u64,
    /// Of the records: those about an executed program.
    pub executions: u64,
    /// Connections of the records.
    pub connections: u64,
    /// Bytes sent of the records.
    pub sent: u64,
    /// Bytes received of the records.
    pub received: u64,
    /// The time of the first and the last record, unix seconds UTC.
    pub span: Option<(i64, i64)>,
    /// Records with an oddity.
    pub odd: Vec<(Oddity, u64)>,
}

impl Counts {
    fn add(&mut self, time: i64, record: &Record, odd: Oddities) {
        self.imported += 1;
        self.executions += u64::from(record.tuple.remote_port == model::PORT_EXECUTION);
        self.connections = self.connections.saturating_add(record.counters.connections);
        self.sent = self.sent.saturating_add(record.counters.sent);
        self.received = self.received.saturating_add(record.counters.received);
        let (first, last) = self.span.unwrap_or((time, time));
        self.span = Some((first.min(time), last.max(time)));
        for oddity in odd.iter() {
            match self.odd.iter_mut().find(|(known, _)| *known == oddity) {
                Some((_, count)) => *count += 1,
                None => self.odd.push((oddity, 1)),
            }
        }
    }

    /// Rows that were read.
    pub fn read(&self) -> u64 {
        self.imported + self.present + self.older + self.future + self.unreadable
    }
}

/// What became of one source.
#[derive(Clone, Debug)]
pub struct SourceReport {
    /// Its format.
    pub format: Format,
    /// Whether it was imported before, in part at least.
    pub is_known: bool,
    /// What this import read.
    pub counts: Counts,
    /// Why it ended before the end of the source.
    pub error: Option<Arc<ImportError>>,
}

/// Imports a source from where the last import of it ended. `progress` gets the number of the row and that of the last one.
///
/// # Errors
/// The source cannot be read at all. An error after that is in the report: what was imported before stays, and the next import
/// goes on.
pub fn import_source(
    source: &mut Source,
    target: &mut Target<'_>,
    settings: &Settings,
    progress: &mut dyn FnMut(i64, i64),
) -> Result<SourceReport, ImportError> {
    let known = target.writer.import_sources()?;
    let log = target.writer.log_before_import()?;
    let mut job = Job::new(source, (&known, Some(&log)), settings)?;
    let result = job.run(&mut Some(target), progress);
    Ok(job.report(result))
}

/// Finds out what [`import_source`] would do. `known` is what was imported before, into `log`, if there is one.
///
/// # Errors
/// As [`import_source`].
pub fn preview_source(
    source: &mut Source,
    (known, log): (&[ImportSource], Option<&LogBeforeImport>),
    settings: &Settings,
    progress: &mut dyn FnMut(i64, i64),
) -> Result<SourceReport, ImportError> {
    let mut job = Job::new(source, (known, log), settings)?;
    let result = job.run(&mut None, progress);
    Ok(job.report(result))
}

/// Which rows a pass over the source imports.
#[derive(Clone, Copy)]
enum Pass {
    /// Those after the last row.
    Forward,
    /// Those up to the last row that were too old before.
    Again,
}

struct Job<'a> {
    source: &'a mut Source,
    settings: &'a Settings,
    format: Format,
    is_known: bool,
    state: ImportSource,
    observed: Observed,
    counts: Counts,
    last_row: i64,
    before: Option<RecordsBeforeImport<'a>>,
    /// Up to this time the log may have records of this source.
    own_until: i64,
}

impl<'a> Job<'a> {
    fn new(
        source: &'a mut Source,
        (known, log): (&[ImportSource], Option<&'a LogBeforeImport>),
        settings: &'a Settings,
    ) -> Result<Self, ImportError> {
        source.begin()?;
        let last_row = source.last_row()?;
        let found = find_known(source, known)?;
        let format = source.format().unwrap_or(Format::Interned);
        Ok(Self {
            source,
            settings,
            format,
            is_known: found.is_some(),
            state: found.unwrap_or_else(|| ImportSource::new(settings.cutoff)),
            observed: Observed::default(),
            counts: Counts::default(),
            last_row,
            before: log.map(LogBeforeImport::records),
            own_until: i64::MIN,
        })
    }

    fn report(self, result: Result<(), ImportError>) -> SourceReport {
        let Self { format, is_known, counts, .. } = self;
        SourceReport { format, is_known, counts, error: result.err().map(Arc::new) }
    }

    fn run(
        &mut self,
        target: &mut Option<&mut Target<'_>>,
        progress: &mut dyn FnMut(i64, i64),
    ) -> Result<(), ImportError> {
        // The log keeps records for a longer time than before, or a second pass was interrupted.
        while self.state.progress.last_row > 0
            && (self.state.progress.again.is_some() || self.settings.cutoff < self.state.progress.since)
        {
            self.state.progress.again.get_or_insert((0, self.settings.cutoff));
            self.pass(Pass::Again, target, progress)?;
            if let Some((_, since)) = self.state.progress.again.take() {
                self.state.progress.since = since;
            }
            if let Some(target) = target {
                target.writer.write_import(&[], &mut self.state, None)?;
            }
        }
        self.pass(Pass::Forward, target, progress)
    }

    fn pass(
        &mut self,
        pass: Pass,
        target: &mut Option<&mut Target<'_>>,
        progress: &mut dyn FnMut(i64, i64),
    ) -> Result<(), ImportError> {
        let zone = self.settings.zone.clone();
        let mut clock = match pass {
            Pass::Forward => LocalClock::new(zone, self.state.progress.last_time),
            Pass::Again => LocalClock::new(zone, i64::MIN),
        };
        let mut rows = Vec::new();
        self.own_until = match (pass, self.state.progress.again) {
            (Pass::Again, Some((row @ 1.., _))) => {
                self.source.read(row - 1, 1, &mut rows)?;
                let last = rows.first_mut().and_then(|row| clock.read(&row.time, &mut row.odd));
                last.unwrap_or(i64::MAX)
            }
            (Pass::Again, _) => i64::MIN,
            (Pass::Forward, _) => self.state.progress.last_time,
        };
        loop {
            let (after, end) = match (pass, self.state.progress.again) {
                (Pass::Again, Some((row, _))) => (row, self.state.progress.last_row),
                _ => (self.state.progress.last_row, i64::MAX),
            };
            self.source.read(after, ROWS, &mut rows)?;
            rows.retain(|row| row.number <= end);
            let Some(last) = rows.last() else { return Ok(()) };
            let number = last.number;
            let marker = match pass {
                Pass::Forward => Some(ImportMarker { row: number, digest: last.digest() }),
                Pass::Again => None,
            };
            let windows = self.windows(pass, &mut clock, rows.drain(..), target)?;
            let position = &mut self.state.progress;
            match (pass, &mut position.again) {
                (Pass::Again, Some((row, _))) => *row = number,
                _ => (position.last_row, position.last_time) = (number, clock.last),
            }
            if let Some(target) = target {
                write(target, &windows, &mut self.state, marker)?;
            }
            progress(number, self.last_row);
        }
    }

    /// Makes records of rows, grouped by their times.
    fn windows(
        &mut self,
        pass: Pass,
        clock: &mut LocalClock,
        rows: impl Iterator<Item = ReadRow>,
        target: &mut Option<&mut Target<'_>>,
    ) -> Result<Vec<ImportWindow>, ImportError> {
        let since = self.state.progress.since;
        let mut windows: Vec<ImportWindow> = Vec::new();
        for mut row in rows {
            let Some(time) = clock.read(&row.time, &mut row.odd) else {
                self.counts.unreadable += u64::from(matches!(pass, Pass::Forward));
                continue;
            };
            let wanted = match (pass, self.state.progress.again) {
                (Pass::Again, Some((_, from))) => from..since,
                _ => since..i64::MAX,
            };
            if !wanted.contains(&time) {
                self.counts.older += u64::from(time < wanted.start);
                continue;
            }
            if time > self.settings.now.saturating_add(MAX_FUTURE) {
                self.counts.future += 1;
                continue;
            }
            let odd = row.odd;
            let record = self.record(row, target);
            if time > self.own_until
                && let Some(before) = &mut self.before
                && before.take(time, &record)?
            {
                self.counts.present += 1;
                continue;
            }
            self.counts.add(time, &record, odd);
            match windows.last_mut() {
                Some(window) if window.time == time => window.records.push(record),
                _ => windows.push(ImportWindow { time, records: vec![record] }),
            }
        }
        Ok(windows)
    }

    fn record(&mut self, row: ReadRow, target: &mut Option<&mut Target<'_>>) -> Record {
        let context = row.context;
        let mut geo = GeoInfo::default();
        if let Some(target) = target {
            if self.observed.is_new(&context) {
                (target.observe)(&context);
            }
            if let Some(Address::Ip(address)) = row.tuple.remote_address {
                geo = (target.locate)(address);
            }
        }
        Record { context, geo, tuple: row.tuple, counters: row.counters, opened: false, folded: 0 }
    }
}

/// Writes windows, and keeps the log within its size.
fn write(
    target: &mut Target<'_>,
    windows: &[ImportWindow],
    state: &mut ImportSource,
    marker: Option<ImportMarker>,
) -> Result<(), ImportError> {
    target.writer.write_import(windows, state, marker)?;
    let Some(max_bytes) = target.max_bytes else { return Ok(()) };
    loop {
        match target.writer.limit_size(max_bytes) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(StoreError::SizeLimit { .. }) => return Err(ImportError::Full),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The contexts that were observed lately. They are kept, so that no other context gets their addresses.
#[derive(Default)]
struct Observed(HashMap<*const ProcessContext, Arc<ProcessContext>>);

impl Observed {
    /// Whether a context is not among them. It is then.
    fn is_new(&mut self, context: &Arc<ProcessContext>) -> bool {
        if self.0.contains_key(&Arc::as_ptr(context)) {
            return false;
        }
        if self.0.len() >= MAX_OBSERVED {
            self.0.clear();
        }
        self.0.insert(Arc::as_ptr(context), Arc::clone(context));
        true
    }
}
