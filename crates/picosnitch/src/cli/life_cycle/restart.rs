//! `picosnitch restart`: ends the daemon and starts it again, and its BPF programs go on counting in between. A bad configuration
//! does not end the one that runs.
//! Exit codes: those of `stop` and `start`.

use std::{process::ExitCode, time::Duration};

use nix::sys::signal::Signal;

use super::{refuse_bad_configuration, refuse_without_root, start, stop, systemctl};
use crate::cli::common::Common;

#[derive(clap::Args)]
#[command(
    after_help = "Exit code: 0 if it records, 78 if the configuration is bad (the daemon that runs goes on), 77 without root, 1 if \
                  the daemon does not end or does not record."
)]
pub struct Options {
    /// Seconds to wait until everything is written, and again until it records
    #[arg(long, value_name = "SECONDS", default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..=86400))]
    timeout: u64,
}

pub fn run(common: &Common, options: &Options) -> anyhow::Result<ExitCode> {
    if let Some(code) = refuse_without_root("restart") {
        return Ok(code);
    }
    let layout = common.layout();
    if let Some(code) = refuse_bad_configuration(&layout) {
        return Ok(code);
    }
    let (daemon, timeout) = (stop::find(&layout)?.ok(), Duration::from_secs(options.timeout));
    let of_unit = daemon.as_ref().is_none_or(|daemon| systemctl::has_started(daemon.pid()));
    if systemctl::is_responsible(common) && of_unit {
        return systemctl::execute("restart");
    }
    if let Some(daemon) = daemon {
        let code = stop::end(&daemon, Signal::SIGUSR2, timeout)?;
        if code != ExitCode::SUCCESS {
            return Ok(code);
        }
    }
    start::start(common, &layout, timeout)
}
