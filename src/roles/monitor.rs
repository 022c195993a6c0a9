//! The monitor: talks to the kernel, knows who is who, and tells the recorder.

use std::{
    collections::{HashSet, VecDeque},
    fs::{File, TryLockError},
    io::{self, Read, Seek, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
};

use super::{
    channel::{Channel, Received},
    message::{Settings, ToMonitor, ToRecorder},
    talkers::{Introduction, Talkers},
};
use crate::{
    capture::{self, Capture, CaptureError, Drained, Event, ProcessId, Thoroughness},
    config::Config,
    identity::{Ancestry, Cgroups, Processes},
    layout::Layout,
    model::{Loss, LossKind},
    record::problems::Problems,
};

/// Time between two drains.
const TICK: Duration = Duration::from_millis(500);
/// Time between two drains at least, however fast the ring fills: each reads the whole flow table.
const SHORTEST_PAUSE: Duration = Duration::from_millis(25);
/// Drains that may fail one after the other.
const MOST_FAILED_DRAINS: u32 = 20;
/// Flows in one message.
const FLOWS_A_MESSAGE: usize = 256;
/// Bytes that wait while the recorder is slow; traffic beyond that is dropped and counted.
const MOST_WAITING_BYTES: usize = 64 * 1024 * 1024;
/// How long the recorder may take to open the log, and to write it at the end.
const RECORDER_START: Duration = Duration::from_secs(60);
const RECORDER_END: Duration = Duration::from_secs(60);

/// Why the monitor could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// Another one is running.
    #[error("picosnitch is running already (process {0}); stop that one first")]
    AlreadyRunning(String),
    /// The pid file is not usable.
    #[error("the pid file {path} cannot be used")]
    PidFile {
        /// Its path.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nothing can be captured.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The recorder gave up.
    #[error("{0}")]
    Log(String),
    /// The recorder ended by itself.
    #[error("the recorder has ended unexpectedly ({0}); start picosnitch again")]
    RecorderGone(String),
    /// A system call failed.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> MonitorError {
    move |source| MonitorError::Io { what, source }
}

/// Records until SIGTERM or SIGINT. `started` is called once everything is attached.
///
/// # Errors
/// See [`MonitorError`].
pub fn run(layout: &Layout, config: &Config, started: impl FnOnce(&Capture)) -> Result<(), MonitorError> {
    let _pid_file = lock_pid_file(layout)?;
    let ended = record(layout, config, started);
    if let Err(error) = &ended {
        // The caller says it on standard error.
        Problems::new(layout.error_log.clone()).log(&crate::error_chain(error));
    }
    ended
}

fn record(layout: &Layout, config: &Config, started: impl FnOnce(&Capture)) -> Result<(), MonitorError> {
    let signals = block_signals()?;
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
    let mut processes = Processes::default();
    processes.add_existing(&capture.processes()?);
    capture.learn_earlier_sockets()?;
    let cgroups = capture.features().cgroup.as_deref().map(Cgroups::read).unwrap_or_default();
    recorder.wait_until_ready()?;
    started(&capture);
    let window = Duration::from_secs(u64::from(config.log.write_limit_seconds));
    let mut monitor = Monitor {
        capture,
        processes,
        cgroups,
        talkers: Talkers::default(),
        recorder,
        rings: HashSet::new(),
        resynced: None,
        window,
        failed_drains: 0,
        sampled: Instant::now(),
    };
    let ended = monitor.watch(&signals);
    monitor.finish(ended)
}

/// Holds the pid file as long as it is open: a lock ends with its process, so a file that was left behind by a crash
/// blocks nothing.
fn lock_pid_file(layout: &Layout) -> Result<File, MonitorError> {
    let path = layout.run_dir.join("picosnitch.pid");
    let fail = |source| MonitorError::PidFile { path: path.display().to_string(), source };
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(&path)
        .map_err(fail)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            file.take(16).read_to_string(&mut pid).map_err(fail)?;
            return Err(MonitorError::AlreadyRunning(pid.trim().to_owned()));
        }
        Err(TryLockError::Error(error)) => return Err(fail(error)),
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(fail)?;
    writeln!(file, "{}", std::process::id()).map_err(fail)?;
    Ok(file)
}

fn block_signals() -> Result<SignalFd, MonitorError> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    // The terminal of a foreground run was closed.
    signals.add(Signal::SIGHUP);
    let fail = "signals cannot be received";
    signals.thread_block().map_err(|error| io_error(fail)(error.into()))?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|error| io_error(fail)(error.into()))
}

/// The recorder and what it has not been told yet.
struct Recorder {
    child: Child,
    channel: Channel,
    waiting: VecDeque<(Vec<u8>, Option<OwnedFd>)>,
    waiting_bytes: usize,
    lost_flows: u64,
}

