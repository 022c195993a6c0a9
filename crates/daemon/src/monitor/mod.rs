//! The monitor: talks to the kernel, knows who is who, and tells the recorder.

use std::{
    collections::HashSet,
    os::fd::AsFd,
    path::Path,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{signal::Signal, signalfd::SignalFd},
};

use super::{
    error::{MonitorError, io_error},
    file_opener,
    host::{block_signals, give_back_memory, is_terminal, lock_pid_file, raise_descriptor_limit, share_heap},
    messages::{ToMonitor, ToRecorder},
    monitor::{
        contexts::{ContextIds, Introduction},
        name_sources::Listening,
        notifiers::Notifiers,
        recorder_link::Recorder,
    },
};
use crate::problems::Problems;
use capture::{self, CLibrary, Capture, DrainMode, DrainOutput, Event, FlowDelta, ResolverFunction};
use config::{Config, layout::Layout};
use identity::{Ancestry, CgroupPaths, Executables, Processes};
use ipc::Received;
use model::{Counters, Flow, FlowId, FlowTuple, Loss, LossKind, ProcessEvent, ProcessId};

mod contexts;
mod executables;
mod name_sources;
mod notifiers;
mod open_list;
mod recorder_link;

use self::open_list::Showing;

/// Time between two drains.
const TICK: Duration = Duration::from_millis(500);
/// Time between two drains at least, however fast the ring fills: each reads the whole flow table.
const SHORTEST_PAUSE: Duration = Duration::from_millis(25);
/// Drains that may fail one after the other.
const MAX_FAILED_DRAINS: u32 = 20;
/// Flows in one message.
const FLOWS_A_MESSAGE: usize = 256;
/// Messages that may wait for the recorder before no more executables are taken from fanotify, which has room for all.
const MAX_WAITING_MESSAGES: usize = 1024;

/// Records until SIGTERM or SIGINT. `started` is called once everything is attached.
///
/// # Errors
/// See [`MonitorError`].
pub fn run(layout: &Layout, config: &Config, started: impl FnOnce(&Capture)) -> Result<(), MonitorError> {
    let _pid_file = lock_pid_file(layout)?;
    let ended = record(layout, config, started);
    // Nobody answers there any more.
    let _ = std::fs::remove_file(layout.run_dir.join(live::SOCKET_NAME));
    if let Err(error) = &ended {
        // The caller says it on standard error.
        Problems::new(layout.error_log.clone()).log(&model::error_chain(error));
    }
    ended
}

fn record(layout: &Layout, config: &Config, started: impl FnOnce(&Capture)) -> Result<(), MonitorError> {
    share_heap();
    let signals = block_signals()?;
    let terminals = [0, 2].map(is_terminal);
    raise_descriptor_limit(config.monitor.rlimit_nofile)?;
    // The recorder opens the log while the kernel checks the programs.
    let mut recorder = Recorder::start(layout, config)?;
    let settings = capture::Settings { ring_buffer_pages: config.monitor.ring_buffer_pages };
    let mut capture = match Capture::start(&settings) {
        Ok(capture) => capture,
        Err(error) => {
            recorder.give_up();
            return Err(error.into());
        }
    };
    capture.try_return_probes();
    let executables = match Executables::start(
        capture.file_probe()?,
        capture.unwatched()?,
        file_opener::open_as_user,
    ) {
        Ok(executables) => Some(executables),
        Err(error) => {
            recorder.tell(
                &ToRecorder::Problem(format!(
                    "Executables cannot be watched ({error}): no program has a SHA-256, and none is known to have \
                     changed. The kernel needs CONFIG_FANOTIFY, and picosnitch CAP_SYS_ADMIN."
                )),
                None,
            )?;
            None
        }
    };
    let mut processes = Processes::default();
    let existing = capture.processes()?;
    processes.add_existing(&existing);
    let mut listening =
        Listening::start(capture.can_probe_resolvers()).map_err(io_error("a thread cannot be started"))?;
    let begin = Instant::now();
    for event in &existing {
        if let Event::Existing(event) = event {
            listening.runs(event, begin);
        }
    }
    capture.learn_earlier_sockets()?;
    let cgroups = capture.features().cgroup.as_deref().map(CgroupPaths::read).unwrap_or_default();
    recorder.wait_until_ready()?;
    started(&capture);
    let unseen = capture.unseen().iter().map(|spot| spot.unseen.to_owned()).collect();
    recorder.tell(&ToRecorder::Unseen(unseen), None)?;
    let window = Duration::from_secs(u64::from(config.log.write_limit_seconds));
    let mut monitor = Monitor {
        capture,
        processes,
        executables,
        listening,
        every_exe: config.monitor.every_exe,
        cgroups,
        contexts: ContextIds::new(Path::new("/")),
        recorder,
        notifiers: config.notifications.desktop.then(Notifiers::new),
        terminals,
        rings: HashSet::new(),
        resynced: None,
        window,
        failed_drains: 0,
        sampled: Instant::now(),
        gave_back: Instant::now(),
        showing: None,
    };
    let ended = monitor.tell_existing(&existing).and_then(|()| monitor.watch(&signals));
    monitor.finish(ended)
}

