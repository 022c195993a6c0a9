//! Lists of what is open, while somebody wants to hear of traffic.

use std::time::{Duration, Instant};

use super::{MAX_WAITING_MESSAGES, Monitor};
use crate::{error::MonitorError, messages::ToRecorder};
use live::connections::Listed;

/// Time between two lists of sockets that moved nothing: each reads the open files of all processes.
const QUIET_PAUSE: Duration = Duration::from_secs(3);

/// Which lists are due.
pub(super) struct Showing {
    /// The recorder has none yet.
    all: bool,
    /// When sockets that moved nothing are listed again.
    quiet_at: Instant,
}

impl Showing {
    pub(super) fn new() -> Self {
        Self { all: true, quiet_at: Instant::now() }
    }
}

impl Monitor {
    /// Lists what is open, when that is due and the recorder keeps up.
    pub(super) fn tell_open(&mut self, now: Instant) -> Result<(), MonitorError> {
        let Some(showing) = &mut self.showing else { return Ok(()) };
        if now >= showing.quiet_at && self.recorder.waiting.len() < MAX_WAITING_MESSAGES {
            showing.quiet_at = now + QUIET_PAUSE;
            let all = std::mem::take(&mut showing.all);
            match self.capture.open() {
                Ok(open) => {
                    if all {
                        self.tell_flows(&open.flows, ToRecorder::Open)?;
                        self.recorder.tell(&ToRecorder::OpenEnds(Listed::Busy), None)?;
                    }
                    self.tell_flows(&open.quiet, ToRecorder::Open)?;
                    self.recorder.tell(&ToRecorder::OpenEnds(Listed::Quiet), None)?;
                }
                Err(error) => {
                    self.recorder.tell(&ToRecorder::Problem(model::error_chain(&error)), None)?;
                }
            }
        }
        self.recorder.tell(&ToRecorder::Drained, None)
    }
}
