//! The monitor's link to the recorder: its process, its channel, and the messages that wait while it is slow.

use std::{
    collections::VecDeque,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    process::{Child, ExitStatus, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    directories::hand_over_files,
    out_of_memory::OutOfMemory,
    recorder_health::{HUNG, RecorderHealth, STUCK, why_silent},
    recorder_lock::lock_recorder,
    recorder_settings::recorder_settings,
};
use crate::{
    error::{MonitorError, io_error},
    exporter_settings::exporter_settings,
    messages::{ToMonitor, ToRecorder},
    poll::poll_until,
    problems::{Problems, print_to_stderr},
};
use capture::Capture;
use config::{Config, layout::Layout};
use identity::LibraryRefusal;
use ipc::{Channel, Received};
use model::{Continuity, DrainId, Loss, LossKind, ShrinkAfterBurst as _};
use sandbox::{Role, User};

/// Bytes that wait while the recorder is slow; flows beyond that are dropped and counted.
const MAX_WAITING_BYTES: usize = 64 * 1024 * 1024;
/// Bytes above which observations are dropped and counted: they must not push out flows.
const MAX_WAITING_OBSERVATION_BYTES: usize = 4 * 1024 * 1024;
/// Messages that wait before no more executables are taken from fanotify.
const MAX_WAITING_MESSAGES: usize = 1024;
/// How long the recorder may take to open the log.
const START: Duration = Duration::from_secs(60);
/// How long the recorder may take to write the log at the end.
const END: Duration = Duration::from_secs(60);
/// Pause between two tries to send at the end: POLLOUT comes only once most of the channel is free.
const SEND_PAUSE: Duration = Duration::from_millis(100);
/// Pause between two checks whether the recorder has ended.
const CHECK_INTERVAL: Duration = Duration::from_millis(10);
/// The error when the settings do not fit into a message.
const TOO_LONG: &str = "the configuration is too long for the recorder, which takes 64 KiB: shorten log.ignore, for example \
                        with networks instead of addresses, and domains instead of their sub-domains";
/// The text of the error when a message cannot be sent.
const SEND_FAILED: &str = "the recorder cannot be sent a message";

/// The recorder as seen by the monitor.
pub(super) struct RecorderLink {
    child: Child,
    user: User,
    channel: Channel,
    /// Encoded messages that wait for room in the channel, with their descriptors.
    waiting: VecDeque<(Vec<u8>, Option<OwnedFd>)>,
    waiting_bytes: usize,
    health: RecorderHealth,
    /// It was reported that the recorder does not answer.
    is_reported_stuck: bool,
    memory: OutOfMemory,
    /// Opens error.log for the monitor itself.
    layout: Layout,
    /// The thread that reports that the recorder is stuck, if there was one.
    reporting: Option<JoinHandle<()>>,
    /// Flows and observations dropped since the last [`RecorderLink::take_losses`].
    lost_flows: u64,
    lost_observations: u64,
}

impl RecorderLink {
    /// Starts the recorder and sends it its settings.
    pub(super) fn start(
        layout: &Layout,
        config: &Config,
        continuity: Option<Continuity>,
    ) -> Result<Self, MonitorError> {
        let fail = "the recorder cannot be started";
        let listener = live::server::listen_at(&layout.run_dir.join(live::SOCKET_NAME))
            .map_err(io_error("the live socket in the run directory cannot be made"))?;
        let lock = lock_recorder(layout)?;
        let (channel, theirs) = Channel::pair().map_err(io_error(fail))?;
        let user = User::of_log(&layout.database).map_err(io_error(fail))?;
        if let Some(advice) = user.advice() {
            print_to_stderr(advice);
        }
        hand_over_files(layout, &user)?;
        let child = sandbox::command(Role::Recorder, user)
            .stdin(Stdio::from(theirs))
            .spawn()
            .map_err(io_error(fail))?;
        let mut recorder = Self {
            child,
            user,
            channel,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            health: RecorderHealth::new(Instant::now()),
            is_reported_stuck: false,
            memory: OutOfMemory::read(),
            layout: layout.clone(),
            reporting: None,
            lost_flows: 0,
            lost_observations: 0,
        };
        let settings = ToRecorder::Settings(Box::new(recorder_settings(layout, config, continuity)));
        recorder.send(&settings, Some(listener)).map_err(|error| match error {
            MonitorError::Io { source, .. } if source.kind() == io::ErrorKind::InvalidData => {
                MonitorError::Log(TOO_LONG.into())
            }
            error => error,
        })?;
        recorder.send(&ToRecorder::Lock, Some(lock.into()))?;
        let exporter = layout.run_dir.join(exporter::socket::NAME);
        let fail = "the socket for the exporter in the run directory cannot be made";
        if exporter_settings(layout, config).is_empty() {
            exporter::socket::remove(&exporter).map_err(io_error(fail))?;
        } else {
            let listener = exporter::socket::listen_at(&exporter, user).map_err(io_error(fail))?;
            recorder.send(&ToRecorder::ExporterSocket, Some(listener))?;
        }
        Ok(recorder)
    }

    /// Waits until the recorder has opened the log. Returns the last drain whose flows are in it, if it knows one.
    pub(super) fn wait_until_ready(&mut self) -> Result<Option<DrainId>, MonitorError> {
        let until = Instant::now() + START;
        loop {
            match self.receive()? {
                Received::Message(ToMonitor::Ready(recorded), _) => return Ok(recorded),
                Received::Message(ToMonitor::Failed(why), _) => {
                    self.kill();
                    return Err(MonitorError::Log(why));
                }
                Received::Message(
                    ToMonitor::Notification(_)
                    | ToMonitor::Alive
                    | ToMonitor::ResolvedClosed
                    | ToMonitor::Recorded(_)
                    | ToMonitor::ListOpenSockets(_),
                    _,
                ) => {}
                Received::Closed => return Err(self.gone()),
                Received::Nothing if Instant::now() > until => {
                    self.kill();
                    return Err(MonitorError::RecorderGone("it did not open the log within 60 s".into()));
                }
                Received::Nothing => {
                    let mut ready = [PollFd::new(self.channel.as_fd(), PollFlags::POLLIN)];
                    let _ = poll_until(&mut ready, Some(until));
                }
            }
        }
    }

    /// The user who writes the log.
    pub(super) const fn user(&self) -> User {
        self.user
    }

    /// Ends the recorder at once.
    pub(super) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for the recorder, which has closed its channel, and returns the error that this is.
    pub(super) fn gone(&mut self) -> MonitorError {
        let how = match self.wait_until(Instant::now() + END) {
            Ok(Some(status)) => self.describe(status),
            Ok(None) => {
                self.kill();
                "it closed its channel and went on".to_owned()
            }
            Err(error) => error.to_string(),
        };
        MonitorError::RecorderGone(how)
    }

    /// How the recorder has ended.
    fn describe(&self, status: ExitStatus) -> String {
        let killed = (status.signal() == Some(Signal::SIGKILL as i32)).then(|| self.memory.explanation());
        match killed.flatten() {
            Some(why) => format!("{status}: {why}"),
            None => status.to_string(),
        }
    }

    /// Waits for the end of the recorder; `None` if it still runs at that time.
    fn wait_until(&mut self, until: Instant) -> io::Result<Option<ExitStatus>> {
        loop {
            match self.child.try_wait()? {
                None if Instant::now() < until => thread::sleep(CHECK_INTERVAL),
                ended => return Ok(ended),
            }
        }
    }

    /// Takes a message of the recorder, without waiting.
    pub(super) fn receive(&mut self) -> Result<Received<ToMonitor>, MonitorError> {
        self.channel.receive().map_err(io_error("messages of the recorder cannot be received"))
    }

    /// Whether messages wait for room in the channel.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The number of messages that may be added before the recorder counts as slow.
    pub(super) fn free_messages(&self) -> usize {
        MAX_WAITING_MESSAGES.saturating_sub(self.waiting.len())
    }

    /// Sends a message, or queues it if there is no room. Flows and observations are dropped if too much waits.
    pub(super) fn send(
        &mut self,
        message: &ToRecorder,
        descriptor: Option<OwnedFd>,
    ) -> Result<(), MonitorError> {
        let bytes = Channel::encode(message).map_err(io_error(SEND_FAILED))?;
        match message {
            ToRecorder::Flows(flows) if self.waiting_bytes > MAX_WAITING_BYTES => {
                self.lost_flows += flows.len() as u64;
                return Ok(());
            }
            ToRecorder::NameObservations(observations)
                if self.waiting_bytes > MAX_WAITING_OBSERVATION_BYTES =>
            {
                self.lost_observations += observations.len() as u64;
                return Ok(());
            }
            _ => {}
        }
        // Flows are dropped long before; all other messages are needed.
        if self.waiting_bytes > 2 * MAX_WAITING_BYTES {
            self.kill();
            return Err(MonitorError::RecorderGone("it did not take any message for too long".into()));
        }
        self.waiting_bytes += bytes.len();
        self.waiting.push_back((bytes, descriptor));
        self.flush()
    }

    /// Sends a problem, for error.log.
    pub(super) fn report(&mut self, problem: String) -> Result<(), MonitorError> {
        self.send(&ToRecorder::Problem(problem), None)
    }

    /// Sends the blind spots: those on this kernel, and the libraries that are not probed.
    pub(super) fn send_unseen(
        &mut self,
        capture: &Capture,
        refusals: &[LibraryRefusal],
    ) -> Result<(), MonitorError> {
        let mut unseen: Vec<String> = capture.unseen().iter().map(|spot| spot.unseen.to_owned()).collect();
        unseen.extend(refusals.iter().map(|refusal| refusal.sentence().to_owned()));
        self.send(&ToRecorder::Unseen(unseen), None)
    }

    /// Sends the messages that wait, as far as there is room.
    pub(super) fn flush(&mut self) -> Result<(), MonitorError> {
        while let Some((bytes, descriptor)) = self.waiting.front() {
            match self.channel.send(bytes, descriptor.as_ref().map(AsFd::as_fd)) {
                Ok(true) => {
                    self.waiting_bytes -= bytes.len();
                    self.waiting.pop_front();
                }
                Ok(false) => break,
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(self.gone()),
                Err(error) => return Err(io_error(SEND_FAILED)(error)),
            }
        }
        self.waiting.shrink_after_burst();
        Ok(())
    }

    /// Takes note of an answer of the recorder.
    pub(super) fn set_alive(&mut self) {
        self.health.answered(Instant::now());
    }

    /// Whether the recorder has answered not long ago.
    pub(super) fn is_healthy(&self) -> bool {
        self.health.silence() < HUNG
    }

    /// Asks the recorder from time to time whether it makes progress. If it does not answer, that is reported once: on standard
    /// error and in error.log, which the monitor writes itself here, without waiting for it. Later it is an error.
    pub(super) fn check_health(&mut self) -> Result<(), MonitorError> {
        if self.health.tick(Instant::now()) {
            self.send(&ToRecorder::AreYouAlive, None)?;
        }
        let (process, why) = (self.child.id(), || why_silent(self.child.id()));
        if !self.is_healthy() {
            return Err(MonitorError::RecorderHung { process, seconds: HUNG.as_secs(), why: why() });
        }
        let is_stuck = self.health.silence() >= STUCK;
        if is_stuck && !self.is_reported_stuck {
            let text = format!(
                "The recorder (process {process}) has not answered for {} s: {}. Traffic waits in memory meanwhile. If it stays \
                 silent until {} s are over, picosnitch ends. `kill -CONT {process}` lets it go on if it was stopped.",
                STUCK.as_secs(),
                why(),
                HUNG.as_secs()
            );
            self.report_apart(text);
        }
        self.is_reported_stuck = is_stuck;
        Ok(())
    }

    /// Reports a problem on standard error and in error.log, in a thread of its own: the disk may be the one that does not
    /// answer. Nothing waits for the thread, and while it waits for the disk there is no other one.
    fn report_apart(&mut self, text: String) {
        if self.reporting.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        let layout = self.layout.clone();
        let report = move || {
            print_to_stderr(&text);
            Problems::of_monitor(&layout).log(&text);
        };
        self.reporting = thread::Builder::new().name("stuck-report".into()).spawn(report).ok();
    }

    /// Returns the losses since the last call.
    pub(super) fn take_losses(&mut self) -> Vec<Loss> {
        let flows = Loss { kind: LossKind::Channel, count: std::mem::take(&mut self.lost_flows) };
        let names = Loss { kind: LossKind::Names, count: std::mem::take(&mut self.lost_observations) };
        [flows, names].into_iter().filter(|loss| loss.count > 0).collect()
    }

    /// Lets the recorder write its data, and waits for its end.
    pub(super) fn end(&mut self) -> Result<(), MonitorError> {
        // One that was stopped would write nothing.
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGCONT);
        self.send(&ToRecorder::End, None)?;
        let until = Instant::now() + END;
        while self.has_waiting() && Instant::now() < until {
            let mut ready = [PollFd::new(self.channel.as_fd(), PollFlags::POLLOUT)];
            let _ = poll_until(&mut ready, Some(Instant::now() + SEND_PAUSE));
            self.flush()?;
        }
        match self.wait_until(until).map_err(io_error("the recorder cannot be waited for"))? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(MonitorError::RecorderGone(self.describe(status))),
            None => {}
        }
        self.kill();
        Err(MonitorError::RecorderGone("it did not finish writing the log within 60 s".into()))
    }
}

