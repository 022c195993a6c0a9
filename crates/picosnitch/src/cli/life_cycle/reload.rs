//! `picosnitch reload`: has the daemon read its configuration anew, if it is good.
//! Exit codes: 0 if the daemon was told, 78 if the configuration is bad, 77 without root, 1 if it does not run.

use std::process::ExitCode;

use anyhow::bail;
use nix::sys::signal::Signal;

use super::{refuse_bad_configuration, refuse_without_root, stop, systemctl};
use crate::cli::{common::Common, daemon_state};

#[derive(clap::Args)]
#[command(
    after_help = "Exit code: 0 if the daemon was told, 78 if the configuration is bad (the daemon goes on with the one before), 77 \
                  without root, 1 if picosnitch does not run."
)]
pub struct Options {}

pub fn run(common: &Common) -> anyhow::Result<ExitCode> {
    if let Some(code) = refuse_without_root("reload") {
        return Ok(code);
    }
    let layout = common.layout();
    if let Some(code) = refuse_bad_configuration(&layout) {
        return Ok(code);
    }
    let daemon = match stop::find(&layout)? {
        Ok(daemon) => daemon,
        Err(text) => bail!("{text}; it reads its configuration when it starts"),
    };
    let pid = daemon.pid();
    if systemctl::is_responsible(common) && systemctl::has_started(pid) {
        return systemctl::execute("reload");
    }
    stop::send(&daemon, Signal::SIGHUP)?;
    if daemon_state::is_stopped(pid) {
        eprintln!(
            "picosnitch: process {pid} is stopped by a signal: it reads its configuration anew when it goes on"
        );
    } else {
        eprintln!(
            "picosnitch: process {pid} reads its configuration anew; `picosnitch query --events --kind configuration` has what has changed"
        );
    }
    Ok(ExitCode::SUCCESS)
}
