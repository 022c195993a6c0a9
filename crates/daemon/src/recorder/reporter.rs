//! Reports alerts and problems to the user: in exe.log, to desktop users through the monitor, and on the live socket.
//! record.json remembers the programs that were reported.

use std::{
    fs::File,
    io,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    alert_rates::{AlertRates, FoldedAlerts},
    alerts::{Alert, AlertGenerator, Tag},
    contexts::ContextTable,
    event_queue::EventQueue,
    file_changes::Inode,
    live_status::{LiveStatus, ProgramCounts},
    notification_text,
    sinks::{exe_log::ExeLogSink, record_file::RecordFileWriter, worker::Worker},
};
use crate::{
    messages::{Settings, ToMonitor},
    problems::Problems,
};
use identity::digests::DigestState;
use ipc::Channel;
use known_programs::RecordFile;
use live::{
    protocol::{AlertsFoldedLine, ErrorLine, LossLine, ServerCopy},
    server::LiveServer,
};
use model::{Event, EventKind, Loss, ProcessContext, Writer, text::time};
use nix::poll::{PollFd, PollFlags};
use notify::Notification;
use virustotal::{LookupRequest, LookupResult, LookupSchedule, LookupStatus, Verdict};

/// How long changes of the known programs are collected before they are written.
const SAVE_AFTER: Duration = Duration::from_secs(1);

/// Everything that reports to the user. Methods that may cause a notification take the channel to the monitor.
pub(super) struct Reporter {
    alerts: AlertGenerator,
    alert_rates: AlertRates,
    exe_log: Worker<ExeLogSink>,
    live: Option<LiveServer>,
    record_file: RecordFileWriter,
    problems: Arc<Problems>,
    /// `None` if VirusTotal is not used.
    lookups: Option<LookupSchedule>,
    /// Whether desktop users get notifications.
    desktop: bool,
    /// Notifications that did not fit into the channel.
    dropped: u64,
    /// When the changes of the known programs are written.
    save_at: Option<Instant>,
    status: LiveStatus,
    /// Events for the log at the end of the window.
    events: EventQueue,
}

