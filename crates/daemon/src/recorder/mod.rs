//! The recorder: hashes executables, collects flows in windows, and writes the log.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use nix::poll::{PollFd, PollFlags};

use self::state::{Outputs, Recorder};
use crate::{
    heap::keep_memory_small,
    messages::{Settings, ToMonitor, ToRecorder},
    poll::poll_until,
    problems::Problems,
};
use ipc::{Channel, Received};
use sandbox::{RecorderFiles, Role};

mod alert_rates;
mod alerts;
mod conn_log;
mod contexts;
mod domains;
mod error;
mod event_loop;
mod event_queue;
mod exporter_link;
mod file_changes;
mod late_digests;
mod live_connections;
mod live_status;
mod message_handler;
mod notification_text;
mod reload;
mod reporter;
mod resolved_connection;
mod sinks;
mod state;
mod window;
mod window_groups;
mod window_writer;

pub use error::RecorderError;

/// Gives up what the recorder does not need of its rights, now that it knows its files.
fn confine(settings: &Settings) -> io::Result<()> {
    let reporter = &settings.reporter;
    let mut written = vec![&*settings.error_log, &*reporter.record_json, &*reporter.exe_log];
    written.extend(settings.database.as_deref().into_iter().chain(reporter.conn_log.as_deref()));
    let files = names::geography_files(&settings.geography);
    let read: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    RecorderFiles { written: &written, read: &read }.confine()
}

/// Runs the role; standard input is its end of the channel.
///
/// # Errors
/// See [`RecorderError`].
pub fn run() -> Result<ExitCode, RecorderError> {
    sandbox::enter(Role::Recorder)?;
    keep_memory_small();
    let stdin: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let mut channel = Channel::new(stdin);
    poll_until(&mut [PollFd::new(channel.as_fd(), PollFlags::POLLIN)], None)?;
    let Received::Message(ToRecorder::Settings(settings), listener) =
        channel.receive().map_err(|_| RecorderError::NotStartedByMonitor)?
    else {
        return Err(RecorderError::NotStartedByMonitor);
    };
    confine(&settings)?;
    let problems = Arc::new(Problems::new(settings.error_log.clone()));
    let outputs = match Outputs::open(&settings, listener, &problems) {
        Ok(outputs) => outputs,
        Err(why) => {
            channel.send(&Channel::encode(&ToMonitor::Failed(why))?, None)?;
            return Ok(ExitCode::FAILURE);
        }
    };
    channel.send(&Channel::encode(&ToMonitor::Ready(outputs.last_drain()))?, None)?;
    let mut recorder = Recorder::new(*settings, channel, outputs, problems)?;
    let ended = recorder.serve();
    let mut stopped = "Recording stopped.".to_owned();
    if let Err(error) = &ended {
        let why = model::error_chain(error);
        recorder.problems.report(&why);
        recorder.settle_interrupted_drain();
        stopped = format!("Recording stopped: {why}.");
    }
    recorder.finish(&stopped);
    Ok(if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
