//! `picosnitch stop`: ends the daemon and waits until everything is written.
//! Exit codes: 0 if it does not run any more, 77 without the right, 1 if it has not ended in time.

use std::{
    io,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use nix::sys::signal::Signal;

use super::{hanging, refuse_without_root, systemctl};
use crate::cli::{
    common::{Common, EXIT_CONFIG},
    daemon_state,
};
use config::layout::Layout;
use daemon::monitor::{self, Instance, ProcessHandle, find_instance};

/// Silence after which the user is told what is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a recorder whose monitor was killed may take to write what it has.
const LAST_WINDOW: Duration = Duration::from_secs(20);

#[derive(clap::Args)]
#[command(
    after_help = "Exit code: 0 if picosnitch does not run any more, 77 without root, 1 if it has not ended in time."
)]
pub struct Options {
    /// Seconds to wait until everything is written
    #[arg(long, value_name = "SECONDS", default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..=86400))]
    timeout: u64,
    /// Kill a daemon that hangs: its last window may be lost
    #[arg(long)]
    kill: bool,
}

pub fn run(common: &Common, options: &Options) -> anyhow::Result<ExitCode> {
    if let Some(code) = refuse_without_root("stop") {
        return Ok(code);
    }
    let layout = common.layout();
    let daemon = match find(&layout)? {
        Ok(daemon) => daemon,
        Err(text) => {
            // It may be about to start.
            if systemctl::is_responsible(common) {
                return stop_unit(&layout);
            }
            eprintln!("picosnitch: {text}");
            return let_go(&layout);
        }
    };
    if options.kill {
        if systemctl::is_responsible(common) && systemctl::has_started(daemon.pid()) {
            // Else the unit would be started again.
            systemctl::stop_without_waiting()?;
        }
        kill(&daemon)?;
        monitor::note_killed(&layout);
        return let_go(&layout);
    }
    if systemctl::is_responsible(common) && systemctl::has_started(daemon.pid()) {
        return stop_unit(&layout);
    }
    let code = end(&daemon, Signal::SIGTERM, Duration::from_secs(options.timeout))?;
    if code == ExitCode::SUCCESS { let_go(&layout) } else { Ok(code) }
}

/// Stops the unit. One that has failed does not run [`run_after_unit`] again.
fn stop_unit(layout: &Layout) -> anyhow::Result<ExitCode> {
    let code = systemctl::run("stop")?;
    if code == ExitCode::SUCCESS { let_go(layout) } else { Ok(code) }
}

/// Removes the BPF programs that the daemon has left for its next start.
fn let_go(layout: &Layout) -> anyhow::Result<ExitCode> {
    monitor::let_go(layout).context("the BPF programs of picosnitch cannot be removed from the kernel")?;
    Ok(ExitCode::SUCCESS)
}

/// After the unit has stopped (`ExecStopPost=`): does the same, unless it is about to be started again.
pub fn run_after_unit(common: &Common) -> anyhow::Result<ExitCode> {
    // systemd.exec(5): the service failed, and Restart= starts it again, unless it failed too often, or its configuration is bad
    // (RestartPreventExitStatus=).
    let variable = |name| std::env::var(name).unwrap_or_default();
    let (result, status) = (variable("SERVICE_RESULT"), variable("EXIT_STATUS"));
    let is_final =
        ["", "success", "start-limit-hit"].contains(&result.as_str()) || status == EXIT_CONFIG.to_string();
    let goes_on = match systemctl::job().as_deref() {
        Some("restart") => true,
        Some(_) => false,
        None => !is_final,
    };
    if goes_on {
        return Ok(ExitCode::SUCCESS);
    }
    let_go(&common.layout())
}

/// Finds the daemon, or the sentence that there is none.
///
/// # Errors
/// Another command works on the log, or the process cannot be found from here.
pub(super) fn find(layout: &Layout) -> anyhow::Result<Result<ProcessHandle, String>> {
    Ok(match find_instance(layout).context("it cannot be found out whether picosnitch runs")? {
        Instance::Daemon(daemon) => Ok(daemon),
        Instance::None(None) => Err("it is not running".to_owned()),
        Instance::None(Some(pid)) => Err(format!(
            "it is not running: process {pid}, which {} names, has ended without being stopped, and no other process records",
            layout.pid_file().display()
        )),
        Instance::OtherCommand(pid, command) => bail!(
            "another command works on the log (process {pid}: {}): wait until it has ended",
            model::text::sanitize::message(&command)
        ),
        Instance::Hidden(path) => bail!(
            "picosnitch runs where this command cannot see its process (a container, another pid namespace): end it there. It \
             holds the lock of {}",
            path.display()
        ),
    })
}

/// Ends a daemon in order with a signal, and waits until it has.
pub(super) fn end(daemon: &ProcessHandle, signal: Signal, patience: Duration) -> anyhow::Result<ExitCode> {
    let (pid, begun) = (daemon.pid(), Instant::now());
    if daemon_state::is_stopped(pid) {
        eprintln!(
            "picosnitch: process {pid} is stopped by a signal; it is let go on, so that it writes everything"
        );
    }
    send(daemon, signal)?;
    // A stopped process would not see the signal.
    send(daemon, Signal::SIGCONT)?;
    if !daemon.wait(PATIENCE.min(patience))? {
        eprintln!(
            "picosnitch: process {pid} is ending: {}; waiting for at most {} s",
            hanging::describe(pid),
            patience.as_secs()
        );
        if !daemon.wait(patience.saturating_sub(begun.elapsed()))? {
            eprintln!(
                "picosnitch: process {pid} has not ended after {} s: {}. Run `picosnitch stop` again to wait longer, or \
                 `sudo picosnitch stop --kill`, with which its last window may be lost",
                patience.as_secs(),
                hanging::describe(pid)
            );
            return Ok(ExitCode::FAILURE);
        }
    }
    eprintln!("picosnitch: stopped (process {pid}); everything is written");
    Ok(ExitCode::SUCCESS)
}

/// Kills the monitor. The recorder may write what it has, and is killed if it does not end.
fn kill(daemon: &ProcessHandle) -> anyhow::Result<()> {
    let (pid, children) = (daemon.pid(), daemon.children());
    send(daemon, Signal::SIGKILL)?;
    if !daemon.wait(LAST_WINDOW)? {
        bail!("process {pid} does not even end when it is killed: {}", hanging::describe(pid));
    }
    children.iter().try_for_each(|child| send(child, Signal::SIGCONT))?;
    let until = Instant::now() + LAST_WINDOW;
    let mut killed = false;
    for child in &children {
        if !child.wait(until.saturating_duration_since(Instant::now()))? {
            killed = true;
            send(child, Signal::SIGKILL)?;
            child.wait(LAST_WINDOW)?;
        }
    }
    match killed {
        true => eprintln!(
            "picosnitch: killed (process {pid}) with its recorder, which did not write what it had: the last window is lost"
        ),
        false => eprintln!(
            "picosnitch: killed (process {pid}); its recorder has written what it had. The traffic of the last moments is lost"
        ),
    }
    Ok(())
}

/// Sends a signal to a process, unless it has ended.
pub(super) fn send(process: &ProcessHandle, signal: Signal) -> anyhow::Result<()> {
    match process.signal(signal) {
        Err(error) if error.raw_os_error() == Some(nix::errno::Errno::ESRCH as i32) => Ok(()),
        result => result.map_err(|error: io::Error| {
            anyhow::Error::new(error).context(format!("process {} cannot be sent {signal}", process.pid()))
        }),
    }
}
