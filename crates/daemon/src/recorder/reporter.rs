//! How the recorder tells the user: alerts and errors go to exe.log, to desktop users through the monitor, and to the
//! live socket; record.json remembers what was told.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::fd::OwnedFd,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags};
use serde_json::json;

use super::sinks::record_file::Saving;
use crate::messages::{Telling as Settings, ToMonitor};
use crate::{
    problems::Problems,
    recorder::{
        alerts::{Alert, Alerts, Tag},
        exe_log::ExeLog,
    },
};
use identity::digests::{self, Digests};
use ipc::Channel;
use known_programs::{KnownPrograms, KnownProgramsError};
use live::server::LiveServer;
use model::{
    Loss, LossKind, ProcessContext,
    text::{format, time},
};
use notify::{Notice, NoticeKind};
use virustotal::{LookupSchedule, Verdict};

/// How long changes of record.json are collected before it is written.
const SAVE_AFTER: Duration = Duration::from_secs(1);
/// Pause before exe.log is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Characters of a path in a notification.
const MAX_PATH: usize = 200;

/// Everything that tells the user.
pub struct Telling {
    alerts: Alerts,
    exe_log: ExeLog,
    live: Option<LiveServer>,
    saving: Saving,
    problems: Arc<Problems>,
    lookups: Option<LookupSchedule>,
    desktop: bool,
    /// Notices for which the channel had no room.
    dropped: u64,
    save_at: Option<Instant>,
    retry_at: Option<Instant>,
    state: State,
}

/// What the live socket says first.
struct State {
    since: i64,
    unseen: Vec<String>,
    losses: BTreeMap<LossKind, u64>,
    alerts: u64,
    errors: u64,
    last_error: Option<(i64, String)>,
    files: serde_json::Value,
}

/// Nobody can be told.
#[derive(Debug, thiserror::Error)]
pub enum TellingError {
    /// record.json is not usable.
    #[error(transparent)]
    KnownPrograms(#[from] KnownProgramsError),
    /// A thread could not be started.
    #[error("record.json cannot be kept")]
    Io(#[from] io::Error),
}

impl Telling {
    /// Reads record.json.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn start(
        settings: &Settings,
        database: Option<&Path>,
        listener: Option<OwnedFd>,
        problems: Arc<Problems>,
    ) -> Result<Self, TellingError> {
        let known = KnownPrograms::load(&settings.record_json)?;
        let path = |path: &Path| format::json_text(path.as_os_str().as_encoded_bytes());
        let files = json!({
            "database": database.map(path),
            "record": path(&settings.record_json),
            "exe_log": path(&settings.exe_log),
            "conn_log": settings.conn_log.as_deref().map(path),
        });
        let lookups = settings.virustotal.as_ref().and_then(|settings| {
            LookupSchedule::start(settings)
                .map_err(|why| problems.report(&format!("No program is looked up at VirusTotal: {why}.")))
                .ok()
        });
        Ok(Self {
            lookups,
            alerts: Alerts::new(known),
            exe_log: ExeLog::new(settings.exe_log.clone()),
            live: listener.map(LiveServer::new),
            saving: Saving::start(settings.record_json.clone(), Arc::clone(&problems))?,
            problems,
            desktop: settings.desktop,
            dropped: 0,
            save_at: None,
            retry_at: None,
            state: State {
                since: time::now(),
                unseen: Vec::new(),
                losses: BTreeMap::new(),
                alerts: 0,
                errors: 0,
                last_error: None,
                files,
            },
        })
    }

    /// A context was introduced.
    pub fn meet(
        &mut self,
        channel: &Channel,
        context: &ProcessContext,
        executables: [Option<u32>; 3],
        digests: &Digests,
    ) {
        let alerts = self.alerts.meet(context, executables, |id| digests.state(id));
        self.tell(channel, &alerts);
        // What could not be read before its program talked.
        for id in executables.into_iter().flatten() {
            let state = digests.state(id);
            if matches!(state, digests::DigestState::Unreadable(_)) {
                self.settled(channel, id, &state);
            }
        }
    }

    /// The hasher has found something.
    pub fn settle(&mut self, channel: &Channel, digests: &Digests) {
        for (id, state) in digests.take_settled() {
            self.settled(channel, id, &state);
        }
    }

    fn settled(&mut self, channel: &Channel, executable: u32, state: &digests::DigestState) {
        if let Some(lookups) = &mut self.lookups {
            let digest = match state {
                digests::DigestState::Known(digest) => Some(*digest),
                _ => None,
            };
            lookups.set_digest(executable, digest, self.alerts.known());
        }
        let (alerts, problem) = self.alerts.settled(executable, state);
        self.tell(channel, &alerts);
        if let Some(problem) = problem {
            self.problems.report(&problem);
        }
    }

    /// An executable is hashed now.
    pub fn keep(&mut self, executable: u32, file: &File) {
        if let Some(lookups) = &mut self.lookups {
            lookups.add_candidate(executable, file);
        }
    }

    /// Executables before this one do not come again.
    pub fn forget_before(&mut self, executable: u32, digests: &Digests) {
        self.alerts.forget_before(executable, |id| digests.state(id));
        if let Some(lookups) = &mut self.lookups {
            lookups.forget_candidates_before(executable);
        }
    }

    /// What stays unseen on this kernel.
    pub fn set_unseen(&mut self, unseen: Vec<String>) {
        self.state.unseen = unseen;
    }

    /// Something was lost.
    pub fn lose(&mut self, losses: &[Loss]) {
        for loss in losses {
            let count = self.state.losses.entry(loss.kind).or_default();
            *count = count.saturating_add(loss.count);
            if let Some(live) = &mut self.live {
                live.publish(&json!({
                    "event": "loss",
                    "time": time::now(),
                    "kind": loss.kind.name(),
                    "count": loss.count,
                    "text": loss.sentence(),
                }));
            }
        }
    }

    /// The live socket.
    pub fn live(&mut self) -> Option<&mut LiveServer> {
        self.live.as_mut()
    }

    /// Opens the logs again.
    pub fn reopen(&mut self) {
        self.exe_log.reopen();
        self.problems.reopen();
    }

    /// What to wait for, besides the channel.
    pub fn interests(&self) -> Vec<PollFd<'_>> {
        let mut interests: Vec<_> =
            self.problems.bell().map(|bell| PollFd::new(bell, PollFlags::POLLIN)).into_iter().collect();
        interests
            .extend(self.lookups.iter().map(|lookups| PollFd::new(lookups.event_fd(), PollFlags::POLLIN)));
        interests.extend(self.live.iter().flat_map(LiveServer::poll_fds));
        interests
    }

