//! Sends executed files from fanotify to the recorder, which hashes them.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags};

use super::{event_loop::TICK, state::Monitor};
use crate::{error::MonitorError, messages::ToRecorder, poll::poll_until};
use capture::DrainMode;
use identity::{ExecutableUpdate, Executables, digests::FileState};

/// How long the shutdown waits for the executables of programs that have just started: while it still records, and once more
/// after the last drain.
const LAST_EXECUTABLES: Duration = Duration::from_secs(2);
/// Pause between two checks for those files.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

impl Monitor {
    /// Takes executed files from the threads that watch them, and sends them.
    pub(super) fn collect_executables(&mut self) -> Result<(), MonitorError> {
        let room = self.recorder.free_messages();
        if let Some(executables) = &mut self.executables {
            executables.collect(room, &self.processes, Instant::now());
        }
        self.send_executables()
    }

    /// Waits, during the shutdown, for executables of programs that have just started. The flow table is drained meanwhile.
    pub(super) fn await_executables(&mut self) -> Result<(), MonitorError> {
        let until = Instant::now() + LAST_EXECUTABLES;
        self.drain(DrainMode::Regular)?;
        // What starts from now on is for the second wait: programs may start all the time.
        let before = self.executables.as_ref().map_or(0, Executables::next_id);
        while !self.await_executables_until(before, until.min(Instant::now() + TICK))?
            && Instant::now() < until
        {
            self.drain(DrainMode::Regular)?;
        }
        Ok(())
    }

    /// Waits for the executables of programs that have started since, and gives up those that do not come.
    pub(super) fn await_last_executables(&mut self) -> Result<(), MonitorError> {
        let before = self.executables.as_ref().map_or(0, Executables::next_id);
        self.await_executables_until(before, Instant::now() + LAST_EXECUTABLES)?;
        self.send_writers()?;
        if let Some(executables) = &mut self.executables {
            executables.give_up(Instant::now());
        }
        self.send_executables()
    }

    /// Waits for the executables with ids before this one. Returns whether all have come.
    fn await_executables_until(&mut self, before: u32, until: Instant) -> Result<bool, MonitorError> {
        while let Some(executables) = &self.executables
            && executables.is_waiting(before)
        {
            if Instant::now() >= until {
                return Ok(false);
            }
            let mut interests = Vec::new();
            // Files that find no room stay where they are: they would be there at once.
            if self.recorder.free_messages() > 0 {
                interests.push(PollFd::new(executables.as_fd(), PollFlags::POLLIN));
            }
            if self.recorder.has_waiting() {
                interests.push(PollFd::new(self.recorder.as_fd(), PollFlags::POLLOUT));
            }
            let _ = poll_until(&mut interests, Some(Instant::now() + POLL_INTERVAL));
            self.recorder.flush()?;
            self.collect_executables()?;
            if let Some(executables) = &mut self.executables {
                executables.tick(Instant::now());
            }
        }
        Ok(true)
    }

    /// Sends who wrote to files that were executed. The caller calls this when it has applied the events of processes.
    pub(super) fn send_writers(&mut self) -> Result<(), MonitorError> {
        let writers = self.executables.as_mut().map(|executables| executables.take_writers(&self.processes));
        for (id, writer) in writers.unwrap_or_default() {
            self.recorder.send(&ToRecorder::Written(id, writer), None)?;
        }
        Ok(())
    }

    /// Sends the executables queued by the watcher to the recorder.
    pub(super) fn send_executables(&mut self) -> Result<(), MonitorError> {
        let updates = self.executables.as_mut().map(Executables::take_updates).unwrap_or_default();
        for update in updates {
            let (message, descriptor) = match update {
                ExecutableUpdate::Hash { id, file, info } => {
                    let (size, modified) = (info.file.size, info.file.modified);
                    let file_is = FileState { size, modified, magic: info.magic };
                    let inode = (info.file.device, info.file.inode, info.file.generation);
                    (ToRecorder::Executable { id, file_is, inode }, Some(file.into()))
                }
                ExecutableUpdate::Written(id, writer) => (ToRecorder::Written(id, Some(writer)), None),
                ExecutableUpdate::Unhashed(id, why) => (ToRecorder::Unhashed(id, why), None),
                ExecutableUpdate::ForgetBefore(id) => (ToRecorder::ForgetExecutables(id), None),
                ExecutableUpdate::Problem(text) => (ToRecorder::Problem(text), None),
            };
            self.recorder.send(&message, descriptor)?;
        }
        Ok(())
    }
}
