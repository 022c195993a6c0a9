//! The process: takes its settings, gives up its rights, and connects to the recorder again and again.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{SigHandler, Signal, signal},
};
use serde::{Deserialize, Serialize};

use crate::{
    name_services, session,
    sinks::SinkWorker,
    socket,
    workers::{ReverseWorker, Workers},
};
use export::ServerSettings;
use forward::Target;
use ipc::{Channel, Received};
use sandbox::{ExporterAccess, Role};
use virustotal::LookupWorker;

/// Pause before the next try to connect. It doubles with each failure.
const MIN_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// Pause between two looks at the monitor meanwhile.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// What the exporter does.
#[derive(Clone, Serialize, Deserialize)]
pub struct Settings {
    /// `None` if VirusTotal is not asked.
    pub virustotal: Option<virustotal::Settings>,
    /// Whether name servers are asked.
    pub reverse_dns: bool,
    /// The copies of the log.
    pub copies: LogCopies,
    /// The run directory of the daemon, as bytes of its path.
    run_dir: Vec<u8>,
}

/// The copies of the log on servers.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct LogCopies {
    /// The servers.
    pub servers: Vec<ServerSettings>,
    /// Other tools that get events.
    pub targets: Vec<Target>,
    /// Sentences about servers that get no copy, because a file of theirs cannot be read.
    pub problems: Vec<String>,
    /// The log, as bytes of its path.
    pub log: Vec<u8>,
    /// Name of this machine.
    pub host: String,
}

impl LogCopies {
    /// Whether there are none to make, and nothing is to be told of them.
    pub fn is_empty(&self) -> bool {
        !self.has_sinks() && self.problems.is_empty()
    }

    /// Whether anything is sent.
    fn has_sinks(&self) -> bool {
        !self.servers.is_empty() || !self.targets.is_empty()
    }

    pub(crate) fn log(&self) -> PathBuf {
        path_of(&self.log)
    }

    /// The TCP ports of the servers.
    fn ports(&self) -> impl Iterator<Item = u16> {
        let servers = self.servers.iter().filter(|server| !server.is_socket()).map(|server| server.port);
        servers.chain(self.targets.iter().filter_map(Target::port))
    }
}

fn path_of(bytes: &[u8]) -> PathBuf {
    let path: std::ffi::OsString = std::os::unix::ffi::OsStringExt::from_vec(bytes.to_vec());
    PathBuf::from(path)
}

impl Settings {
    /// The settings of the exporter of a daemon with this run directory.
    pub fn new(
        virustotal: Option<virustotal::Settings>,
        reverse_dns: bool,
        copies: LogCopies,
        run_dir: &Path,
    ) -> Self {
        let run_dir = run_dir.as_os_str().as_encoded_bytes().to_vec();
        Self { virustotal, reverse_dns, copies, run_dir }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.virustotal.is_none() && !self.reverse_dns && self.copies.is_empty()
    }

    fn socket(&self) -> PathBuf {
        path_of(&self.run_dir).join(socket::NAME)
    }
}

/// Runs as a role of the monitor, until the monitor is gone; standard input is the channel with the settings.
///
/// # Errors
/// The rights cannot be given up, or standard input is not the channel.
pub fn run_role() -> io::Result<ExitCode> {
    sandbox::enter(Role::Exporter)?;
    let stdin: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let mut monitor = Channel::new(stdin);
    poll(&mut [PollFd::new(monitor.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)?;
    let settings = match monitor.receive() {
        Ok(Received::Message(settings, _)) => settings,
        Ok(Received::Closed) => return Ok(ExitCode::SUCCESS),
        _ => {
            return Err(io::Error::other(
                "the exporter is started by the monitor, or with `picosnitch exporter`",
            ));
        }
    };
    serve(&settings, Some(monitor))
}

/// Runs as a service of its own, until a signal ends it.
///
/// # Errors
/// The rights cannot be given up; `PermissionDenied` for root.
pub fn run_service(settings: &Settings) -> io::Result<ExitCode> {
    sandbox::enter(Role::Exporter)?;
    for number in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the default action runs no code of this process.
        unsafe { signal(number, SigHandler::SigDfl) }?;
    }
    serve(settings, None)
}

fn serve(settings: &Settings, mut monitor: Option<Channel>) -> io::Result<ExitCode> {
    name_services::load();
    let copies = &settings.copies;
    let asked = settings.virustotal.as_ref().map(virustotal::Settings::port);
    let ports: Vec<u16> = asked.into_iter().chain(copies.ports()).collect();
    let log = copies.has_sinks().then(|| copies.log());
    ExporterAccess { ports: &ports, log: log.as_deref() }.confine()?;
    // The threads get the same limits.
    let mut problems = copies.problems.clone();
    let (virustotal, problem) = match settings.virustotal.as_ref().map(LookupWorker::start).transpose() {
        Ok(worker) => (worker, None),
        Err(why) => (None, Some(format!("No program is looked up at VirusTotal: {why}."))),
    };
    problems.extend(problem);
    let reverse = settings.reverse_dns.then(ReverseWorker::start).transpose()?;
    let sinks = log.is_some().then(|| SinkWorker::start(copies)).transpose()?;
    let mut workers = Workers::new(virustotal, reverse, sinks);
    let (socket, mut pause) = (settings.socket(), MIN_PAUSE);
    loop {
        if let Ok(recorder) = socket::connect(&socket) {
            let connected = Instant::now();
            workers.set_recording(true);
            let ended = session::serve(recorder, &mut monitor, &mut workers, &problems)?;
            workers.set_recording(false);
            if ended == session::Ended::MonitorGone {
                return Ok(ExitCode::SUCCESS);
            }
            if connected.elapsed() > MAX_PAUSE {
                pause = MIN_PAUSE;
            }
        }
        let until = Instant::now() + pause;
        while Instant::now() < until {
            if session::is_gone(&mut monitor) {
                return Ok(ExitCode::SUCCESS);
            }
            workers.collect();
            thread::sleep(CHECK_INTERVAL);
        }
        pause = (pause * 2).min(MAX_PAUSE);
    }
}
