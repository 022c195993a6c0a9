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
        let length = self.window_length;
        let mut end = Instant::now() + length;
        loop {
            self.wait(end)?;
            if self.receive_messages(end)? {
                return Ok(());
            }
            self.resolved_closed |= !self.names.read_resolved();
            // A full channel takes the message in a later round.
            if self.resolved_closed && ToMonitor::ResolvedClosed.try_send(&self.channel) {
                self.resolved_closed = false;
            }
            self.take_digests();
            self.serve_exporter();
            self.reporter.serve(&self.channel);
            if let Some(live) = self.reporter.live() {
                self.connections.serve(live, &self.channel, &self.rules);
            }
            let now = Instant::now();
            if now >= end {
                self.close_window(false);
                trim_heap(&mut self.heap_trimmed);
                // No windows are written for the time in which the machine was suspended.
                end = (end + length).max(now + length / 2);
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

    fn wait(&self, end: Instant) -> Result<(), RecorderError> {
        let mut interests = vec![
            PollFd::new(self.channel.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.contexts.digests().as_fd(), PollFlags::POLLIN),
        ];
        interests.extend(self.reporter.interests());
        interests.extend(self.names.interest());
        interests.extend(self.exporter.iter().flat_map(ExporterLink::interests));
        let until = self.reporter.due().unwrap_or(end).min(end).min(Instant::now() + MAX_WAIT);
        poll_until(&mut interests, Some(until))?;
        Ok(())
    }

    /// Takes messages until there are none, or the window ends, or others have waited for long enough. Returns whether the
    /// last message has come.
    fn receive_messages(&mut self, end: Instant) -> Result<bool, RecorderError> {
        let end = end.min(Instant::now() + MAX_TURN);
        loop {
            match self.channel.receive()? {
                Received::Message(ToRecorder::End, _) => return Ok(true),
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
