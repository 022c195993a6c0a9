//! Leaves an action to systemctl, where systemd runs and has the unit of picosnitch.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::Context;

use super::is_other_daemon;
use crate::cli::common::Common;
use model::service::UNIT;

/// Where systemctl is. A search in `PATH` could find another program, which root would run.
const PLACES: [&str; 4] = [
    "/usr/bin/systemctl",
    "/bin/systemctl",
    "/usr/local/bin/systemctl",
    "/run/current-system/sw/bin/systemctl",
];

/// Whether the unit is responsible for the daemon of these options.
pub(super) fn is_responsible(common: &Common) -> bool {
    !is_other_daemon(common) && model::service::unit_file().is_some()
}

/// Whether a process belongs to the unit.
pub(super) fn has_started(pid: u32) -> bool {
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    cgroups
        .lines()
        .any(|line| line.rsplit(':').next().is_some_and(|path| path.split('/').any(|part| part == UNIT)))
}

/// Whether systemd stops the unit in order to start it again.
pub(super) fn is_restarting() -> bool {
    let Some(systemctl) = systemctl() else { return false };
    let jobs = Command::new(systemctl).args(["list-jobs", "--no-legend", "--plain", UNIT]).output();
    // A line has the number of the job, the unit, the type and the state.
    jobs.is_ok_and(|jobs| {
        String::from_utf8_lossy(&jobs.stdout)
            .lines()
            .any(|line| line.split_whitespace().nth(2) == Some("restart"))
    })
}

fn systemctl() -> Option<&'static Path> {
    PLACES.iter().map(Path::new).find(|path| path.exists())
}

/// Executes systemctl in the place of this process, and says so.
///
/// # Errors
/// systemctl cannot be executed.
pub(super) fn execute(action: &str) -> anyhow::Result<ExitCode> {
    let systemctl = systemctl().context("systemd runs, but there is no systemctl in /usr/bin or /bin")?;
    eprintln!("picosnitch: systemd has the unit {UNIT}: systemctl {action} picosnitch");
    let error = Command::new(systemctl).args([action, "picosnitch"]).exec();
    Err(anyhow::Error::new(error).context(format!("cannot execute {}", systemctl.display())))
}
