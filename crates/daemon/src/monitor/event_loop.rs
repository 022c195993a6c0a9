//! The event loop of the monitor: waits for the kernel, the recorder and signals, and drains the flow table regularly.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags};

use super::{
    exporter_process::ExporterProcess, open_sockets::OpenSocketLists, signals::Request, state::Monitor,
};
use crate::{
    daemon_log::keep_bounded,
    error::{MonitorError, io_error},
    heap::trim_heap,
    messages::ToMonitor,
    poll::poll_until,
};
use capture::DrainMode;
use ipc::Received;

/// Time between two regular drains.
pub(super) const TICK: Duration = Duration::from_millis(500);
/// Time between two drains at least, however fast the ring buffer fills: each drain reads the whole flow table.
const MIN_PAUSE: Duration = Duration::from_millis(25);

/// Messages of the recorder that are taken at a time: it must not keep the monitor from its drains.
const MAX_MESSAGES: usize = 256;

/// Time between two looks at the size of daemon.log: what is printed to it is bounded.
const BOUND_LOG: Duration = Duration::from_secs(60);

/// When the next drain is due.
struct DrainSchedule {
    /// The time of the next regular drain.
    due: Instant,
    /// No drain starts before this, not even an urgent one.
    earliest: Instant,
}

/// The event sources that poll(2) has reported as ready.
struct Ready {
    signals: bool,
    /// The ring buffer is filling up: drain before it is full.
    urgent: bool,
    /// The recorder has sent a message.
    recorder: bool,
    /// The recorder has closed its end of the channel.
    recorder_closed: bool,
    executables: bool,
    observations: bool,
}

impl Monitor {
    /// Records until a signal ends it, then lets the recorder write everything.
    pub(super) fn run(mut self) -> Result<(), MonitorError> {
        let mut ended = self.send_existing().and_then(|()| self.watch());
        // The service manager starts it again.
        self.leaves_hooks |= ended.is_err() && self.keeps_hooks;
        self.service.stopping("Writing what was recorded.");
        // Whatever the error is, the next step is done: the recorder has to get and to write what there is.
        for step in
            [Self::await_executables, Self::drain_last, Self::await_last_executables, Self::end_recorder]
        {
            if let Err(MonitorError::RecorderGone(_)) = ended {
                break;
            }
            ended = ended.and(step(&mut self));
        }
        ended
    }

    /// Detaches the hooks and reads what they have counted. Nothing is counted after that, so the drain comes right then:
    /// everything that may take time has been done before. Or it leaves the hooks to the next run, and reads what they have
    /// counted until now.
    fn drain_last(&mut self) -> Result<(), MonitorError> {
        if self.leaves_hooks {
            self.capture.prepare_to_leave();
            // Not the final one: the hooks go on counting, so no flow is final after it was read.
            self.drain(DrainMode::Regular)?;
            if self.capture.leave(self.processes.save_all()) {
                return Ok(());
            }
        }
        self.capture.detach();
        self.drain(DrainMode::Final).map(drop)
    }

    fn end_recorder(&mut self) -> Result<(), MonitorError> {
        self.recorder.end()
    }

    fn watch(&mut self) -> Result<(), MonitorError> {
        let now = Instant::now();
        let mut schedule = DrainSchedule { due: now + TICK, earliest: now };
        loop {
            let ready = self.wait(&schedule)?;
            if ready.signals && self.receive_signals()? {
                return Ok(());
            }
            if ready.recorder_closed {
                return Err(self.recorder.gone());
            }
            self.recorder.flush()?;
            if ready.executables {
                self.collect_executables()?;
            }
            if ready.recorder && self.receive_messages()? {
                // A list of open sockets belongs to the end of a drain.
                schedule.due = Instant::now();
            }
            if ready.observations {
                self.send_observations()?;
            }
            let now = Instant::now();
            if now >= schedule.due || ready.urgent {
                let hurry = self.tick()?;
                schedule.earliest = Instant::now() + MIN_PAUSE;
                schedule.due = if hurry { schedule.earliest } else { now + TICK };
            }
        }
    }

