//! What a sink knows of itself while it sends: its state as it was told, and when it tries again.

use std::{collections::HashSet, time::Duration};

use model::text::sanitize;

use crate::status::{SinkNews, SinkStatus, Unsent};

/// Pause after a failure. It doubles with each one, until something was sent.
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// Pause between two looks at the log when all was sent. A window takes ten seconds.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Characters of a sentence: a server chooses a part of it.
const MAX_SENTENCE: usize = 1500;

/// Why a sink failed.
pub struct Failure {
    /// The reason, without the name of the sink.
    pub reason: String,
    /// The log is not there yet: the daemon starts, and says what is wrong if it does not.
    pub is_log_missing: bool,
    /// Something was in the way that is soon gone: no failure unless it comes again.
    pub is_conflict: bool,
}

/// The state of a sink.
pub struct SinkState {
    /// As it is told.
    pub status: SinkStatus,
    /// The status that was told last.
    told: Option<SinkStatus>,
    /// Failures since something was sent.
    failures: u32,
    /// Windows that were sent up to the last failure.
    sent_before: u64,
    /// Sentences that were told since all was well.
    told_problems: HashSet<String>,
}

impl SinkState {
    /// The state of the sink of a section of the configuration; `server` is its other end, in a sentence.
    pub fn new(name: &str, server: String) -> Self {
        let status = SinkStatus { name: name.to_owned(), server, ..SinkStatus::default() };
        Self { status, told: None, failures: 0, sent_before: 0, told_problems: HashSet::new() }
    }

    /// Whether anything was told yet.
    pub fn was_told(&self) -> bool {
        self.told.is_some()
    }

    /// Tells the status, if it has changed.
    pub fn tell(&mut self, report: &mut impl FnMut(SinkNews)) {
        if self.told.as_ref() != Some(&self.status) {
            self.told = Some(self.status.clone());
            report(SinkNews::Status(self.status.clone()));
        }
    }

    /// Tells a sentence, unless it was told since all was well.
    pub fn tell_problem(&mut self, sentence: String, report: &mut impl FnMut(SinkNews)) {
        if self.told_problems.insert(sentence.clone()) {
            report(SinkNews::Problem(sentence));
        }
    }

    /// Tells what was deleted from the log before it could be sent; `what` is that in words.
    pub fn tell_deleted(&mut self, what: &str, deleted: Unsent, report: &mut impl FnMut(SinkNews)) {
        self.status.unsent.windows += deleted.windows;
        self.status.unsent.records += deleted.records;
        let text = format!(
            "{}: {what} were deleted from the log before they could be sent (log.retention_days, log.retention_megabytes, or \
             picosnitch forget): {} lacks them for good.",
            self.status.name, self.status.server
        );
        report(SinkNews::Deleted(text, deleted));
    }

    /// Takes note of a failure, and tells a new one. Returns the pause before the next try: those that lost one server do not all
    /// come back at once.
    pub fn fail(&mut self, failure: &Failure, report: &mut impl FnMut(SinkNews)) -> Duration {
        let has_sent = self.status.sent_windows > self.sent_before;
        self.sent_before = self.status.sent_windows;
        self.failures = if has_sent { 1 } else { self.failures.saturating_add(1) };
        self.status.is_connected = false;
        if !failure.is_log_missing {
            let text = sanitize::shorten(&failure.reason, MAX_SENTENCE);
            let sentence = format!("{}: {}.", self.status.name, text.trim_end_matches('.'));
            self.status.problem = Some(sentence.clone());
            self.tell(report);
            if !failure.is_conflict || self.failures >= 3 {
                self.tell_problem(
                    format!("{sentence} What is recorded waits in the log and is sent later."),
                    report,
                );
            }
        }
        let doublings = if failure.is_conflict { 0 } else { self.failures.saturating_sub(1).min(10) };
        let pause = (MIN_PAUSE * 2_u32.pow(doublings)).min(MAX_PAUSE);
        let spread = std::process::id().wrapping_mul(0x9e37_79b9).wrapping_add(self.failures) % 256;
        pause * (768 + spread) / 1024
    }

    /// Takes note that something was sent.
    pub fn succeed(&mut self) {
        self.failures = 0;
        self.status.problem = None;
        self.status.is_connected = true;
    }

    /// Takes note that all was sent.
    pub fn settle(&mut self) {
        self.succeed();
        self.told_problems.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(is_conflict: bool) -> Failure {
        Failure { reason: "no answer".into(), is_log_missing: false, is_conflict }
    }

    #[test]
    fn pauses_grow_up_to_a_bound_until_something_is_sent() {
        let mut state = SinkState::new("log.server", "a server".into());
        let mut before = Duration::ZERO;
        for _ in 1..40 {
            let pause = state.fail(&failure(false), &mut |_| {});
            assert!(pause * 4 >= MIN_PAUSE * 3 && pause <= MAX_PAUSE, "{pause:?}");
            assert!(pause > before || pause * 4 >= MAX_PAUSE * 3, "{pause:?} after {before:?}");
            before = pause;
        }
        assert!(state.fail(&failure(true), &mut |_| {}) <= MIN_PAUSE);
        state.status.sent_windows += 1;
        assert!(state.fail(&failure(false), &mut |_| {}) <= MIN_PAUSE);
    }

    #[test]
    fn a_problem_is_told_once_and_a_conflict_if_it_stays() {
        let mut state = SinkState::new("log.server", "a server".into());
        let mut problems = 0;
        let mut fail = |state: &mut SinkState, is_conflict, expected| {
            state.fail(&failure(is_conflict), &mut |news| {
                problems += i32::from(matches!(news, SinkNews::Problem(_)))
            });
            assert_eq!(std::mem::take(&mut problems), expected);
        };
        fail(&mut state, true, 0);
        fail(&mut state, true, 0);
        fail(&mut state, true, 1);
        fail(&mut state, false, 0);
        state.settle();
        assert_eq!(state.status.problem, None);
        fail(&mut state, false, 1);
    }
}
