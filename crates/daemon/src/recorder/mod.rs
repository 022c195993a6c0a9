//! The recorder: hashes executables, closes windows and writes the log.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{SigHandler, Signal, signal},
};

use super::{
    host::{give_back_memory, share_heap},
    messages::{Settings, ToMonitor, ToRecorder},
    recorder::{
        domains::Naming,
        live_traffic::Traffic,
        reporter::Telling,
        sinks::{
            sqlite::{Retention, Writing},
            text_log::TextLogging,
        },
    },
};
use crate::{
    problems::Problems,
    recorder::{contexts::ContextTable, window::OpenWindow},
};
use capture::ResolverFunction;
use identity::digests::Digests;
use ipc::{Channel, Received};
use live::connections::SocketPeer;
use model::{Address, Loss};
use names::{self, DomainDecision, Geography};

mod alerts;
mod conn_log;
mod contexts;
mod domains;
mod exe_log;
mod live_traffic;
mod reporter;
mod sinks;
mod window;

/// How long the last window waits for digests that are being computed.
const LAST_DIGESTS: Duration = Duration::from_secs(5);

/// How long it waits at most: what was folded is told now and then.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Why the recorder ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// The monitor is gone without a word.
    #[error("the monitor has ended unexpectedly; what it had sent was written")]
    MonitorGone,
    /// The first message was not the settings.
    #[error("the recorder is started by `picosnitch start-no-daemon`, not by hand")]
    NotStartedByMonitor,
    /// The channel or a thread failed.
    #[error("the recorder cannot work")]
    Io(#[from] io::Error),
}