    /// When [`Telling::serve`] has something to do, whatever happens.
    pub fn due(&self) -> Option<Instant> {
        let lookups = self.lookups.as_ref().and_then(LookupSchedule::due);
        self.save_at.into_iter().chain(self.retry_at).chain(lookups).min()
    }

    /// Does what is due. Never waits.
    pub fn serve(&mut self, channel: &Channel) {
        let now = Instant::now();
        for text in self.alerts.known().take_reached_bounds() {
            self.problems.report(&text);
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            let problem = self.exe_log.retry();
            self.after_exe_log(problem);
        }
        self.look_up(channel);
        if self.alerts.known().take_changed() {
            self.save_at.get_or_insert(now + SAVE_AFTER);
            if let Some(lookups) = &mut self.lookups {
                lookups.check_soon();
            }
        }
        if self.save_at.is_some_and(|at| at <= now) {
            self.save_at = None;
            self.saving.save(self.alerts.known().to_json());
        }
        self.problems.tell_repeated();
        for text in self.problems.take_told() {
            self.state.errors += 1;
            if let Some(live) = &mut self.live {
                live.publish(&json!({"event": "error", "time": time::now(), "text": text}));
            }
            let title = "picosnitch could not do all of its work".to_owned();
            self.notify(channel, Notice { kind: NoticeKind::Error, title, body: text.clone() });
            self.state.last_error = Some((time::now(), text));
        }
        if let Some(live) = &mut self.live {
            let (state, awaited) = (&self.state, self.alerts.awaited());
            let programs = self.alerts.known().count();
            let lookups = self.lookups.as_ref();
            live.serve(|live| state.hello(live, programs, awaited, lookups));
        }
    }

