//! Executed files on their way from fanotify to the recorder.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{MAX_WAITING_MESSAGES, Monitor};
use crate::{error::MonitorError, messages::ToRecorder};
use identity::{ExecutableUpdate, Executables, digests::FileState};

/// How long the end waits for the files of programs that were executed just before.
const LAST_EXECUTABLES: Duration = Duration::from_secs(2);

impl Monitor {
    /// Takes executed files over from the threads that watch them.
    pub(super) fn collect_executables(&mut self) -> Result<(), MonitorError> {
        let room = MAX_WAITING_MESSAGES.saturating_sub(self.recorder.waiting.len());
        if let Some(executables) = &mut self.executables {
            executables.collect(room, Instant::now());
        }
        self.tell_executables()
    }

    /// The end: programs that were executed a moment ago still have their files on the way.
    pub(super) fn await_executables(&mut self) -> Result<(), MonitorError> {
        let until = Instant::now() + LAST_EXECUTABLES;
        while self.executables.as_ref().is_some_and(Executables::is_waiting) && Instant::now() < until {
            let mut ready = [
                PollFd::new(
                    self.executables.as_ref().map_or(self.recorder.channel.as_fd(), AsFd::as_fd),
                    PollFlags::POLLIN,
                ),
                PollFd::new(self.recorder.channel.as_fd(), PollFlags::POLLOUT),
            ];
            if self.recorder.waiting.is_empty() {
                ready[1].set_events(PollFlags::empty());
            }
            let _ = poll(&mut ready, PollTimeout::from(50_u16));
            self.recorder.flush()?;
            self.collect_executables()?;
            if let Some(executables) = &mut self.executables {
                executables.tick(Instant::now());
            }
        }
        Ok(())
    }

    pub(super) fn tell_executables(&mut self) -> Result<(), MonitorError> {
        let outgoing = self.executables.as_mut().map(Executables::take_updates).unwrap_or_default();
        for outgoing in outgoing {
            let (message, descriptor) = match outgoing {
                ExecutableUpdate::Hash { id, file, info } => {
                    let (size, modified) = (info.file.size, info.file.modified);
                    let file_is = FileState { size, modified, magic: info.magic };
                    (ToRecorder::Executable { id, file_is }, Some(file.into()))
                }
                ExecutableUpdate::Unhashed(id, why) => (ToRecorder::Unhashed(id, why), None),
                ExecutableUpdate::ForgetBefore(id) => (ToRecorder::ForgetExecutables(id), None),
                ExecutableUpdate::Problem(text) => (ToRecorder::Problem(text), None),
            };
            self.recorder.tell(&message, descriptor)?;
        }
        Ok(())
    }
}
