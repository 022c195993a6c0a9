//! Sends what the windows of the log have to one receiver, for ever.

use std::{
    collections::HashSet,
    convert::Infallible,
    path::PathBuf,
    time::{Duration, Instant},
};

use export::{Failure, POLL_INTERVAL, SinkNews, SinkPosition, SinkState, Unsent};
use model::text::{sanitize, time};
use store::{Begin, Followed, LogName, StoreError, WholeWindow, WindowFollower};
use tokio::time::sleep;

use crate::{
    error::ForwardError,
    item::Item,
    otlp::{Refusal, Totals},
    receiver::Receiver,
    target::Target,
};

/// Time between two sentences about what a receiver refuses for good. Each is an event of the log, which it may refuse, too.
const REFUSAL_INTERVAL: Duration = Duration::from_secs(3600);

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
    let mut state = SinkState::new(&target.name, target.address());
    state.status.last_window = position.as_ref().map_or(0, |position| position.window);
    let mut sender = Sender {
        target,
        log,
        host,
        position,
        taken: HashSet::new(),
        totals: None,
        refusals: Refusals::default(),
        state,
    };
    loop {
        let error = match sender.session(&mut report).await {
            Err(error) => error,
            Ok(never) => match never {},
        };
        let failure = Failure {
            reason: sanitize::message(&model::error_chain(&error)),
            is_log_missing: error.is_log_missing(),
            is_conflict: false,
        };
        let pause = sender.state.fail(&failure, &mut report);
        sleep(error.retry_after().map_or(pause, |wanted| wanted.max(pause))).await;
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
    /// The sums up to the position, for a receiver that gets them.
    totals: Option<Totals>,
    refusals: Refusals,
    state: SinkState,
}

/// What a receiver has refused for good.
#[derive(Default)]
struct Refusals {
    count: u64,
    told: Option<Instant>,
}

impl Sender<'_> {
    /// Sends until something fails.
    async fn session(&mut self, report: &mut impl FnMut(SinkNews)) -> Result<Infallible, ForwardError> {
        let mut follower = self.open().map_err(|source| self.log_error(source))?;
        if self.position.is_none() {
            // What is recorded from now on is sent, also if this process ends before.
            self.set_position(&follower, report);
        }
        let receiver = Receiver::new(self.target, self.host)?;
        loop {
            match follower.read().map_err(|source| self.log_error(source))? {
                Followed::Windows { log, windows, deleted } => {
                    let of_window = |window| Item::of_window(&self.target.section, log, window);
                    let items: Vec<Item> = windows.iter().flat_map(of_window).collect();
                    self.look(&follower)?;
                    self.deliver(&receiver, items, report).await?;
                    self.deliver_totals(&receiver, log, &windows, report).await?;
                    self.state.settle();
                    self.note_sent(&windows, report, deleted);
                    self.set_position(&follower, report);
                    self.look(&follower)?;
                    self.state.tell(report);
                }
                Followed::Nothing | Followed::Missing => {
                    self.look(&follower)?;
                    self.state.tell(report);
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
        self.state.status.last_window = position.window;
        self.taken.clear();
        self.position = Some(position.clone());
        report(SinkNews::Position(self.target.name.clone(), position));
    }

    /// Sends what the receiver does not have yet.
    async fn deliver(
        &mut self,
        receiver: &Receiver<'_>,
        mut items: Vec<Item>,
        report: &mut impl FnMut(SinkNews),
    ) -> Result<(), ForwardError> {
        items.retain(|item| !self.taken.contains(item.id()));
        for batch in items.chunks(receiver.batch()) {
            let refused = receiver.send(batch).await?;
            self.taken.extend(batch.iter().map(|item| item.id().to_owned()));
            self.note_refusals(refused, report);
        }
        Ok(())
    }

    /// Sends the sums with what the windows have. They count once, whatever has to be tried again.
    async fn deliver_totals(
        &mut self,
        receiver: &Receiver<'_>,
        log: LogName,
        windows: &[WholeWindow],
        report: &mut impl FnMut(SinkNews),
    ) -> Result<(), ForwardError> {
        if !receiver.has_metrics() {
            return Ok(());
        }
        let begin = self.position.as_ref().map_or(0, |position| position.time);
        let totals = Totals::with(self.totals.as_ref(), log, begin, windows);
        let refused = receiver.send_metrics(&totals).await?;
        self.totals = Some(totals);
        self.note_refusals(refused, report);
        Ok(())
    }

    /// Tells what the receiver will never take.
    fn note_refusals(&mut self, refused: Vec<Refusal>, report: &mut impl FnMut(SinkNews)) {
        for Refusal { count, what, reason } in refused {
            self.refusals.count += count;
            if self.refusals.told.is_some_and(|told| told.elapsed() < REFUSAL_INTERVAL) {
                continue;
            }
            self.refusals.told = Some(Instant::now());
            let reason = if reason.is_empty() { "it does not say why".to_owned() } else { reason };
            let text = format!(
                "{}: {} refuses {count} {what} for good ({}). They are not sent again; {} were refused since the exporter started.",
                self.target.name,
                self.target.address(),
                reason.trim_end_matches('.'),
                self.refusals.count
            );
            report(SinkNews::Problem(text));
        }
    }

    fn note_sent(&mut self, windows: &[store::WholeWindow], report: &mut impl FnMut(SinkNews), deleted: u64) {
        self.state.status.sent_windows += windows.len() as u64;
        if self.target.section.records {
            let records = windows.iter().map(|window| window.records.len() as u64);
            self.state.status.sent_records += records.sum::<u64>();
        }
        if deleted > 0 {
            let unsent = Unsent { windows: deleted, records: 0 };
            self.state.tell_deleted(&format!("{deleted} windows"), unsent, report);
        }
    }

    /// Looks how far the log is ahead. A receiver that lacks nothing counts as reached: there is nothing to send by which it could be
    /// tried.
    fn look(&mut self, follower: &WindowFollower) -> Result<(), ForwardError> {
        let behind =
            follower.behind(self.state.status.last_window).map_err(|source| self.log_error(source))?;
        let status = &mut self.state.status;
        if behind.0 == 0 && status.problem.is_none() {
            status.is_connected = true;
        }
        (status.lag_windows, status.lacks_since) = (Some(behind.0), behind.1);
        Ok(())
    }
}
