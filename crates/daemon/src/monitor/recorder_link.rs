//! The monitor's side of the recorder: its process, and what it has not been told yet.

use std::{
    collections::VecDeque,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::problems::say;
use crate::{
    error::{MonitorError, io_error},
    messages::{Settings, Telling, ToMonitor, ToRecorder},
    service_user::ServiceUser,
};
use config::{Config, layout::Layout, log_rules::LogRules};
use ipc::{Channel, Received};
use names::GeoFiles;

/// Bytes that wait while the recorder is slow; traffic beyond that is dropped and counted.
const MAX_WAITING_BYTES: usize = 64 * 1024 * 1024;
/// Of what only tells names, no more than this: it must not push out traffic.
const MAX_WAITING_NAMES: usize = 4 * 1024 * 1024;
/// How long the recorder may take to open the log.
const START: Duration = Duration::from_secs(60);
/// How long it may take to write the log at the end.
const END: Duration = Duration::from_secs(60);

/// The recorder and what it has not been told yet.
pub(super) struct Recorder {
    child: Child,
    pub(super) channel: Channel,
    /// Messages that wait for room.
    pub(super) waiting: VecDeque<(Vec<u8>, Option<OwnedFd>)>,
    waiting_bytes: usize,
    /// Flows that were dropped since somebody asked, and what may have told names.
    pub(super) lost_flows: u64,
    pub(super) lost_heard: u64,
}

impl Recorder {
    pub(super) fn start(layout: &Layout, config: &Config) -> Result<Self, MonitorError> {
        let fail = "the recorder cannot be started";
        let listener = live::server::listen_at(&layout.run_dir.join(live::SOCKET_NAME))
            .map_err(io_error("the live socket in the run directory cannot be made"))?;
        let (channel, theirs) = Channel::pair().map_err(io_error(fail))?;
        // Executed anew, not forked: nothing of this process's memory or descriptors goes along.
        let user = ServiceUser::of(layout).map_err(io_error(fail))?;
        if let Some(advice) = user.advice() {
            say(advice);
        }
        layout
            .hand_over(user.uid, user.gid)
            .map_err(io_error("the files of the log cannot be handed over"))?;
        let child = Command::new("/proc/self/exe")
            .args(["role", "recorder"])
            .uid(user.uid.as_raw())
            .gid(user.gid.as_raw())
            .stdin(Stdio::from(theirs))
            .spawn()
            .map_err(io_error(fail))?;
        let mut recorder =
            Self { child, channel, waiting: VecDeque::new(), waiting_bytes: 0, lost_flows: 0, lost_heard: 0 };
        recorder.tell(
            &ToRecorder::Settings(Box::new(Settings {
                database: config.log.sqlite.then(|| layout.database.clone()),
                error_log: layout.error_log.clone(),
                telling: Telling {
                    record_json: layout.record_json.clone(),
                    exe_log: layout.exe_log.clone(),
                    conn_log: config.log.text.then(|| layout.conn_log.clone()),
                    desktop: config.notifications.desktop,
                    virustotal: (!config.virustotal.api_key.0.is_empty()).then(|| virustotal::Settings {
                        url: config.virustotal.url.clone(),
                        key: config.virustotal.api_key.0.clone(),
                        upload: config.virustotal.file_upload,
                        request_limit_seconds: config.virustotal.request_limit_seconds,
                    }),
                },
                write_limit_seconds: config.log.write_limit_seconds,
                retention_days: config.log.retention_days,
                retention_megabytes: config.log.retention_megabytes,
                rules: LogRules::of(config),
                geography: GeoFiles {
                    country: config.names.country_file.clone(),
                    network: config.names.network_file.clone(),
                },
                reverse_dns: config.names.reverse_dns,
            })),
            Some(listener),
        )?;
        Ok(recorder)
    }

    pub(super) fn wait_until_ready(&mut self) -> Result<(), MonitorError> {
        let until = Instant::now() + START;
        loop {
            match self.channel.receive().map_err(io_error("the recorder cannot be heard"))? {
                Received::Message(ToMonitor::Ready, _) => return Ok(()),
                Received::Message(ToMonitor::Failed(why), _) => {
                    self.give_up();
                    return Err(MonitorError::Log(why));
                }
                Received::Message(
                    ToMonitor::Notice(_)
                    | ToMonitor::Functions(..)
                    | ToMonitor::ResolvedEnded
                    | ToMonitor::Traffic(_),
                    _,
                ) => {}
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
    pub(super) fn give_up(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub(super) fn gone(&mut self) -> MonitorError {
        let status = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        MonitorError::RecorderGone(status)
    }

    /// Sends a message, or lets it wait.
    pub(super) fn tell(
        &mut self,
        message: &ToRecorder,
        descriptor: Option<OwnedFd>,
    ) -> Result<(), MonitorError> {
        let fail = "the recorder cannot be told";
        let bytes = Channel::encode(message).map_err(io_error(fail))?;
        match message {
            ToRecorder::Flows(flows) if self.waiting_bytes > MAX_WAITING_BYTES => {
                self.lost_flows += flows.len() as u64;
                return Ok(());
            }
            ToRecorder::NameObservation(heard) if self.waiting_bytes > MAX_WAITING_NAMES => {
                self.lost_heard += heard.len() as u64;
                return Ok(());
            }
            _ => {}
        }
        // Flows are dropped long before; whatever else is waiting cannot be.
        if self.waiting_bytes > 2 * MAX_WAITING_BYTES {
            self.give_up();
            return Err(MonitorError::RecorderGone("it did not take any message for too long".into()));
        }
        self.waiting_bytes += bytes.len();
        self.waiting.push_back((bytes, descriptor));
        self.flush()
    }

    /// Sends what waits, as far as there is room.
    pub(super) fn flush(&mut self) -> Result<(), MonitorError> {
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

    /// Lets it write what it has, and waits for its end.
    pub(super) fn end(&mut self) -> Result<(), MonitorError> {
        self.tell(&ToRecorder::End, None)?;
        let until = Instant::now() + END;
        while !self.waiting.is_empty() && Instant::now() < until {
            let mut ready = [PollFd::new(self.channel.as_fd(), PollFlags::POLLOUT)];
            let _ = poll(&mut ready, PollTimeout::from(100_u16));
            self.flush()?;
        }
        while Instant::now() < until {
            match self.child.try_wait().map_err(io_error("the recorder cannot be waited for"))? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(MonitorError::RecorderGone(status.to_string())),
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        self.give_up();
        Err(MonitorError::RecorderGone("it did not finish writing the log within 60 s".into()))
    }
}