/// The record of a program that was executed (`monitor.every_exe`).
fn execution(event: &ProcessEvent) -> FlowDelta {
    FlowDelta {
        id: FlowId { process: event.id, uid: event.uid, ..FlowId::default() },
        cgroup: event.cgroup,
        tuple: FlowTuple { local_port: -1, remote_port: -1, ..FlowTuple::default() },
        counters: Counters::default(),
    }
}

struct Monitor {
    capture: Capture,
    processes: Processes,
    /// `None` where fanotify is refused.
    executables: Option<Executables>,
    listening: Listening,
    /// Whether each executed program is a record.
    every_exe: bool,
    cgroups: CgroupPaths,
    contexts: ContextIds,
    recorder: Recorder,
    /// `None` when no desktop user is to be notified.
    notifiers: Option<Notifiers>,
    /// Standard input and standard error are those of a terminal.
    terminals: [bool; 2],
    /// Processes whose `AF_PACKET` rings were reported.
    rings: HashSet<ProcessId>,
    /// When the process table was last read anew.
    resynced: Option<Instant>,
    window: Duration,
    /// Drains that failed, one after the other.
    failed_drains: u32,
    /// When open sockets were last asked for bytes that no hook sees.
    sampled: Instant,
    /// When memory was last given back.
    gave_back: Instant,
    /// While somebody wants to hear of traffic.
    showing: Option<Showing>,
}

