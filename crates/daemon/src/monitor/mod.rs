//! The monitor: loads the BPF programs, knows the process behind each flow, and sends both to the recorder.

use capture::Capture;
use config::{Config, layout::Layout};

pub use self::directories::prepare;
use self::{instance_lock::lock_instance, state::Monitor};
use crate::{error::MonitorError, problems::Problems};

mod context_ids;
mod directories;
mod drain;
mod event_loop;
mod executables;
mod flows;
mod instance_lock;
mod limits;
mod name_sources;
mod notifier_link;
mod notifiers;
mod observations;
mod open_sockets;
mod recorder_link;
mod recorder_settings;
mod resolved_connector;
mod signals;
mod start;
mod state;

/// Records until SIGTERM or SIGINT, in the directories that [`prepare`] has made. `started` is called once all programs are attached and the log is open.
///
/// # Errors
/// See [`MonitorError`].
pub fn run(layout: &Layout, config: &Config, started: impl FnOnce(&Capture)) -> Result<(), MonitorError> {
    let _lock = lock_instance(layout)?;
    let ended = Monitor::start(layout, config, started).and_then(Monitor::run);
    // A client must not connect to a socket that no process serves.
    let _ = std::fs::remove_file(layout.run_dir.join(live::SOCKET_NAME));
    if let Err(error) = &ended {
        // The caller writes it to standard error.
        Problems::of_monitor(layout).log(&model::error_chain(error));
    }
    ended
}
