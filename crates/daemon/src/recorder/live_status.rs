//! The status of the daemon: the first event that a client of the live socket gets (docs/live.md).

use std::collections::BTreeMap;

use serde_json::json;

use crate::messages::Settings;
use live::server::LiveServer;
use model::{
    Loss, LossKind,
    text::{format, time},
};
use virustotal::LookupSchedule;

/// What has happened since the start.
pub(super) struct LiveStatus {
    /// Unix seconds of the start.
    since: i64,
    pub(super) unseen: Vec<String>,
    losses: BTreeMap<LossKind, u64>,
    pub(super) alerts: u64,
    errors: u64,
    /// Unix seconds and text of the last error.
    last_error: Option<(i64, String)>,
    /// Paths of the files that are written.
    files: serde_json::Value,
}

/// The counts of programs that the alert generator has.
pub(super) struct ProgramCounts {
    pub(super) known: usize,
    /// Executables that wait to be hashed.
    pub(super) awaited: usize,
}

impl LiveStatus {
    pub(super) fn new(settings: &Settings) -> Self {
        let path = |path: &std::path::Path| format::json_text(path.as_os_str().as_encoded_bytes());
        let reporter = &settings.reporter;
        let files = json!({
            "database": settings.database.as_deref().map(path),
            "record": path(&reporter.record_json),
            "exe_log": path(&reporter.exe_log),
            "conn_log": reporter.conn_log.as_deref().map(path),
        });
        let (since, unseen, losses) = (time::now(), Vec::new(), BTreeMap::new());
        Self { since, unseen, losses, alerts: 0, errors: 0, last_error: None, files }
    }

    pub(super) fn add_loss(&mut self, loss: &Loss) {
        let count = self.losses.entry(loss.kind).or_default();
        *count = count.saturating_add(loss.count);
    }

    pub(super) fn add_error(&mut self, text: String) {
        self.errors += 1;
        self.last_error = Some((time::now(), text));
    }

    /// The event `hello`, with the status of now.
    pub(super) fn to_json(
        &self,
        live: &LiveServer,
        programs: &ProgramCounts,
        lookups: Option<&LookupSchedule>,
    ) -> serde_json::Value {
        let (subscribers, dropped) = live.counts();
        let losses: BTreeMap<String, u64> =
            self.losses.iter().map(|(kind, count)| (kind.name(), *count)).collect();
        json!({
            "event": "hello",
            "version": env!("CARGO_PKG_VERSION"),
            "monitor": nix::unistd::getppid().as_raw(),
            "recorder": std::process::id(),
            "since": self.since,
            "files": self.files,
            "programs": programs.known,
            "digests_pending": programs.awaited,
            "alerts": self.alerts,
            "errors": self.errors,
            "last_error": self.last_error.as_ref().map(|(time, text)| json!({"time": time, "text": text})),
            "virustotal": lookups.map(LookupSchedule::status),
            "losses": losses,
            "subscribers": subscribers,
            "subscribers_dropped": dropped,
            "unseen": self.unseen,
        })
    }
}
