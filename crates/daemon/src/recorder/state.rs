//! The state of the recorder.

use std::{
    os::fd::OwnedFd,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    contexts::ContextTable,
    domains::DomainNamer,
    error::RecorderError,
    exporter_link::ExporterLink,
    live_connections::LiveConnections,
    reporter::Reporter,
    sinks::{WindowSinks, position_file::PositionFile},
    window::OpenWindow,
};
use crate::{messages::Settings, problems::Problems};
use config::log_rules::LogRules;
use identity::digests::Digests;
use ipc::Channel;
use model::{DrainId, Event, EventKind, Flow, text::time};
use names::{GeoFiles, Geography};

/// How long the shutdown waits for digests that are being computed.
const LAST_DIGESTS: Duration = Duration::from_secs(5);

/// The files and sockets that the recorder writes to. It does not start without them.
pub(super) struct Outputs {
    sinks: WindowSinks,
    reporter: Reporter,
}

impl Outputs {
    /// Opens the logs.
    ///
    /// # Errors
    /// Why one of them cannot be used, in words.
    pub(super) fn open(
        settings: &Settings,
        live_socket: Option<OwnedFd>,
        problems: &Arc<Problems>,
    ) -> Result<Self, String> {
        let mut sinks = WindowSinks::default();
        sinks.open_sqlite(settings, problems).map_err(|error| model::error_chain(&error))?;
        let reporter = Reporter::start(settings, live_socket, problems).map_err(|error| {
            format!("the threads that write exe.log and record.json cannot be started: {error}")
        })?;
        sinks
            .open_text_log(settings, problems)
            .map_err(|error| format!("the thread that writes conn.log cannot be started: {error}"))?;
        Ok(Self { sinks, reporter })
    }
}

impl Outputs {
    /// The last drain whose flows are in the log, if it knows one.
    pub(super) fn last_drain(&self) -> Option<DrainId> {
        self.sinks.recorded()
    }
}

/// Messages about flows, which count once their drain has ended.
pub(super) enum DrainMessage {
    Flows(Vec<Flow>),
    ForgetContexts(u32),
}

/// The recorder of one run.
pub(super) struct Recorder {
    /// The channel to the monitor.
    pub(super) channel: Channel,
    pub(super) rules: LogRules,
    pub(super) window_length: Duration,
    /// When the open window is closed.
    pub(super) window_end: Instant,
    pub(super) geography: Geography,
    pub(super) geography_files: GeoFiles,
    pub(super) names: DomainNamer,
    pub(super) window: OpenWindow,
    pub(super) contexts: ContextTable,
    pub(super) sinks: WindowSinks,
    pub(super) reporter: Reporter,
    pub(super) connections: LiveConnections,
    /// `None` if no other machine is asked for anything.
    pub(super) exporter: Option<ExporterLink>,
    /// What receivers of the exporter have; `None` without a log.
    pub(super) positions: Option<PositionFile>,
    /// The messages of the drain that has not ended.
    pub(super) open_drain: Vec<DrainMessage>,
    /// The last drain that has ended.
    pub(super) last_drain: Option<DrainId>,
    /// The next run can record a drain that has not ended.
    pub(super) has_journal: bool,
    /// The last drain that the monitor knows to be in the log.
    pub(super) told_recorded: Option<DrainId>,
    /// Keeps the recorder of the next run from starting.
    pub(super) lock: Option<OwnedFd>,
    pub(super) problems: Arc<Problems>,
    pub(super) heap_trimmed: Instant,
    /// The monitor waits for a sign that the recorder makes progress.
    pub(super) alive_wanted: bool,
    /// The connection to systemd-resolved has ended, and the monitor does not know yet.
    pub(super) resolved_closed: bool,
}

impl Recorder {
    /// Starts the threads that hash.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(super) fn new(
        settings: Settings,
        channel: Channel,
        outputs: Outputs,
        problems: Arc<Problems>,
    ) -> Result<Self, RecorderError> {
        let directory = settings.reporter.record_json.parent().unwrap_or(Path::new("/"));
        let (geography, unknown) = Geography::open(&settings.geography, directory);
        unknown.iter().for_each(|problem| problems.report(problem));
        let rules = settings.rules.clone();
        let positions = settings.database.as_deref().map(PositionFile::path);
        let positions = positions.map(|path| PositionFile::open(path, &problems));
        Ok(Self {
            channel,
            window_length: settings.window_length(),
            window_end: Instant::now() + settings.window_length(),
            geography,
            geography_files: settings.geography.clone(),
            names: DomainNamer::new(&settings),
            window: OpenWindow::new(rules.clone(), settings.write_limit_seconds, settings.fold_above),
            contexts: ContextTable::new(rules.clone(), Digests::start()?),
            sinks: outputs.sinks,
            reporter: outputs.reporter,
            connections: LiveConnections::default(),
            exporter: None,
            positions,
            open_drain: Vec::new(),
            last_drain: None,
            has_journal: settings.has_journal,
            told_recorded: None,
            lock: None,
            problems,
            heap_trimmed: Instant::now(),
            alive_wanted: false,
            resolved_closed: false,
            rules,
        })
    }

    /// Writes the last window and all that waits. `stopped`: the sentence of the event about the end.
    pub(super) fn finish(mut self, stopped: &str) {
        self.contexts.digests().settle(LAST_DIGESTS);
        self.take_digests();
        // What was reported until now is an event of the last window.
        self.reporter.serve(&self.channel);
        self.reporter.add_event(Event::new(EventKind::Stop, time::now(), stopped));
        self.close_window(true);
        // The reporter writes its files before the database is written: they need no lock and little space.
        self.reporter.serve(&self.channel);
        self.sinks.finish_text_log();
        self.reporter.finish();
        if let Some(positions) = self.positions {
            positions.finish();
        }
        self.sinks.finish_sqlite();
        // Each step before this one may have reported problems.
        self.problems.write_all_repeated();
    }
}