impl Monitor {
    fn watch(&mut self, signals: &SignalFd) -> Result<(), MonitorError> {
        let mut next = Instant::now() + TICK;
        let mut earliest = Instant::now();
        loop {
            let waiting = !self.recorder.waiting.is_empty();
            let interest = if waiting { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN };
            let mut ready = [
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.capture.urgent_fd(), PollFlags::POLLIN),
                PollFd::new(self.recorder.channel.as_fd(), interest),
                PollFd::new(
                    self.executables.as_ref().map_or(signals.as_fd(), AsFd::as_fd),
                    PollFlags::POLLIN,
                ),
                PollFd::new(self.capture.observations_fd(), PollFlags::POLLIN),
            ];
            if self.recorder.waiting.len() >= MAX_WAITING_MESSAGES {
                // They stay where they are until there is room.
                ready[3].set_events(PollFlags::empty());
            }
            // It stays readable until the next drain.
            let resting = Instant::now() < earliest;
            if resting {
                ready[1].set_events(PollFlags::empty());
            }
            let until = if resting { earliest } else { next };
            let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            match poll(&mut ready, PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO)) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(io_error("waiting failed")(error.into())),
            }
            let [stop, urgent, channel, files, heard] =
                ready.map(|ready| ready.revents().unwrap_or(PollFlags::empty()));
            if stop.contains(PollFlags::POLLIN) && self.is_end(signals)? {
                return Ok(());
            }
            if channel.intersects(PollFlags::POLLHUP | PollFlags::POLLERR) {
                return Err(self.recorder.gone());
            }
            self.recorder.flush()?;
            if files.contains(PollFlags::POLLIN) {
                self.collect_executables()?;
            }
            if channel.contains(PollFlags::POLLIN) && self.hear_recorder()? {
                // A list of what is open belongs to the end of a drain.
                next = Instant::now();
            }
            if heard.contains(PollFlags::POLLIN) {
                self.tell_heard()?;
            }
            let now = Instant::now();
            if now >= next || urgent.contains(PollFlags::POLLIN) {
                let sample = self.capture.needs_sampling() && self.sampled.elapsed() + TICK >= self.window;
                if let Some(notifiers) = &mut self.notifiers {
                    notifiers.tick();
                    for text in notifiers.take_problems() {
                        self.recorder.tell(&ToRecorder::Problem(text), None)?;
                    }
                }
                let hurry = self.drain(if sample { DrainMode::SampleSockets } else { DrainMode::Regular })?;
                give_back_memory(&mut self.gave_back);
                earliest = Instant::now() + SHORTEST_PAUSE;
                next = if hurry { earliest } else { now + TICK };
            }
        }
    }

    /// Takes the signals that have come; true when they mean the end.
    fn is_end(&mut self, signals: &SignalFd) -> Result<bool, MonitorError> {
        while let Some(info) =
            signals.read_signal().map_err(|error| io_error("signals cannot be received")(error.into()))?
        {
            if info.ssi_signo != Signal::SIGHUP as u32 {
                return Ok(true);
            }
            // The terminal of a foreground run was closed: it is none any more, to the kernel too.
            if self.terminals != [0, 2].map(is_terminal) {
                return Ok(true);
            }
            self.recorder.tell(&ToRecorder::Reopen, None)?;
        }
        Ok(false)
    }

    /// Passes on to desktop users what the recorder has for them. Returns whether a list of what is open is wanted.
    fn hear_recorder(&mut self) -> Result<bool, MonitorError> {
        let mut wanted = false;
        while let Received::Message(message, _) =
            self.recorder.channel.receive().map_err(io_error("the recorder cannot be heard"))?
        {
            match message {
                ToMonitor::Notice(notice) => {
                    if let Some(notifiers) = &mut self.notifiers {
                        notifiers.show(&notice);
                    }
                }
                ToMonitor::Functions(number, functions) => self.hear_library(number, &functions)?,
                ToMonitor::ResolvedEnded => self.listening.resolved.ended(),
                ToMonitor::Traffic(on) => {
                    self.showing = on.then(Showing::new);
                    wanted = on;
                }
                ToMonitor::Ready | ToMonitor::Failed(_) => {}
            }
        }
        Ok(wanted)
    }

    /// The end: what is in flight is flushed, then the recorder writes it.
    fn finish(mut self, ended: Result<(), MonitorError>) -> Result<(), MonitorError> {
        if let Err(MonitorError::RecorderGone(_)) = ended {
            return ended;
        }
        // Whatever went wrong, what the recorder has is written.
        self.drain(DrainMode::Final)?;
        self.await_executables()?;
        self.recorder.end()?;
        ended
    }

    /// Returns whether the next one should come soon.
    fn drain(&mut self, thoroughness: DrainMode) -> Result<bool, MonitorError> {
        if thoroughness != DrainMode::Regular {
            self.sampled = Instant::now();
        }
        let drained = match self.capture.drain(thoroughness) {
            Ok(drained) => drained,
            // Nothing is lost by that: the next drain brings it.
            Err(error) if self.failed_drains < MAX_FAILED_DRAINS => {
                self.failed_drains += 1;
                let text = format!("{}. It is tried again.", model::error_chain(&error));
                self.recorder.tell(&ToRecorder::Problem(text), None)?;
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        };
        self.failed_drains = 0;
        for text in &drained.problems {
            self.recorder.tell(&ToRecorder::Problem(text.clone()), None)?;
        }
        // After the table was read: whatever led to a flow in it has been heard by now.
        self.tell_heard()?;
        let now = Instant::now();
        self.collect_executables()?;
        let mut executions = Vec::new();
        for event in &drained.events {
            match event {
                Event::Cgroup(id, path) => self.cgroups.insert(*id, path.clone()),
                Event::ReceiveRing(id) => self.report_ring(*id)?,
                event => self.processes.apply(event, now),
            }
            if let Event::Executed(event) = event {
                let id =
                    self.executables.as_mut().and_then(|executables| executables.add_executed(event, now));
                if let Some(id) = id {
                    self.processes.set_executable(event.id, id);
                }
                self.listening.runs(event, now);
                if self.every_exe {
                    executions.push(execution(event));
                }
            }
        }
        self.resync_if_needed(&drained)?;
        self.tell_flows(&executions, ToRecorder::Flows)?;
        self.tell_flows(&drained.flows, ToRecorder::Flows)?;
        self.tell_losses(drained.losses)?;
        self.tell_open(now)?;
        self.processes.forget_ended(now);
        if let Some(executables) = &mut self.executables {
            executables.tick(now);
        }
        self.tell_executables()?;
        if let Some(connection) = self.listening.resolved.try_now() {
            self.recorder.tell(&ToRecorder::Resolved, Some(connection))?;
        }
        for (number, library) in self.listening.found(now) {
            self.recorder.tell(&ToRecorder::Library(number), Some(library))?;
        }
        Ok(drained.drain_soon)
    }

    /// With `monitor.every_exe`, what ran at the start is a record too.
    fn tell_existing(&mut self, existing: &[Event]) -> Result<(), MonitorError> {
        if !self.every_exe {
            return Ok(());
        }
        let executions: Vec<FlowDelta> = existing
            .iter()
            .filter_map(|event| match event {
                Event::Existing(event) if !event.kernel => Some(execution(event)),
                _ => None,
            })
            .collect();
        self.tell_flows(&executions, ToRecorder::Flows)
    }

    /// Reads the whole process table again when traffic of an unknown process shows that events were lost.
    fn resync_if_needed(&mut self, drained: &DrainOutput) -> Result<(), MonitorError> {
        let mut moved = drained.flows.iter().filter(|flow| flow.counters != Counters::default());
        let unknown = moved.any(|flow| self.processes.get(flow.id.process).is_none())
            || drained.losses.iter().any(|loss| loss.kind == LossKind::ProcessEvents);
        if unknown && self.resynced.is_none_or(|last| last.elapsed() > Duration::from_secs(1)) {
            self.resynced = Some(Instant::now());
            self.processes.resync(&self.capture.processes()?, Instant::now());
        }
        Ok(())
    }

    fn tell_heard(&mut self) -> Result<(), MonitorError> {
        let mut heard = self.capture.take_observations()?;
        while !heard.is_empty() {
            let rest = heard.split_off(Listening::fitting(&heard));
            self.recorder.tell(&ToRecorder::NameObservation(std::mem::replace(&mut heard, rest)), None)?;
        }
        Ok(())
    }

    fn hear_library(
        &mut self,
        number: u64,
        functions: &[(ResolverFunction, u64)],
    ) -> Result<(), MonitorError> {
        let Some((is_ours, library)) = self.listening.take(number) else { return Ok(()) };
        let library = CLibrary { number, is_ours, file: library.as_fd() };
        if let Err(error) = self.capture.attach_resolver_probes(library, functions) {
            let text = format!(
                "What programs ask a C library is not heard, so their connections may lack the domain: {}.",
                model::error_chain(&error)
            );
            self.recorder.tell(&ToRecorder::Problem(text), None)?;
        }
        Ok(())
    }

    fn tell_flows(
        &mut self,
        flows: &[FlowDelta],
        message: fn(Vec<Flow>) -> ToRecorder,
    ) -> Result<(), MonitorError> {
        let nobody = Ancestry::default();
        let mut batch = Vec::new();
        let mut introductions = Vec::new();
        for flow in flows {
            let process = self.processes.get(flow.id.process);
            if process.is_none() && flow.id.ended && flow.counters == Counters::default() {
                continue; // long after the end of its process
            }
            let ancestry = process.map_or(&nobody, |process| &process.ancestry);
            let place = (flow.id.uid, flow.id.network_namespace, self.cgroups.path(flow.cgroup));
            let id = self.contexts.id(ancestry, self.executables.as_mut(), place, &mut introductions);
            for introduction in introductions.drain(..) {
                if !batch.is_empty() && matches!(introduction, Introduction::Forget(..)) {
                    self.recorder.tell(&message(std::mem::take(&mut batch)), None)?;
                }
                let introduction = match introduction {
                    Introduction::ProcessContext(id, context, executables) => {
                        ToRecorder::ProcessContext { id, context, executables }
                    }
                    Introduction::Forget(id) => ToRecorder::ForgetContexts(id),
                };
                self.recorder.tell(&introduction, None)?;
            }
            batch.push(Flow { context: id, id: flow.id, tuple: flow.tuple.clone(), counters: flow.counters });
            if batch.len() == FLOWS_A_MESSAGE {
                self.recorder.tell(&message(std::mem::take(&mut batch)), None)?;
            }
        }
        if !batch.is_empty() {
            self.recorder.tell(&message(batch), None)?;
        }
        Ok(())
    }

    fn tell_losses(&mut self, mut losses: Vec<Loss>) -> Result<(), MonitorError> {
        match std::mem::take(&mut self.recorder.lost_flows) {
            0 => {}
            count => losses.push(Loss { kind: LossKind::Channel, count }),
        }
        match std::mem::take(&mut self.recorder.lost_heard) {
            0 => {}
            count => losses.push(Loss { kind: LossKind::Names, count }),
        }
        if losses.is_empty() {
            return Ok(());
        }
        // Sockets that were noticed late lost nothing: in the log, but no reason to alarm anybody.
        for loss in losses.iter().filter(|loss| loss.kind != LossKind::ReleaseEvents) {
            self.recorder.tell(&ToRecorder::Problem(loss.sentence()), None)?;
        }
        self.recorder.tell(&ToRecorder::Losses(losses), None)
    }

    fn report_ring(&mut self, id: ProcessId) -> Result<(), MonitorError> {
        if !self.rings.insert(id) {
            return Ok(());
        }
        if self.rings.len() > 1024 {
            self.rings.clear();
        }
        let program = self.processes.get(id).map(|process| &process.ancestry.process.program);
        let path = program.map(|program| String::from_utf8_lossy(&program.path)).unwrap_or_default();
        self.recorder.tell(
            &ToRecorder::Problem(format!(
                "{path} (process {}) receives through an AF_PACKET ring: the kernel shows no byte of what it takes from \
                 there, so its received bytes are not in the log.",
                id.tgid
            )),
            None,
        )?;
        self.recorder
            .tell(&ToRecorder::Losses(vec![Loss { kind: LossKind::UncountableSocket, count: 1 }]), None)
    }
}
