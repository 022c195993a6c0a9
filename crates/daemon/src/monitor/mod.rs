//! The monitor: loads the BPF programs, knows the process behind each flow, and sends both to the recorder.

use std::path::PathBuf;

use capture::Capture;
use config::{Config, layout::Layout};

pub use self::{
    directories::prepare,
    instance_lock::{InstanceLock, lock_stopped},
};
use self::{instance_lock::lock_instance, state::Monitor};
use crate::{error::MonitorError, problems::Problems};

mod context_ids;
mod directories;
mod drain;
mod event_loop;
mod executables;
mod exporter_process;
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
/// `with_exporter`: the monitor runs the exporter, not a service manager.
pub fn run(
    layout: &Layout,
    config: &Config,
    with_exporter: bool,
    started: impl FnOnce(&Capture),
) -> Result<(), MonitorError> {
    let _lock = lock_instance(layout)?;
    refuse_half_forgotten(layout)?;
    let ended = Monitor::start(layout, config, with_exporter, started).and_then(Monitor::run);
    // A client must not connect to a socket that no process serves.
    for socket in [live::SOCKET_NAME, exporter::socket::NAME] {
        let _ = std::fs::remove_file(layout.run_dir.join(socket));
    }
    if let Err(error) = &ended {
        // The caller writes it to standard error.
        Problems::of_monitor(layout).log(&model::error_chain(error));
    }
    ended
}

/// The file with the request of a `picosnitch forget` that has begun.
pub fn forget_request(layout: &Layout) -> PathBuf {
    layout.database.with_extension("forget")
}

/// Refuses to record while a `picosnitch forget` has not ended: it works on files that the recorder would write.
fn refuse_half_forgotten(layout: &Layout) -> Result<(), MonitorError> {
    let request = forget_request(layout);
    match std::fs::symlink_metadata(&request) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(MonitorError::Unusable(format!(
            "a `picosnitch forget` was interrupted ({} is there): run `picosnitch forget` without arguments, which ends it, and \
             start picosnitch again",
            request.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn nothing_is_recorded_before_a_forget_has_ended() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(Some(directory.path()), None);
        refuse_half_forgotten(&layout).unwrap();
        for make in [
            |path: &Path| std::fs::write(path, "").unwrap(),
            |path: &Path| std::os::unix::fs::symlink("nowhere", path).unwrap(),
        ] {
            make(&forget_request(&layout));
            let refused = refuse_half_forgotten(&layout).unwrap_err().to_string();
            assert!(refused.contains("run `picosnitch forget` without arguments"), "{refused}");
            std::fs::remove_file(forget_request(&layout)).unwrap();
        }
    }
}