impl Recorder {
    fn start(layout: &Layout, config: &Config) -> Result<Self, MonitorError> {
        let fail = "the recorder cannot be started";
        let (channel, theirs) = Channel::pair().map_err(io_error(fail))?;
        // Executed anew, not forked: nothing of this process's memory or descriptors goes along.
        let child = Command::new("/proc/self/exe")
            .args(["role", "recorder"])
            .stdin(Stdio::from(theirs))
            .spawn()
            .map_err(io_error(fail))?;
        let mut recorder = Self { child, channel, waiting: VecDeque::new(), waiting_bytes: 0, lost_flows: 0 };
        recorder.tell(
            &ToRecorder::Settings(Settings {
                database: config.log.sqlite.then(|| layout.database.clone()),
                error_log: layout.error_log.clone(),
                write_limit_seconds: config.log.write_limit_seconds,
                retention_days: config.log.retention_days,
                bandwidth: config.monitor.bandwidth,
                addresses: config.log.addresses,
                commands: config.log.commands,
            }),
            None,
        )?;
        Ok(recorder)
    }

    fn wait_until_ready(&mut self) -> Result<(), MonitorError> {
        let until = Instant::now() + RECORDER_START;
        loop {
            match self.channel.receive().map_err(io_error("the recorder cannot be heard"))? {
                Received::Message(ToMonitor::Ready, _) => return Ok(()),
                Received::Message(ToMonitor::Failed(why), _) => {
                    self.give_up();
                    return Err(MonitorError::Log(why));
                }
                Received::Closed => return Err(self.gone()),
                Received::Nothing if Instant::now() > until => {
                    self.give_up();
                    return Err(MonitorError::RecorderGone("it did not open the log within 60 s".into()));
                }
                Received::Nothing => {
                    let mut ready = [PollFd::new(self.channel.as_fd(), PollFlags::POLLIN)];
                    let _ = poll(&mut ready, PollTimeout::from(1000_u16));
                }
            }
        }
    }

    /// Ends the recorder when there is nothing to write.
    fn give_up(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn gone(&mut self) -> MonitorError {
        let status = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        MonitorError::RecorderGone(status)
    }

    /// Sends a message, or lets it wait.
    fn tell(&mut self, message: &ToRecorder, descriptor: Option<OwnedFd>) -> Result<(), MonitorError> {
        let fail = "the recorder cannot be told";
        let bytes = Channel::encode(message).map_err(io_error(fail))?;
        if let ToRecorder::Flows(flows) = message
            && self.waiting_bytes > MOST_WAITING_BYTES
        {
            self.lost_flows += flows.len() as u64;
            return Ok(());
        }
        self.waiting_bytes += bytes.len();
        self.waiting.push_back((bytes, descriptor));
        self.flush()
    }

    /// Sends what waits, as far as there is room.
    fn flush(&mut self) -> Result<(), MonitorError> {
        while let Some((bytes, descriptor)) = self.waiting.front() {
            match self.channel.send(bytes, descriptor.as_ref().map(AsFd::as_fd)) {
                Ok(true) => {
                    self.waiting_bytes -= bytes.len();
                    self.waiting.pop_front();
                }
                Ok(false) => break,
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(self.gone()),
                Err(error) => return Err(io_error("the recorder cannot be told")(error)),
            }
        }
        Ok(())
    }
}

struct Monitor {
    capture: Capture,
    processes: Processes,
    cgroups: Cgroups,
    talkers: Talkers,
    recorder: Recorder,
    /// Processes whose `AF_PACKET` rings were reported.
    rings: HashSet<ProcessId>,
    /// When the process table was last read anew.
    resynced: Option<Instant>,
    window: Duration,
    /// Drains that failed, one after the other.
    failed_drains: u32,
    /// When open sockets were last asked for bytes that no hook sees.
    sampled: Instant,
}

impl Monitor {
    fn watch(&mut self, signals: &SignalFd) -> Result<(), MonitorError> {
        let mut next = Instant::now() + TICK;
        let mut earliest = Instant::now();
        loop {
            // SAFETY: the descriptor belongs to the capture, which lives as long as `self`.
            let urgent = unsafe { BorrowedFd::borrow_raw(self.capture.urgent_fd()) };
            let waiting = !self.recorder.waiting.is_empty();
            let interest = if waiting { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN };
            let mut ready = [
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(urgent, PollFlags::POLLIN),
                PollFd::new(self.recorder.channel.as_fd(), interest),
            ];
            // The ring stays readable as long as anything is in it.
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
            let [stop, urgent, channel] = ready.map(|ready| ready.revents().unwrap_or(PollFlags::empty()));
            if stop.contains(PollFlags::POLLIN) {
                return Ok(());
            }
            if channel.intersects(PollFlags::POLLHUP | PollFlags::POLLERR) {
                return Err(self.recorder.gone());
            }
            self.recorder.flush()?;
            let now = Instant::now();
            if now >= next || urgent.contains(PollFlags::POLLIN) {
                let sample = self.capture.needs_sampling() && self.sampled.elapsed() + TICK >= self.window;
                let hurry = self.drain(if sample { Thoroughness::Sockets } else { Thoroughness::Usual })?;
                earliest = Instant::now() + SHORTEST_PAUSE;
                next = if hurry { earliest } else { now + TICK };
            }
        }
    }