    fn wait(&self, schedule: &DrainSchedule) -> Result<Ready, MonitorError> {
        let readable = |enabled: bool| if enabled { PollFlags::POLLIN } else { PollFlags::empty() };
        // The urgent descriptor stays readable until the next drain.
        let resting = Instant::now() < schedule.earliest;
        let signals = self.signals.descriptor.as_fd();
        let mut recorder = PollFlags::POLLIN;
        recorder.set(PollFlags::POLLOUT, self.recorder.has_waiting());
        let mut interests = [
            PollFd::new(signals, PollFlags::POLLIN),
            PollFd::new(self.capture.urgent_fd(), readable(!resting)),
            PollFd::new(self.recorder.as_fd(), recorder),
            // While the recorder is slow, executed files stay in the queue of fanotify, which has room for all.
            PollFd::new(
                self.executables.as_ref().map_or(signals, AsFd::as_fd),
                readable(self.recorder.free_messages() > 0),
            ),
            PollFd::new(self.capture.observations_fd(), PollFlags::POLLIN),
        ];
        let until = if resting { schedule.earliest } else { schedule.due };
        poll_until(&mut interests, Some(until)).map_err(io_error("the monitor cannot wait for events"))?;
        let [signals, urgent, recorder, executables, observations] =
            interests.map(|interest| interest.revents().unwrap_or(PollFlags::empty()));
        Ok(Ready {
            signals: signals.contains(PollFlags::POLLIN),
            urgent: urgent.contains(PollFlags::POLLIN),
            recorder: recorder.contains(PollFlags::POLLIN),
            recorder_closed: recorder.intersects(PollFlags::POLLHUP | PollFlags::POLLERR),
            executables: executables.contains(PollFlags::POLLIN),
            observations: observations.contains(PollFlags::POLLIN),
        })
    }

    /// Takes the signals that have come. Returns whether one of them ends the monitor.
    fn receive_signals(&mut self) -> Result<bool, MonitorError> {
        while let Some(request) = self.signals.receive()? {
            match request {
                Request::End => return Ok(true),
                Request::Restart => {
                    self.leaves_hooks = true;
                    return Ok(true);
                }
                Request::Terminate => {
                    self.leaves_hooks = self.keeps_hooks;
                    return Ok(true);
                }
                Request::Reload => self.reload()?,
            }
        }
        Ok(false)
    }

    /// Takes the messages of the recorder. Returns whether it wants a list of open sockets from now on.
    fn receive_messages(&mut self) -> Result<bool, MonitorError> {
        let mut wanted = false;
        for _ in 0..MAX_MESSAGES {
            let Received::Message(message, _) = self.recorder.receive()? else { break };
            match message {
                ToMonitor::Notification(notification) => {
                    if let Some(notifiers) = &mut self.notifiers {
                        notifiers.show(&notification);
                    }
                }
                ToMonitor::ResolvedClosed => self.name_sources.resolved.set_closed(),
                ToMonitor::ListOpenSockets(on) => {
                    self.open_sockets = on.then(OpenSocketLists::new);
                    wanted = on;
                }
                ToMonitor::Recorded(drain) => self.capture.set_recorded(drain),
                ToMonitor::Alive => self.recorder.set_alive(),
                ToMonitor::Ready(_) | ToMonitor::Failed(_) => {}
            }
        }
        Ok(wanted)
    }

    /// Bounds daemon.log, now and then.
    fn bound_daemon_log(&mut self) {
        if self.log_bounded.elapsed() >= BOUND_LOG {
            self.log_bounded = Instant::now();
            keep_bounded(&self.layout.daemon_log);
        }
    }

    /// Does the regular work. Returns whether it should be done again soon.
    fn tick(&mut self) -> Result<bool, MonitorError> {
        let sample = self.capture.needs_sampling() && self.sampled.elapsed() + TICK >= self.window;
        if let Some(notifiers) = &mut self.notifiers {
            notifiers.tick();
            for text in notifiers.take_problems() {
                self.recorder.report(text)?;
            }
        }
        if let Some(problem) = self.exporter.as_mut().and_then(ExporterProcess::tick) {
            self.recorder.report(problem)?;
        }
        self.recorder.check_health()?;
        // The event loop has come here, and the recorder has answered not long ago.
        if self.recorder.is_healthy() {
            self.service.ping();
        }
        self.bound_daemon_log();
        let hurry = self.drain(if sample { DrainMode::SampleSockets } else { DrainMode::Regular })?;
        trim_heap(&mut self.heap_trimmed);
        Ok(hurry)
    }
}