    /// Asks VirusTotal, and tells what it says.
    fn look_up(&mut self, channel: &Channel) {
        let Some(lookups) = &mut self.lookups else { return };
        for (digest, verdict) in lookups.serve(self.alerts.known(), |problem| self.problems.report(problem)) {
            let tag = match verdict {
                Verdict::Suspicious(_) => Some(Tag::Suspicious),
                Verdict::Clean(_) => Some(Tag::Clean),
                _ => None,
            };
            let alerts = self.alerts.verdict(digest, &verdict.text(), tag);
            self.tell(channel, &alerts);
        }
    }

    /// Writes what is left to write.
    pub fn finish(mut self) {
        if self.exe_log.is_waiting()
            && let Some(problem) = self.exe_log.retry()
        {
            self.problems.report(&problem);
        }
        if self.save_at.is_some() || self.alerts.known().take_changed() {
            self.saving.save(self.alerts.known().to_json());
        }
        self.saving.finish();
        self.problems.tell_all_repeated();
    }

    fn tell(&mut self, channel: &Channel, alerts: &[Alert]) {
        // First: who has a desktop is told even if a disk is slow.
        for notice in notices(alerts) {
            self.notify(channel, notice);
        }
        for alert in alerts {
            self.state.alerts += 1;
            if let Some(live) = &mut self.live {
                live.publish(&alert.to_json());
            }
            let problem = self.exe_log.write(alert);
            self.after_exe_log(problem);
        }
    }

    fn after_exe_log(&mut self, problem: Option<String>) {
        if let Some(problem) = problem {
            self.problems.report(&problem);
        }
        if self.exe_log.is_waiting() && self.retry_at.is_none() {
            self.retry_at = Some(Instant::now() + RETRY);
        }
    }

    fn notify(&mut self, channel: &Channel, notice: Notice) {
        if !self.desktop {
            return;
        }
        let send = |notice: Notice| {
            let message = Channel::encode(&ToMonitor::Notice(notice));
            message.is_ok_and(|message| channel.send(&message, None).is_ok_and(|sent| sent))
        };
        if !send(notice) {
            self.dropped += 1;
        } else if self.dropped > 0 {
            let title = format!("{} notifications were not shown", self.dropped);
            let body = "There were too many. New programs are in exe.log, errors in error.log.".to_owned();
            if send(Notice { kind: NoticeKind::Error, title, body }) {
                self.dropped = 0;
            }
        }
    }
}

impl State {
    fn hello(
        &self,
        live: &LiveServer,
        programs: usize,
        awaited: usize,
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
            "programs": programs,
            "digests_pending": awaited,
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

/// What desktop users see of alerts that belong together: one notification of each kind.
fn notices(alerts: &[Alert]) -> Vec<Notice> {
    let mut notices: Vec<Notice> = Vec::new();
    for alert in alerts {
        let Some(notice) = notice(alert) else { continue };
        match notices.iter_mut().find(|first| first.kind == notice.kind) {
            Some(first) => {
                let text = format::shorten(&alert.text(), MAX_PATH);
                first.body = format!("{}\n{text}", first.body);
            }
            None => notices.push(notice),
        }
    }
    notices
}

/// What desktop users see of an alert; nothing of good news.
fn notice(alert: &Alert) -> Option<Notice> {
    let (kind, what) = match alert.tag {
        Tag::NewName => (NoticeKind::Program, "Known program under a new name"),
        Tag::NewExecutable => (NoticeKind::Program, "New program under a known name"),
        Tag::NewBoth => (NoticeKind::Program, "New program"),
        Tag::NewHash => (NoticeKind::Program, "Changed program"),
        Tag::Suspicious => (NoticeKind::Suspicious, "Suspicious program"),
        Tag::Clean => return None,
    };
    let path = format::shorten(&format::terminal(&alert.path), MAX_PATH);
    let detail = match (&alert.sha256, alert.verdict.as_str()) {
        (None, _) => format::terminal(&alert.name),
        (Some(digest), "") => format!("SHA-256 {}", digest.to_hex()),
        (Some(digest), verdict) => {
            format!("VirusTotal: {}\nSHA-256 {}", format::terminal(verdict.as_bytes()), digest.to_hex())
        }
    };
    Some(Notice { kind, title: format!("{what}{}", alert.rank_text()), body: format!("{path}\n{detail}") })
}
