//! The event loop of the recorder: waits for the monitor, the hasher and clients, and closes the window when it is over.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags};

use super::{error::RecorderError, exporter_link::ExporterLink, state::Recorder};
use crate::{
    heap::trim_heap,
    messages::{ToMonitor, ToRecorder},
    poll::poll_until,
};
use ipc::Received;

/// The longest wait: folded problems are written from time to time.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// How long messages of the monitor are taken before digests and clients have their turn.
const MAX_TURN: Duration = Duration::from_millis(50);

impl Recorder {
    /// Records until the last message of the monitor.
    ///
    /// # Errors
    /// The monitor is gone, or its channel fails.
    pub(super) fn serve(&mut self) -> Result<(), RecorderError> {
        self.window_end = Instant::now() + self.window_length;
        loop {
            self.wait()?;
            if self.receive_messages()? {
                return Ok(());
            }
            // A full channel takes the answer in a later round.
            if self.alive_wanted && ToMonitor::Alive.try_send(&self.channel) {
                self.alive_wanted = false;
            }
            self.resolved_closed |= !self.names.read_resolved();
            // A full channel takes the message in a later round.
            if self.resolved_closed && ToMonitor::ResolvedClosed.try_send(&self.channel) {
                self.resolved_closed = false;
            }
            // Without snitch.db nothing is known but what was taken.
            let recorded = if self.sinks.has_log() { self.sinks.recorded() } else { self.last_drain };
            if recorded != self.told_recorded
                && let Some(drain) = recorded
                && ToMonitor::Recorded(drain).try_send(&self.channel)
            {
                self.told_recorded = recorded;
            }
            self.take_digests();
            self.serve_exporter();
            self.reporter.serve(&self.channel);
            if let Some(live) = self.reporter.live() {
                self.connections.serve(live, &self.channel, &self.rules);
            }
            let now = Instant::now();
            if now >= self.window_end {
                self.close_window(false);
                let length = self.window_length;
                // No windows are written for the time in which the machine was suspended.
                self.window_end = (self.window_end + length).max(now + length / 2);
            }
            // The window before is written by now.
            if now + self.window_length / 2 >= self.window_end {
                trim_heap(&mut self.heap_trimmed);
            }
        }
    }

    /// Takes the digests that are known now.
    pub(super) fn take_digests(&mut self) {
        let settled = self.contexts.digests().take_settled();
        let late = self.contexts.late_digests(&settled);
        late.into_iter().for_each(|event| self.reporter.add_event(event));
        self.reporter.add_digests(&self.channel, settled);
    }

    fn wait(&self) -> Result<(), RecorderError> {
        let mut interests = vec![
            PollFd::new(self.channel.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.contexts.digests().as_fd(), PollFlags::POLLIN),
        ];
        interests.extend(self.reporter.interests());
        interests.extend(self.names.interest());
        interests.extend(self.exporter.iter().flat_map(ExporterLink::interests));
        let end = self.window_end.min(Instant::now() + MAX_WAIT);
        let until = self.reporter.due().unwrap_or(end).min(end);
        poll_until(&mut interests, Some(until))?;
        Ok(())
    }

    /// Takes messages until there are none, or the window ends, or others have waited for long enough. Returns whether the
    /// last message has come.
    fn receive_messages(&mut self) -> Result<bool, RecorderError> {
        let end = self.window_end.min(Instant::now() + MAX_TURN);
        loop {
            match self.channel.receive()? {
                Received::Message(ToRecorder::End, _) => {
                    self.settle_interrupted_drain();
                    return Ok(true);
                }
                Received::Message(message, descriptor) => self.handle(message, descriptor),
                Received::Nothing => return Ok(false),
                Received::Closed => return Err(RecorderError::MonitorGone),
            }
            if Instant::now() >= end {
                return Ok(false);
            }
        }
    }
}