impl Drop for RecorderLink {
    /// Ends a recorder that was not ended in order: the start of the monitor has failed.
    fn drop(&mut self) {
        self.kill();
    }
}

impl AsFd for RecorderLink {
    /// Readable when the recorder has sent a message, writable when there is room for one.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use model::{Counters, Flow, FlowId, FlowTuple};

    /// A link to a process that takes no message.
    fn link() -> (RecorderLink, OwnedFd) {
        let (channel, theirs) = Channel::pair().unwrap();
        let child = Command::new("/proc/self/exe").arg("--help").stdout(Stdio::null()).spawn().unwrap();
        let link = RecorderLink {
            child,
            user: User::nobody(),
            channel,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            health: RecorderHealth::new(Instant::now()),
            is_reported_stuck: false,
            memory: OutOfMemory::default(),
            layout: Layout::new(Some("/dev/null".as_ref()), None),
            reporting: None,
            lost_flows: 0,
            lost_observations: 0,
        };
        (link, theirs)
    }

    #[test]
    fn a_recorder_that_does_not_answer_is_reported_once_and_then_an_error() {
        let (mut link, _theirs) = link();
        let mut now = Instant::now();
        let mut pass = |link: &mut RecorderLink, time: Duration| {
            let until = now + time;
            while now < until {
                now += Duration::from_millis(500);
                link.health.tick(now);
            }
        };
        pass(&mut link, Duration::from_secs(10) + STUCK + Duration::from_secs(1));
        assert!(!link.is_reported_stuck);
        link.check_health().unwrap();
        assert!(link.is_reported_stuck && link.is_healthy());
        link.set_alive();
        link.check_health().unwrap();
        assert!(!link.is_reported_stuck);
        pass(&mut link, Duration::from_secs(10) + HUNG + Duration::from_secs(1));
        let error = link.check_health().unwrap_err().to_string();
        assert!(error.contains("did not answer for 60 s") && !link.is_healthy(), "{error}");
        link.kill();
    }

