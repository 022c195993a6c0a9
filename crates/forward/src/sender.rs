//! Sends what the windows of the log have to one receiver, for ever.

use std::{collections::HashSet, convert::Infallible, path::PathBuf, time::Duration};

use config::Destination;
use export::{SinkNews, SinkPosition, SinkStatus, Unsent};
use model::text::{sanitize, time};
use store::{Begin, Followed, StoreError, WindowFollower};
use tokio::time::sleep;

use crate::{error::ForwardError, item::Item, journald, syslog, target::Target, webhook};

/// Pause after a failure. It doubles with each one, until something was taken.
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// Pause between two looks at the log when all was sent. A window takes ten seconds.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Items that a receiver gets at once.
const MAX_ITEMS: usize = 500;
/// Characters of a sentence: a receiver chooses a part of it.
const MAX_SENTENCE: usize = 1500;

/// Sends what the windows of the log at `log` have behind a position to a receiver, and goes on after every failure. Without a position
/// it begins with the next window, or with the first one, as the section says. `report` gets what there is to tell, and each new
/// position.
pub async fn run(
    target: &Target,
    log: PathBuf,
    host: &str,
    position: Option<SinkPosition>,
    mut report: impl FnMut(SinkNews),
) -> Infallible {
    let mut sender = Sender::new(target, log, host, position);
    loop {
        let sent = sender.status.sent_windows;
        let error = match sender.session(&mut report).await {
            Err(error) => error,
            Ok(never) => match never {},
        };
        sender.fail(&error, sender.status.sent_windows > sent, &mut report);
        sleep(sender.pause()).await;
    }
}

/// What one receiver gets.
struct Sender<'a> {
    target: &'a Target,
    log: PathBuf,
    host: &'a str,
    position: Option<SinkPosition>,
    /// Names of what the receiver has of the windows behind the position.
    taken: HashSet<String>,
    status: SinkStatus,
    /// The status that was told last.
    told: Option<SinkStatus>,
    /// Failures since something was taken.
    failures: u32,
    /// Sentences that were told since all was well.
    told_problems: HashSet<String>,
}

impl<'a> Sender<'a> {
    fn new(target: &'a Target, log: PathBuf, host: &'a str, position: Option<SinkPosition>) -> Self {
        let status = SinkStatus {
            name: target.name.clone(),
            server: target.address(),
            last_window: position.as_ref().map_or(0, |position| position.window),
            ..SinkStatus::default()
        };
        let (taken, told_problems) = (HashSet::new(), HashSet::new());
        Self { target, log, host, position, taken, status, told: None, failures: 0, told_problems }
    }

    /// Takes note of a failure, and tells a new one.
    fn fail(&mut self, error: &ForwardError, has_sent: bool, report: &mut impl FnMut(SinkNews)) {
        self.failures = if has_sent { 1 } else { self.failures.saturating_add(1) };
        self.status.is_connected = false;
        if error.is_log_missing() {
            // The daemon starts, and says what is wrong if it does not.
            return;
        }
        let text = sanitize::shorten(&sanitize::message(&model::error_chain(error)), MAX_SENTENCE);
        let sentence = format!("{}: {}.", self.target.name, text.trim_end_matches('.'));
        self.status.problem = Some(sentence.clone());
        self.tell(report);
        if self.told_problems.insert(sentence.clone()) {
            report(SinkNews::Problem(format!(
                "{sentence} What it has to get waits in the log and is sent later."
            )));
        }
    }

    fn pause(&self) -> Duration {
        (MIN_PAUSE * 2_u32.pow(self.failures.saturating_sub(1).min(10))).min(MAX_PAUSE)
    }

    fn tell(&mut self, report: &mut impl FnMut(SinkNews)) {
        if self.told.as_ref() != Some(&self.status) {
            self.told = Some(self.status.clone());
            report(SinkNews::Status(self.status.clone()));
        }
    }

