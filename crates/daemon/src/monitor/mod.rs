//! The monitor: loads the BPF programs, knows the process behind each flow, and sends both to the recorder.

use capture::Capture;
use config::{Config, layout::Layout};

use self::{pid_file::lock_pid_file, state::Monitor};
use crate::{error::MonitorError, problems::Problems};

mod context_ids;
mod drain;
mod event_loop;
mod executables;
mod flows;
mod limits;
mod name_sources;
mod notifier_link;
mod notifiers;
mod observations;
mod open_sockets;
mod pid_file;
mod recorder_link;
mod recorder_settings;
mod resolved_connector;
mod signals;
mod start;
mod state;

/// Records until SIGTERM or SIGINT. `started` is called once all programs are attached and the log is open.
///
/// # Errors
/// See [`MonitorError`].
pub fn run(layout: &Layout, config: &Config, started: impl FnOnce(&Capture)) -> Result<(), MonitorError> {
    let _pid_file = lock_pid_file(layout)?;
    let ended = Monitor::start(layout, config, started).and_then(Monitor::run);
    // A client must not connect to a socket that no process serves.
    let _ = std::fs::remove_file(layout.run_dir.join(live::SOCKET_NAME));
    if let Err(error) = &ended {
        // The caller writes it to standard error.
        Problems::new(layout.error_log.clone()).log(&model::error_chain(error));
    }
    ended
}