/// Runs the role; standard input is its end of the channel.
///
/// # Errors
/// See [`RecorderError`].
pub fn run() -> Result<ExitCode, RecorderError> {
    share_heap();
    // Files of strangers, and other machines, are its business: whatever happens to it, it gains no rights.
    nix::sys::prctl::set_no_new_privs().map_err(io::Error::from)?;
    // Other processes of the same user have no business with its memory.
    nix::sys::prctl::set_dumpable(false).map_err(io::Error::from)?;
    // A terminal sends these to the monitor too, which ends this process when all is flushed.
    for signal_number in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: ignoring a signal runs no code.
        unsafe { signal(signal_number, SigHandler::SigIgn) }.map_err(io::Error::from)?;
    }
    let stdin: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let mut channel = Channel::new(stdin);
    wait(vec![PollFd::new(channel.as_fd(), PollFlags::POLLIN)], None)?;
    let Received::Message(ToRecorder::Settings(settings), listener) =
        channel.receive().map_err(|_| RecorderError::NotStartedByMonitor)?
    else {
        return Err(RecorderError::NotStartedByMonitor);
    };
    let problems = Arc::new(Problems::new(settings.error_log.clone()));
    let writing = settings
        .database
        .clone()
        .map(|database| Writing::start(database, Retention::of(&settings), Arc::clone(&problems)))
        .transpose();
    let writing = match writing {
        Ok(writing) => writing,
        Err(error) => {
            channel.send(&Channel::encode(&ToMonitor::Failed(model::error_chain(&error)))?, None)?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let telling =
        Telling::start(&settings.telling, settings.database.as_deref(), listener, Arc::clone(&problems));
    let telling = match telling {
        Ok(telling) => telling,
        Err(error) => {
            channel.send(&Channel::encode(&ToMonitor::Failed(model::error_chain(&error)))?, None)?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let text_logging = settings.telling.conn_log.clone();
    let text_logging =
        text_logging.map(|path| TextLogging::start(path, Arc::clone(&problems))).transpose()?;
    channel.send(&Channel::encode(&ToMonitor::Ready)?, None)?;
    let directory = settings.telling.record_json.parent().unwrap_or(Path::new("/"));
    let (geography, unknown) = Geography::open(&settings.geography, directory);
    unknown.iter().for_each(|problem| problems.report(problem));
    let mut recorder = Recorder {
        geography,
        names: Naming::start(&settings)?,
        window: OpenWindow::new(settings.rules.clone(), settings.write_limit_seconds),
        contexts: ContextTable::new(settings.rules.clone(), Digests::start()?),
        writing,
        text_logging,
        telling,
        traffic: Traffic::default(),
        problems,
    };
    let ended = recorder.record(&mut channel, &settings);
    if let Err(error) = &ended {
        recorder.problems.report(&model::error_chain(error));
    }
    recorder.contexts.digests().settle(LAST_DIGESTS);
    recorder.telling.settle(&channel, recorder.contexts.digests());
    recorder.close_window(true);
    // First: it needs no lock and little room.
    recorder.telling.serve(&channel);
    if let Some(text_logging) = recorder.text_logging.take() {
        text_logging.finish();
    }
    recorder.telling.finish();
    if let Some(writing) = recorder.writing.take() {
        writing.finish()?;
    }
    Ok(if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Waits until one of them is ready; false when the time is over.
fn wait(mut interests: Vec<PollFd<'_>>, until: Option<Instant>) -> io::Result<bool> {
    let timeout = match until {
        // Rounded up: a wait that ends early would spin.
        Some(until) => {
            let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        }
        None => PollTimeout::NONE,
    };
    match poll(&mut interests, timeout) {
        Ok(ready) => Ok(ready > 0),
        Err(nix::errno::Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

struct Recorder {
    geography: Geography,
    names: Naming,
    window: OpenWindow,
    contexts: ContextTable,
    writing: Option<Writing>,
    text_logging: Option<TextLogging>,
    telling: Telling,
    traffic: Traffic,
    problems: Arc<Problems>,
}

impl Recorder {
    fn record(&mut self, channel: &mut Channel, settings: &Settings) -> Result<(), RecorderError> {
        let length = Duration::from_secs(u64::from(settings.write_limit_seconds));
        let mut end = Instant::now() + length;
        let mut gave_back = Instant::now();
        loop {
            let mut interests = vec![
                PollFd::new(channel.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.contexts.digests().as_fd(), PollFlags::POLLIN),
            ];
            interests.extend(self.telling.interests());
            interests.extend(self.names.interest());
            let until = self.telling.due().unwrap_or(end).min(end).min(Instant::now() + LONGEST_WAIT);
            wait(interests, Some(until))?;
            loop {
                match channel.receive()? {
                    Received::Message(ToRecorder::End, _) => return Ok(()),
                    Received::Message(message, descriptor) => self.take(channel, message, descriptor),
                    Received::Nothing => break,
                    Received::Closed => return Err(RecorderError::MonitorGone),
                }
                if Instant::now() >= end {
                    break;
                }
            }
            if !self.names.serve() {
                let _ = channel.send(&Channel::encode(&ToMonitor::ResolvedEnded)?, None)?;
            }
            self.telling.settle(channel, self.contexts.digests());
            self.telling.serve(channel);
            if let Some(live) = self.telling.live() {
                self.traffic.serve(live, channel, &settings.rules);
            }
            let now = Instant::now();
            if now >= end {
                self.close_window(false);
                give_back_memory(&mut gave_back);
                // A machine that slept has no windows for the time it slept.
                end = (end + length).max(now + length / 2);
            }
        }
    }

    fn take(&mut self, channel: &Channel, message: ToRecorder, descriptor: Option<OwnedFd>) {
        match message {
            ToRecorder::Flows(flows) => {
                for mut flow in flows {
                    let waits = self.names.name(&mut flow);
                    self.traffic.add(&flow, waits, &mut self.contexts);
                    self.window.add(flow, waits);
                }
            }
            ToRecorder::Open(flows) => {
                self.traffic.list(flows, &mut self.names, &mut self.contexts);
            }
            ToRecorder::OpenEnds(listed) => self.traffic.list_ends(listed),
            ToRecorder::Drained => self.traffic.drained(&mut self.contexts),
            ToRecorder::ProcessContext { id, context, executables } => {
                self.telling.meet(channel, &context, executables, self.contexts.digests());
                self.contexts.insert(id, *context, executables)
            }
            ToRecorder::Executable { id, file_is } => match descriptor {
                Some(descriptor) => {
                    let file = File::from(descriptor);
                    self.telling.keep(id, &file);
                    self.contexts.digests().add(id, file, file_is);
                }
                None => self
                    .contexts
                    .digests()
                    .fail(id, "its descriptor did not arrive: out of descriptors".into()),
            },
            ToRecorder::Unhashed(id, why) => self.contexts.digests().fail(id, why),
            ToRecorder::ForgetContexts(id) => {
                self.traffic.forget_before(id);
                self.contexts.forget_before(id);
            }
            ToRecorder::ForgetExecutables(id) => {
                self.telling.forget_before(id, self.contexts.digests());
                self.contexts.digests().forget_before(id);
            }
            ToRecorder::NameObservation(heard) => heard.iter().for_each(|heard| self.names.hear(heard)),
            ToRecorder::Resolved => {
                if let Some(connection) = descriptor {
                    self.names.listen_to_resolved(connection);
                } else {
                    self.problems
                        .report("The connection to systemd-resolved did not arrive: out of descriptors.");
                }
            }
            ToRecorder::Library(number) => self.find_functions(channel, number, descriptor),
            ToRecorder::Losses(losses) => {
                self.telling.lose(&losses);
                self.traffic.lose(&losses);
                losses.into_iter().for_each(|loss: Loss| self.window.lose(loss));
            }
            ToRecorder::Unseen(unseen) => self.telling.set_unseen(unseen),
            ToRecorder::Reopen => {
                self.telling.reopen();
                if let Some(text_logging) = &self.text_logging {
                    text_logging.reopen();
                }
            }
            ToRecorder::Problem(text) => self.problems.report(&text),
            ToRecorder::Settings(_) | ToRecorder::End => {}
        }
    }

    /// Reads a C library on behalf of the monitor, which does not read strangers' files.
    fn find_functions(&self, channel: &Channel, number: u64, library: Option<OwnedFd>) {
        let symbols = ResolverFunction::ALL.map(ResolverFunction::symbol);
        let found = library
            .map(|library| names::function_offsets(&mut File::from(library), &symbols))
            .unwrap_or_default();
        let functions = found.into_iter().map(|(at, offset)| (ResolverFunction::ALL[at], offset)).collect();
        let answer = Channel::encode(&ToMonitor::Functions(number, functions));
        if !answer.and_then(|answer| channel.send(&answer, None)).is_ok_and(|sent| sent) {
            self.problems.report(
                "The monitor is too busy to hear of a C library: what programs ask it is not heard, so their connections \
                 may lack the domain.",
            );
        }
    }

    fn close_window(&mut self, last: bool) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let names = &mut self.names;
        let (mut known, mut soon) = (HashMap::new(), HashSet::new());
        let told = self.traffic.is_told();
        self.window.name(last, |socket, tuple| {
            let settled = names.settle(socket, tuple);
            if told && let Some(end) = SocketPeer::new(socket, tuple) {
                match &settled {
                    DomainDecision::Decided(name) => drop(known.insert(end, name.clone())),
                    DomainDecision::Pending => drop(soon.insert(end)),
                    DomainDecision::Unknown => {}
                }
            }
            settled
        });
        self.traffic.name(&known, &soon);
        let mut window = self.window.close(i64::try_from(now).unwrap_or(i64::MAX), &mut self.contexts, last);
        self.geography.reload_if_due().iter().for_each(|problem| self.problems.report(problem));
        for record in &mut window.records {
            // What was blanked is not located.
            record.geo = record
                .tuple
                .remote_address
                .and_then(Address::ip)
                .map(|address| self.geography.locate(address))
                .unwrap_or_default();
        }
        if let Some(text_logging) = &self.text_logging
            && !window.records.is_empty()
        {
            text_logging.add(window.clone());
        }
        if let Some(writing) = &self.writing
            && (!window.records.is_empty() || !window.losses.is_empty())
        {
            writing.add(window);
        }
    }
}