    /// Sends until something fails.
    async fn session(&mut self, report: &mut impl FnMut(SinkNews)) -> Result<Infallible, ForwardError> {
        let mut follower = self.open().map_err(|source| self.log_error(source))?;
        if self.position.is_none() {
            // What is recorded from now on is sent, also if this process ends before.
            self.set_position(&follower, report);
        }
        loop {
            match follower.read().map_err(|source| self.log_error(source))? {
                Followed::Windows { log, windows, deleted } => {
                    let of_window = |window| Item::of_window(&self.target.section, log, window);
                    let items: Vec<Item> = windows.iter().flat_map(of_window).collect();
                    self.look(&follower)?;
                    self.deliver(&items).await?;
                    self.note_sent(&windows, report, deleted);
                    self.set_position(&follower, report);
                    self.look(&follower)?;
                    self.tell(report);
                }
                Followed::Nothing | Followed::Missing => {
                    self.look(&follower)?;
                    self.tell(report);
                    sleep(POLL_INTERVAL).await;
                }
            }
        }
    }

    fn log_error(&self, source: StoreError) -> ForwardError {
        ForwardError::Log(self.target.address(), Box::new(source))
    }

    fn open(&self) -> Result<WindowFollower, StoreError> {
        match &self.position {
            Some(position) => WindowFollower::resume(self.log.clone(), &position.to_window()),
            None if self.target.section.backfill => WindowFollower::open(self.log.clone(), Begin::First),
            None => WindowFollower::open(self.log.clone(), Begin::Next(time::now())),
        }
    }

    fn set_position(&mut self, follower: &WindowFollower, report: &mut impl FnMut(SinkNews)) {
        let position = SinkPosition::of(&follower.position());
        self.status.last_window = position.window;
        self.taken.clear();
        self.position = Some(position.clone());
        report(SinkNews::Position(self.target.name.clone(), position));
    }

    /// Sends what the receiver does not have yet.
    async fn deliver(&mut self, items: &[Item]) -> Result<(), ForwardError> {
        let wanted: Vec<Item> =
            items.iter().filter(|item| !self.taken.contains(item.id())).cloned().collect();
        let target = self.target;
        for batch in wanted.chunks(MAX_ITEMS) {
            match &target.section.destination {
                Destination::Syslog(server) => syslog::send(target, server, self.host, batch).await?,
                Destination::Journald => journald::send(&target.address(), batch).await?,
                Destination::Webhook(hook) => {
                    for item in batch {
                        webhook::send(target, hook, item).await?;
                        self.taken.insert(item.id().to_owned());
                    }
                }
            }
            self.taken.extend(batch.iter().map(|item| item.id().to_owned()));
        }
        self.failures = 0;
        self.status.problem = None;
        self.status.is_connected = true;
        self.told_problems.clear();
        Ok(())
    }

    fn note_sent(&mut self, windows: &[store::WholeWindow], report: &mut impl FnMut(SinkNews), deleted: u64) {
        self.status.sent_windows += windows.len() as u64;
        if self.target.section.records {
            self.status.sent_records += windows.iter().map(|window| window.records.len() as u64).sum::<u64>();
        }
        if deleted > 0 {
            self.status.unsent.windows += deleted;
            let text = format!(
                "{}: {deleted} windows were deleted from the log before they could be sent (log.retention_days, \
                 log.retention_megabytes, or picosnitch forget): {} lacks them for good.",
                self.target.name, self.status.server
            );
            report(SinkNews::Deleted(text, Unsent { windows: deleted, records: 0 }));
        }
    }

    /// Looks how far the log is ahead. A receiver that lacks nothing counts as reached: there is nothing to send by which it could be
    /// tried.
    fn look(&mut self, follower: &WindowFollower) -> Result<(), ForwardError> {
        let (windows, since) =
            follower.behind(self.status.last_window).map_err(|source| self.log_error(source))?;
        if windows == 0 && self.status.problem.is_none() {
            self.status.is_connected = true;
        }
        (self.status.lag_windows, self.status.lacks_since) = (Some(windows), since);
        Ok(())
    }
}
