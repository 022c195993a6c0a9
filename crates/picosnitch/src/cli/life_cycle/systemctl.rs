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

/// What systemd does with the unit now (`stop`, `restart`), if anything.
pub(super) fn job() -> Option<String> {
    let jobs =
        Command::new(systemctl()?).args(["list-jobs", "--no-legend", "--plain", UNIT]).output().ok()?;
    // A line has the number of the job, the unit, the type and the state.
    let jobs = String::from_utf8_lossy(&jobs.stdout).into_owned();
    let mut lines = jobs.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let found = lines.find(|fields| fields.get(1) == Some(&UNIT))?;
    found.get(2).map(|kind| (*kind).to_owned())
}

/// Has systemd stop the unit, without waiting for it.
pub(super) fn stop_without_waiting() -> anyhow::Result<()> {
    command("stop")?.arg("--no-block").status().context("cannot execute systemctl")?;
    Ok(())
}

fn systemctl() -> Option<&'static Path> {
    PLACES.iter().map(Path::new).find(|path| path.exists())
}

/// Runs systemctl, says so, and returns its exit code.
///
/// # Errors
/// systemctl cannot be executed.
pub(super) fn run(action: &str) -> anyhow::Result<ExitCode> {
    let status = command(action)?.status().context("cannot execute systemctl")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}

/// Executes systemctl in the place of this process, and says so.
///
/// # Errors
/// systemctl cannot be executed.
pub(super) fn execute(action: &str) -> anyhow::Result<ExitCode> {
    let error = command(action)?.exec();
    Err(anyhow::Error::new(error).context("cannot execute systemctl"))
}

fn command(action: &str) -> anyhow::Result<Command> {
    let systemctl = systemctl().context("systemd runs, but there is no systemctl in /usr/bin or /bin")?;
    eprintln!("picosnitch: systemd has the unit {UNIT}: systemctl {action} picosnitch");
    let mut command = Command::new(systemctl);
    command.args([action, "picosnitch"]);
    Ok(command)
}
