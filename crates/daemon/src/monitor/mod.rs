//! The monitor: loads the BPF programs, knows the process behind each flow, and sends both to the recorder.

use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use capture::{Capture, HandOver};
use config::{Config, layout::Layout};

pub use self::{
    directories::prepare,
    end_reason::{EndReason, note_killed, read_end_reason},
    instance::{Instance, ProcessHandle, find_instance, looks_like_daemon},
    instance_lock::{InstanceLock, lock_stopped},
    recorder_settings::max_log_bytes,
    service_manager::ServiceManager,
};
use self::{instance_lock::lock_instance, state::Monitor};
use crate::{error::MonitorError, problems::Problems};

mod context_ids;
mod directories;
mod drain;
mod end_reason;
mod event_loop;
mod executables;
mod exporter_process;
mod flows;
mod instance;
mod instance_lock;
mod limits;
mod name_sources;
mod notifier_link;
mod notifiers;
mod observations;
mod open_sockets;
mod out_of_memory;
mod recorder_health;
mod recorder_link;
mod recorder_lock;
mod recorder_settings;
mod reload;
mod resolved_connector;
mod service_manager;
mod signals;
mod start;
mod state;

/// How a run differs from others with the same configuration.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// The BPF programs go on counting for the next run after SIGTERM and SIGUSR2, and if this one is killed.
    pub keeps_hooks: bool,
    /// The monitor runs the exporter, not a service manager.
    pub with_exporter: bool,
}

/// Records until SIGTERM, SIGINT or SIGUSR2, in the directories that [`prepare`] has made. `started` is called once all programs are
/// attached and the log is open.
///
/// # Errors
/// See [`MonitorError`].
pub fn run(
    layout: &Layout,
    config: &Config,
    service: ServiceManager,
    options: RunOptions,
    started: impl FnOnce(&Capture),
) -> Result<(), MonitorError> {
    let _lock = lock_instance(layout)?;
    end_reason::clear(layout);
    refuse_half_forgotten(layout)?;
    if !options.keeps_hooks {
        // A run that was killed may have left some. And no later run may take this one for a gap.
        let _ = capture::remove_pins(&hand_over(layout).pins);
        let _ = std::fs::remove_dir_all(hand_over(layout).journal);
    }
    let ended = Monitor::start(layout, config, service, options, started).and_then(Monitor::run);
    // A client must not connect to a socket that no process serves.
    for socket in [live::SOCKET_NAME, exporter::socket::NAME] {
        let _ = std::fs::remove_file(layout.run_dir.join(socket));
    }
    if let Err(error) = &ended {
        // The caller writes it to standard error.
        let why = model::error_chain(error);
        end_reason::write(layout, &why);
        Problems::of_monitor(layout).log(&why);
    }
    ended
}

/// Removes from the kernel the hooks that a run with `keeps_hooks` has left for the next one, unless one runs. Returns whether
/// there were any.
///
/// # Errors
/// The errors of the file system.
pub fn let_go(layout: &Layout) -> std::io::Result<bool> {
    let pins = hand_over(layout).pins;
    if !pins.exists() {
        return Ok(false);
    }
    match lock_stopped(layout) {
        Ok(_lock) => capture::remove_pins(&pins),
        Err(_) => Ok(false),
    }
}

/// Where a run leaves what the next one takes over: each run directory has a place of its own.
fn hand_over(layout: &Layout) -> HandOver {
    let name: String = layout
        .run_dir
        .as_os_str()
        .as_bytes()
        .iter()
        .map(|byte| match byte {
            // A BPF file system takes no dots.
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => char::from(*byte).to_string(),
            b'/' => "_".to_owned(),
            byte => format!("%{byte:02x}"),
        })
        .collect();
    let journal = layout.run_dir.join("journal");
    HandOver { pins: Path::new("/sys/fs/bpf/picosnitch").join(name.trim_start_matches('_')), journal }
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
