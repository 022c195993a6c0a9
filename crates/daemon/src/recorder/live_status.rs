//! The status of the daemon: the first event that a client of the live socket gets (docs/live.md).

use std::collections::BTreeMap;

use crate::messages::Settings;
use live::{
    protocol::{FilePaths, HelloLine, LastError, ServerCopy},
    server::LiveServer,
};
use model::{
    Loss, add_losses,
    text::{lossless, sanitize, time},
};
use virustotal::LookupSchedule;

/// Sentences about what is not seen, and characters of each. There are far fewer hooks.
const MAX_UNSEEN: usize = 200;
/// Servers that get a copy. The configuration allows fewer.
const MAX_SERVERS: usize = 32;
const MAX_SENTENCE: usize = 2000;

/// The status of the daemon since its start, for the clients of the live socket.
pub(super) struct LiveStatus {
    /// Unix seconds of the start.
    since: i64,
    unseen: Vec<String>,
    unprotected: Vec<String>,
    losses: Vec<Loss>,
    pub(super) alerts: u64,
    errors: u64,
    last_error: Option<LastError>,
    /// Paths of the files that are written.
    files: FilePaths,
    /// The copies of the log, by their names.
    servers: BTreeMap<String, ServerCopy>,
}

/// The counts of programs that the alert generator has.
pub(super) struct ProgramCounts {
    pub(super) known: usize,
    /// Executables that wait to be hashed.
    pub(super) awaited: usize,
}

impl LiveStatus {
    pub(super) fn new(settings: &Settings) -> Self {
        let files = file_paths(settings);
        let (since, unseen, losses) = (time::now(), Vec::new(), Vec::new());
        let unprotected = settings.missing_walls.clone();
        Self {
            since,
            unseen,
            unprotected,
            losses,
            alerts: 0,
            errors: 0,
            last_error: None,
            files,
            servers: BTreeMap::new(),
        }
    }

    /// Sets the paths of the files that are written.
    pub(super) fn set_files(&mut self, settings: &Settings) {
        self.files = file_paths(settings);
    }

    /// Sets the sentences about what this kernel does not show.
    pub(super) fn set_unseen(&mut self, mut unseen: Vec<String>) {
        let more = unseen.len().saturating_sub(MAX_UNSEEN);
        unseen.truncate(MAX_UNSEEN);
        unseen.iter_mut().for_each(|sentence| *sentence = sanitize::shorten(sentence, MAX_SENTENCE));
        if more > 0 {
            unseen.push(format!("{more} more that picosnitch doctor lists"));
        }
        self.unseen = unseen;
    }

    /// Sets the state of the copy on a server.
    pub(super) fn set_server(&mut self, copy: ServerCopy) {
        if self.servers.len() < MAX_SERVERS || self.servers.contains_key(&copy.name) {
            self.servers.insert(copy.name.clone(), copy);
        }
    }

    /// Takes note that no process sends copies any more.
    pub(super) fn set_exporter_gone(&mut self) {
        for copy in self.servers.values_mut() {
            copy.connected = false;
            copy.problem = Some("the exporter, which sends the copy, does not run".to_owned());
        }
    }

    pub(super) fn add_loss(&mut self, loss: &Loss) {
        add_losses(&mut self.losses, [*loss]);
    }

    pub(super) fn add_error(&mut self, text: String) {
        self.errors += 1;
        self.last_error = Some(LastError { time: time::now(), text });
    }

    /// The line `hello`, with the present status.
    pub(super) fn line(
        &self,
        live: &LiveServer,
        programs: &ProgramCounts,
        lookups: Option<&LookupSchedule>,
    ) -> HelloLine {
        let (subscribers, dropped) = live.counts();
        HelloLine {
            event: "hello".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            monitor: nix::unistd::getppid().as_raw().cast_unsigned(),
            recorder: std::process::id(),
            since: self.since,
            files: self.files.clone(),
            programs: programs.known,
            digests_pending: programs.awaited,
            alerts: self.alerts,
            errors: self.errors,
            last_error: self.last_error.clone(),
            virustotal: lookups.map(LookupSchedule::status).unwrap_or_default(),
            losses: self.losses.iter().map(|loss| (loss.kind.name(), loss.count)).collect(),
            subscribers,
            subscribers_dropped: dropped,
            unseen: self.unseen.clone(),
            unprotected: self.unprotected.clone(),
            servers: self.servers.values().cloned().collect(),
        }
    }
}

fn file_paths(settings: &Settings) -> FilePaths {
    let path = |path: &std::path::Path| lossless::to_text(path.as_os_str().as_encoded_bytes());
    let reporter = &settings.reporter;
    FilePaths {
        database: settings.database.as_deref().map(path),
        record: path(&reporter.record_json),
        exe_log: path(&reporter.exe_log),
        conn_log: reporter.conn_log.as_deref().map(path),
    }
}
