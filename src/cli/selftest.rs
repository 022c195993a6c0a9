//! `picosnitch selftest`.

use std::process::ExitCode;

use super::Common;

/// Options of the command.
#[derive(clap::Args)]
pub struct Options {}

/// Runs the command.
pub fn run(_common: &Common, _options: &Options) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not built yet")
}
