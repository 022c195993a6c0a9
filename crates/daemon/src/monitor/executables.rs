//! Sends executed files from fanotify to the recorder, which hashes them.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags};

use super::state::Monitor;
use crate::{error::MonitorError, messages::ToRecorder, poll::poll_until};
use identity::{Executables, Outgoing, digests::FileState};

/// How long the end waits for the files of programs that were executed just before.
const LAST_EXECUTABLES: Duration = Duration::from_secs(2);
/// Time between two looks at those files.
const LOOK: Duration = Duration::from_millis(50);

impl Monitor {
    /// Takes executed files from the threads that watch them, and sends them.
    pub(super) fn collect_executables(&mut self) -> Result<(), MonitorError> {
        let room = self.recorder.free_messages();
        if let Some(executables) = &mut self.executables {
            executables.collect(room, Instant::now());
        }
        self.send_executables()
    }

    /// At the end, waits for the files of programs that were executed a moment ago.
    pub(super) fn await_executables(&mut self) -> Result<(), MonitorError> {
        let until = Instant::now() + LAST_EXECUTABLES;
        while let Some(executables) = &self.executables
            && executables.is_waiting()
            && Instant::now() < until
        {
            let mut interests = vec![PollFd::new(executables.as_fd(), PollFlags::POLLIN)];
            if self.recorder.has_waiting() {
                interests.push(PollFd::new(self.recorder.as_fd(), PollFlags::POLLOUT));
            }
            let _ = poll_until(&mut interests, Some(Instant::now() + LOOK));
            self.recorder.flush()?;
            self.collect_executables()?;
            if let Some(executables) = &mut self.executables {
                executables.tick(Instant::now());
            }
        }
        Ok(())
    }

    /// Sends what the watcher of executables has for the recorder.
    pub(super) fn send_executables(&mut self) -> Result<(), MonitorError> {
        let outgoing = self.executables.as_mut().map(Executables::take_outgoing).unwrap_or_default();
        for outgoing in outgoing {
            let (message, descriptor) = match outgoing {
                Outgoing::Hash { id, file, found } => {
                    let (size, modified) = (found.file.size, found.file.modified);
                    let file_is = FileState { size, modified, magic: found.magic };
                    (ToRecorder::Executable { id, file_is }, Some(file.into()))
                }
                Outgoing::Unhashed(id, why) => (ToRecorder::Unhashed(id, why), None),
                Outgoing::ForgetBefore(id) => (ToRecorder::ForgetExecutables(id), None),
                Outgoing::Problem(text) => (ToRecorder::Problem(text), None),
            };
            self.recorder.send(&message, descriptor)?;
        }
        Ok(())
    }
}
