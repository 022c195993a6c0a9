//! Whether the recorder makes progress: it is asked from time to time, and its answer shows that its event loop runs.

use std::{
    fs,
    time::{Duration, Instant},
};

/// Pause between an answer and the next question.
const PAUSE: Duration = Duration::from_secs(10);
/// Silence after which the user is told.
pub(super) const STUCK: Duration = Duration::from_secs(30);
/// Silence after which the daemon ends.
pub(super) const HUNG: Duration = Duration::from_secs(60);
/// The longest time between two calls of [`RecorderHealth::tick`] that counts: a machine that stood still, or a daemon that was
/// stopped as a whole, says nothing about the recorder.
const MAX_STEP: Duration = Duration::from_secs(2);

/// The answers of the recorder.
#[derive(Debug)]
pub(super) struct RecorderHealth {
    /// How long the monitor has run since a question that has no answer yet.
    silence: Option<Duration>,
    ask_at: Instant,
    ticked: Instant,
}

impl RecorderHealth {
    pub(super) fn new(now: Instant) -> Self {
        Self { silence: None, ask_at: now + PAUSE, ticked: now }
    }

    /// Takes note of the time. Returns whether the recorder has to be asked now.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        let step = now.saturating_duration_since(self.ticked).min(MAX_STEP);
        self.ticked = now;
        match &mut self.silence {
            Some(silence) => *silence += step,
            None if now >= self.ask_at => {
                self.silence = Some(Duration::ZERO);
                return true;
            }
            None => {}
        }
        false
    }

    /// Takes note of an answer.
    pub(super) fn answered(&mut self, now: Instant) {
        self.silence = None;
        self.ask_at = now + PAUSE;
    }

    /// How long an answer has not come.
    pub(super) fn silence(&self) -> Duration {
        self.silence.unwrap_or_default()
    }
}

/// Why a process of picosnitch does nothing, as far as its state tells (proc_pid_stat(5)).
pub(super) fn why_silent(pid: u32) -> &'static str {
    let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    let name_end = stat.iter().rposition(|byte| *byte == b')').unwrap_or(0);
    match stat.get(name_end + 2) {
        Some(b'T' | b't') => "a signal or a debugger has stopped it",
        Some(b'D') => "it waits for a disk that does not answer",
        _ => "it is not known why",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_counts_only_while_the_monitor_itself_runs() {
        let start = Instant::now();
        let mut health = RecorderHealth::new(start);
        assert!(!health.tick(start + PAUSE / 2));
        let mut now = start + PAUSE;
        assert!(health.tick(now) && !health.tick(now));
        // The machine stands still for an hour.
        now += Duration::from_secs(3600);
        health.tick(now);
        assert!(health.silence() <= MAX_STEP);
        for _ in 0..120 {
            now += Duration::from_millis(500);
            assert!(!health.tick(now), "it was asked twice");
        }
        assert!(health.silence() >= HUNG);
        health.answered(now);
        assert_eq!(health.silence(), Duration::ZERO);
        assert!(!health.tick(now + PAUSE / 2) && health.tick(now + PAUSE));
    }

    #[test]
    fn a_process_that_runs_is_not_called_stopped() {
        assert_eq!(why_silent(std::process::id()), "it is not known why");
        assert_eq!(why_silent(u32::MAX), "it is not known why");
    }
}