impl Reporter {
    /// Reads record.json, and starts the threads that write it and exe.log.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(super) fn start(
        settings: &Settings,
        live_socket: Option<OwnedFd>,
        problems: &Arc<Problems>,
    ) -> io::Result<Self> {
        let reporter = &settings.reporter;
        let (record_file, notes) = RecordFile::open(&reporter.record_json);
        notes.iter().for_each(|note| problems.report(note));
        let lookups = reporter
            .lookups
            .map(|lookups| LookupSchedule::new(lookups.upload, lookups.request_limit_seconds));
        Ok(Self {
            lookups,
            alerts: AlertGenerator::new(record_file.known()),
            alert_rates: AlertRates::new(Instant::now()),
            exe_log: ExeLogSink::start(reporter.exe_log.clone(), Arc::clone(problems))?,
            live: live_socket.map(LiveServer::new),
            save_at: record_file.must_save().then(Instant::now),
            record_file: RecordFileWriter::start(record_file, reporter.record_json.clone(), problems)?,
            problems: Arc::clone(problems),
            desktop: reporter.desktop,
            dropped: 0,
            status: LiveStatus::new(settings),
            events: EventQueue::default(),
        })
    }

    /// Reports the news about the programs of a context that comes for the first time.
    pub(super) fn add_context(
        &mut self,
        channel: &Channel,
        context: &ProcessContext,
        executables: [Option<u32>; 3],
        contexts: &ContextTable,
    ) {
        let digests = contexts.digests();
        let alerts = self.alerts.add_context(context, executables, |id| digests.state(id));
        self.report_alerts(channel, &alerts);
        // The hasher may have failed before the first flow of the program came.
        let states = executables.into_iter().flatten().map(|id| (id, digests.state(id)));
        let unreadable = states.filter(|(_, state)| matches!(state, DigestState::Unreadable(_)));
        self.add_digests(channel, unreadable.collect());
    }

    /// Takes the final states of executables, and reports the news about them.
    pub(super) fn add_digests(&mut self, channel: &Channel, settled: Vec<(u32, DigestState)>) {
        for (executable, state) in settled {
            if let Some(lookups) = &mut self.lookups {
                let digest = match &state {
                    DigestState::Known(digest) => Some(*digest),
                    _ => None,
                };
                lookups.set_digest(executable, digest, &self.alerts.known());
            }
            let (alerts, problem) = self.alerts.add_digest(executable, &state);
            self.report_alerts(channel, &alerts);
            if let Some(problem) = problem {
                self.problems.report_of_user(problem.user, "no SHA-256", &problem.text);
            }
        }
    }

    /// Takes note that an executable, which is the file with this inode, is hashed now. It may have to be uploaded to VirusTotal
    /// later.
    pub(super) fn add_executable(&mut self, executable: u32, file: &File, inode: Inode) {
        self.alerts.changes().add_inode(executable, inode);
        if let Some(lookups) = &mut self.lookups {
            lookups.add_candidate(executable, file);
        }
    }

    /// Takes note of the process that wrote the content of an executable, `None` if it is not known.
    pub(super) fn add_writer(&mut self, executable: u32, writer: Option<Writer>) {
        self.alerts.changes().add_writer(executable, writer);
    }

    /// Forgets the executables before this one, of which no context comes any more.
    pub(super) fn forget_executables(&mut self, before: u32, contexts: &ContextTable) {
        self.alerts.forget_before(before, |id| contexts.digests().state(id));
        if let Some(lookups) = &mut self.lookups {
            lookups.forget_candidates_before(before);
        }
    }

    /// Takes over what may change while the recorder works.
    pub(super) fn apply(&mut self, settings: &Settings) {
        self.desktop = settings.reporter.desktop;
        self.status.set_files(settings);
    }

    /// Sets the blind spots on this kernel.
    pub(super) fn set_unseen(&mut self, unseen: Vec<String>) {
        self.status.set_unseen(unseen);
    }

    /// Publishes losses on the live socket.
    pub(super) fn add_losses(&mut self, losses: &[Loss]) {
        for loss in losses {
            self.status.add_loss(loss);
            if let Some(live) = &mut self.live {
                live.publish(&LossLine {
                    event: "loss".to_owned(),
                    time: time::now(),
                    kind: loss.kind.name(),
                    count: loss.count,
                    text: loss.sentence(),
                });
            }
        }
    }

    /// Keeps an event for the log.
    pub(super) fn add_event(&mut self, event: Event) {
        self.events.add(event);
    }

    /// Sets the state of the copy of the log on a server.
    pub(super) fn set_server(&mut self, copy: ServerCopy) {
        self.status.set_server(copy);
    }

    /// Takes note that the exporter is gone.
    pub(super) fn set_exporter_gone(&mut self) {
        self.status.set_exporter_gone();
    }

    /// Takes the events of the window that ends at `time` (unix seconds UTC).
    pub(super) fn take_events(&mut self, time: i64) -> Vec<Event> {
        self.events.take(time)
    }

    pub(super) fn live(&mut self) -> Option<&mut LiveServer> {
        self.live.as_mut()
    }

    /// Opens exe.log and error.log again.
    pub(super) fn reopen(&mut self) {
        self.exe_log.reopen();
        self.problems.reopen();
    }

    /// The events to wait for before [`Reporter::serve`].
    pub(super) fn interests(&self) -> Vec<PollFd<'_>> {
        let problems = self.problems.event_fd();
        let mut interests: Vec<_> =
            problems.map(|problems| PollFd::new(problems, PollFlags::POLLIN)).into_iter().collect();
        interests.extend(self.live.iter().flat_map(LiveServer::poll_fds));
        interests
    }

    /// When [`Reporter::serve`] has something to do even if nothing happens until then.
    pub(super) fn due(&self) -> Option<Instant> {
        let lookups = self.lookups.as_ref().and_then(LookupSchedule::due);
        let live = self.live.as_ref().and_then(LiveServer::due);
        let folded = self.alert_rates.due();
        [self.save_at, self.record_file.due(), lookups, live, folded].into_iter().flatten().min()
    }

    /// Does the work that is due. Waits for no disk but that of error.log.
    pub(super) fn serve(&mut self, channel: &Channel) {
        let now = Instant::now();
        let reached = self.alerts.known().take_reached_bounds();
        for text in reached {
            self.problems.report(&text);
        }
        for folded in self.alert_rates.take_folded(Some(now)) {
            self.report_folded(channel, folded);
        }
        self.save_if_due(now);
        self.problems.write_repeated();
        for text in self.problems.take_written() {
            self.report_problem(channel, text);
        }
        if let Some(live) = &mut self.live {
            let known = self.alerts.known().count();
            let programs = ProgramCounts { known, awaited: self.alerts.awaited() };
            let (status, lookups) = (&self.status, self.lookups.as_ref());
            live.serve(|live| status.line(live, &programs, lookups));
        }
    }

    fn save_if_due(&mut self, now: Instant) {
        if self.alerts.known().take_changed() {
            self.save_at.get_or_insert(now + SAVE_AFTER);
            if let Some(lookups) = &mut self.lookups {
                lookups.check_soon();
            }
        }
        if self.save_at.into_iter().chain(self.record_file.due()).any(|at| at <= now) {
            self.save_at = None;
            self.record_file.save();
        }
    }

    /// The next digest that VirusTotal is to be asked about.
    pub(super) fn next_lookup(&mut self) -> Option<LookupRequest> {
        self.lookups.as_mut()?.take_next(&self.alerts.known())
    }

    /// Takes note that the exporter asks VirusTotal, or does not.
    pub(super) fn set_lookups_connected(&mut self, are_connected: bool) {
        if let Some(lookups) = &mut self.lookups {
            lookups.set_connected(are_connected);
        }
    }

    pub(super) fn set_lookup_status(&mut self, status: LookupStatus) {
        if let Some(lookups) = &mut self.lookups {
            lookups.set_status(status);
        }
    }

    /// Reports the verdict of VirusTotal about a digest.
    pub(super) fn add_lookup(&mut self, channel: &Channel, result: LookupResult) {
        let Some(lookups) = &mut self.lookups else { return };
        let digest = result.digest;
        let verdict = match lookups.add_result(result) {
            Ok(Some(verdict)) => verdict,
            Ok(None) => return,
            Err(problem) => return self.problems.report(&problem),
        };
        let tag = match verdict {
            Verdict::Suspicious(_) => Some(Tag::Suspicious),
            Verdict::Clean(_) => Some(Tag::Clean),
            _ => None,
        };
        let alerts = self.alerts.add_verdict(digest, &verdict.text(), tag);
        self.report_alerts(channel, &alerts);
    }

    /// Writes the remaining changes and alerts.
    pub(super) fn finish(mut self) {
        for folded in self.alert_rates.take_folded(None) {
            self.exe_log.add(folded.line());
        }
        // Each file is tried once more.
        self.exe_log.finish(Duration::ZERO);
        self.record_file.finish();
    }

    fn report_alerts(&mut self, channel: &Channel, alerts: &[Alert]) {
        self.status.alerts += alerts.len() as u64;
        let now = Instant::now();
        let mut admitted = alerts.to_vec();
        admitted.retain(|alert| match alert.user {
            Some(user) => self.alert_rates.admit(user, alert.sha256.is_some(), now),
            None => self.alert_rates.admit_verdict(now),
        });
        for notification in notification_text::of_alerts(&admitted) {
            self.send_notification(channel, notification);
        }
        for alert in admitted {
            self.events.add(alert.event());
            if let Some(live) = &mut self.live {
                live.publish(&alert.live_line());
            }
            self.exe_log.add(alert.line());
        }
    }

    /// Reports alerts that were not reported one by one.
    fn report_folded(&mut self, channel: &Channel, folded: FoldedAlerts) {
        self.send_notification(channel, notification_text::of_folded(folded));
        self.events.add(folded.event());
        if let Some(live) = &mut self.live {
            let FoldedAlerts { user: uid, count } = folded;
            live.publish(&AlertsFoldedLine {
                event: "alerts_folded".to_owned(),
                time: time::now(),
                uid,
                count,
            });
        }
        self.exe_log.add(folded.line());
    }

    fn report_problem(&mut self, channel: &Channel, text: String) {
        if let Some(live) = &mut self.live {
            live.publish(&ErrorLine { event: "error".to_owned(), time: time::now(), text: text.clone() });
        }
        self.send_notification(channel, notification_text::of_problem(&text));
        self.events.add(Event::new(EventKind::Error, time::now(), text.clone()));
        self.status.add_error(text);
    }

    /// Sends a notification to the monitor, for desktop users. Those that do not fit into the channel are counted, and reported
    /// once there is room again.
    fn send_notification(&mut self, channel: &Channel, notification: Notification) {
        if !self.desktop {
            return;
        }
        if !ToMonitor::Notification(notification).try_send(channel) {
            self.dropped += 1;
        } else if self.dropped > 0
            && ToMonitor::Notification(Notification::about_dropped(self.dropped)).try_send(channel)
        {
            self.dropped = 0;
        }
    }
}
