//! The unit as systemd and picosnitch itself see it.

use std::{
    fs,
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

use crate::traffic::Log;

pub const UNIT: &str = "picosnitch.service";
/// Longest wait for a start on a slow, emulated machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Runs a command to its end.
///
/// # Errors
/// It is missing.
pub fn output(program: &str, arguments: &[&str]) -> anyhow::Result<Output> {
    Command::new(program).args(arguments).output().with_context(|| format!("cannot run {program}"))
}

/// Runs a command that must succeed, and returns what it printed.
///
/// # Errors
/// What it said.
pub fn succeed(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = output(program, arguments)?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {}: {}: {printed}{said}", arguments.join(" "), output.status);
    }
    Ok(printed)
}

/// A property of the unit, as `systemctl show` has it.
///
/// # Errors
/// systemd does not answer.
pub fn property(name: &str) -> anyhow::Result<String> {
    Ok(succeed("systemctl", &["show", "--property", name, "--value", UNIT])?.trim().to_owned())
}

/// The process that systemd holds for the main one: the monitor.
///
/// # Errors
/// There is none.
pub fn main_process() -> anyhow::Result<i32> {
    let pid: i32 = property("MainPID")?.parse()?;
    ensure!(pid > 0, "the unit has no main process");
    Ok(pid)
}

/// The number of processes of the unit.
///
/// # Errors
/// It has no cgroup.
pub fn processes() -> anyhow::Result<usize> {
    let group = property("ControlGroup")?;
    let text = fs::read_to_string(format!("/sys/fs/cgroup{group}/cgroup.procs"))?;
    Ok(text.lines().count())
}

/// Waits until the unit is active and records, with another monitor than `old`. Returns the new one.
///
/// # Errors
/// It does not come up in time; what was seen instead.
pub fn wait_until_recording(log: &Log, old: Option<i32>) -> anyhow::Result<i32> {
    let begin = Instant::now();
    loop {
        let pid = main_process().ok().filter(|pid| Some(*pid) != old);
        let status = log.status().unwrap_or_default();
        let state = property("ActiveState")?;
        // The live socket answers before the hooks are attached; the unit is active only after that.
        if state == "active"
            && let Some(pid) = pid
            && status["running"] == true
            && status["monitor"].as_i64() == Some(pid.into())
        {
            return Ok(pid);
        }
        if state == "failed" || begin.elapsed() > PATIENCE {
            bail!(
                "after {} s the unit is {state} (result {}, exit {}), its main process {pid:?}, status says {status}",
                begin.elapsed().as_secs(),
                property("Result")?,
                property("ExecMainStatus")?,
            );
        }
        thread::sleep(Duration::from_millis(500));
    }
}

/// The last lines of the unit, and what became of it.
pub fn journal(lines: u32) -> String {
    let lines = lines.to_string();
    let journal = output("journalctl", &["--no-pager", "--unit", UNIT, "--lines", &lines]);
    let text = |output: anyhow::Result<Output>| match output {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => error.to_string(),
    };
    let status = text(output("systemctl", &["status", "--no-pager", "--lines", "0", UNIT]));
    (status + &text(journal)).lines().map(|line| format!("      | {line}\n")).collect()
}

/// Tells the kernel to send a signal.
///
/// # Errors
/// The process is gone.
pub fn signal(pid: i32, signal: i32) -> anyhow::Result<()> {
    // SAFETY: kill has no preconditions.
    ensure!(unsafe { libc::kill(pid, signal) } == 0, "cannot signal process {pid}");
    Ok(())
}