    /// The end: what is in flight is flushed, then the recorder writes it.
    fn finish(mut self, ended: Result<(), MonitorError>) -> Result<(), MonitorError> {
        if let Err(MonitorError::RecorderGone(_)) = ended {
            return ended;
        }
        // Whatever went wrong, what the recorder has is written.
        self.drain(Thoroughness::Last)?;
        self.recorder.tell(&ToRecorder::End, None)?;
        let until = Instant::now() + RECORDER_END;
        while !self.recorder.waiting.is_empty() && Instant::now() < until {
            let mut ready = [PollFd::new(self.recorder.channel.as_fd(), PollFlags::POLLOUT)];
            let _ = poll(&mut ready, PollTimeout::from(100_u16));
            self.recorder.flush()?;
        }
        while Instant::now() < until {
            match self.recorder.child.try_wait().map_err(io_error("the recorder cannot be waited for"))? {
                Some(status) if status.success() => return ended,
                Some(status) => return Err(MonitorError::RecorderGone(status.to_string())),
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        self.recorder.give_up();
        Err(MonitorError::RecorderGone("it did not finish writing the log within 60 s".into()))
    }

    /// Returns whether the next one should come soon.
    fn drain(&mut self, thoroughness: Thoroughness) -> Result<bool, MonitorError> {
        if thoroughness != Thoroughness::Usual {
            self.sampled = Instant::now();
        }
        let drained = match self.capture.drain(thoroughness) {
            Ok(drained) => drained,
            // Nothing is lost by that: the next drain brings it.
            Err(error) if self.failed_drains < MOST_FAILED_DRAINS => {
                self.failed_drains += 1;
                let text = format!("{}. It is tried again.", crate::error_chain(&error));
                self.recorder.tell(&ToRecorder::Problem(text), None)?;
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        };
        self.failed_drains = 0;
        for text in &drained.problems {
            self.recorder.tell(&ToRecorder::Problem(text.clone()), None)?;
        }
        let now = Instant::now();
        for event in &drained.events {
            match event {
                Event::Cgroup(id, path) => self.cgroups.insert(*id, path.clone()),
                Event::ReceiveRing(id) => self.report_ring(*id)?,
                event => self.processes.apply(event, now),
            }
        }
        self.resync_if_needed(&drained)?;
        self.tell_flows(&drained)?;
        self.tell_losses(drained.losses)?;
        self.processes.forget_ended(now);
        Ok(drained.hurry)
    }

    /// Reads the whole process table again when traffic of an unknown process shows that events were lost.
    fn resync_if_needed(&mut self, drained: &Drained) -> Result<(), MonitorError> {
        let unknown = drained.flows.iter().any(|flow| self.processes.get(flow.process).is_none())
            || drained.losses.iter().any(|loss| loss.kind == LossKind::ProcessEvents);
        if unknown && self.resynced.is_none_or(|last| last.elapsed() > Duration::from_secs(1)) {
            self.resynced = Some(Instant::now());
            self.processes.resync(&self.capture.processes()?, Instant::now());
        }
        Ok(())
    }

    fn tell_flows(&mut self, drained: &Drained) -> Result<(), MonitorError> {
        let nobody = Ancestry::default();
        let mut batch = Vec::new();
        let mut introductions = Vec::new();
        for flow in &drained.flows {
            let ancestry = self.processes.get(flow.process).map_or(&nobody, |process| &process.ancestry);
            let cgroup = self.cgroups.path(flow.cgroup);
            let id = self.talkers.id(ancestry, flow.uid, flow.network_namespace, cgroup, &mut introductions);
            for introduction in introductions.drain(..) {
                if !batch.is_empty() && matches!(introduction, Introduction::Forget(..)) {
                    self.recorder.tell(&ToRecorder::Flows(std::mem::take(&mut batch)), None)?;
                }
                let (message, descriptor) = match introduction {
                    Introduction::Executable(id, file) => (ToRecorder::Executable(id), Some(file)),
                    Introduction::Talker(id, talker, executables) => {
                        (ToRecorder::Talker { id, talker, executables }, None)
                    }
                    Introduction::Forget(talker, executable) => {
                        (ToRecorder::Forget { talker, executable }, None)
                    }
                };
                self.recorder.tell(&message, descriptor)?;
            }
            batch.push((id, flow.peer.clone(), flow.amounts));
            if batch.len() == FLOWS_A_MESSAGE {
                self.recorder.tell(&ToRecorder::Flows(std::mem::take(&mut batch)), None)?;
            }
        }
        if !batch.is_empty() {
            self.recorder.tell(&ToRecorder::Flows(batch), None)?;
        }
        Ok(())
    }

    fn tell_losses(&mut self, mut losses: Vec<Loss>) -> Result<(), MonitorError> {
        match std::mem::take(&mut self.recorder.lost_flows) {
            0 => {}
            count => losses.push(Loss { kind: LossKind::Channel, count }),
        }
        if losses.is_empty() {
            return Ok(());
        }
        for loss in &losses {
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