    #[test]
    fn flows_are_dropped_and_counted_when_too_much_waits() {
        let (mut link, _theirs) = link();
        let flow = Flow {
            context: 0,
            id: FlowId::default(),
            tuple: FlowTuple::default(),
            counters: Counters::default(),
        };
        let flows = || ToRecorder::Flows(vec![flow.clone(); 7]);
        link.send(&flows(), None).unwrap();
        assert!(link.take_losses().is_empty() && !link.has_waiting());
        link.waiting_bytes = MAX_WAITING_BYTES + 1;
        link.send(&flows(), None).unwrap();
        link.send(&ToRecorder::NameObservations(Vec::new()), None).unwrap();
        assert_eq!(link.take_losses(), [Loss { kind: LossKind::Channel, count: 7 }]);
        assert!(link.take_losses().is_empty());
        link.kill();
    }

    #[test]
    fn messages_wait_while_the_channel_is_full_and_keep_their_order() {
        let (mut link, theirs) = link();
        let mut sent = 0_u32;
        while !link.has_waiting() {
            link.send(&ToRecorder::ForgetContexts(sent), None).unwrap();
            sent += 1;
        }
        assert_eq!(link.free_messages(), MAX_WAITING_MESSAGES - 1);
        let mut theirs = Channel::new(theirs);
        for number in 0..sent {
            link.flush().unwrap();
            let Received::Message(ToRecorder::ForgetContexts(id), _) = theirs.receive().unwrap() else {
                panic!("message {number} of {sent} is missing");
            };
            assert_eq!(id, number);
        }
        assert!(!link.has_waiting() && link.waiting_bytes == 0);
        link.kill();
    }

    #[test]
    fn a_recorder_that_takes_nothing_is_given_up() {
        let (mut link, _theirs) = link();
        link.waiting_bytes = 2 * MAX_WAITING_BYTES + 1;
        assert!(matches!(link.send(&ToRecorder::End, None), Err(MonitorError::RecorderGone(_))));
    }
}
