//! `picosnitch selftest`: makes known traffic and compares it with what was recorded.
//!
//! The exit code is 0 when nothing failed (skipped scenarios are no failure), 1 when something failed or the selftest could
//! not run.

use std::{io::Write, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context;

use super::common::Common;
use selftest::{self, Request};

#[derive(clap::Args)]
pub struct Options {
    /// Run only this scenario (repeatable)
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// Name all scenarios and do nothing else
    #[arg(long)]
    list: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Keep the private directory with the log and the recorder's error.log
    #[arg(long)]
    keep: bool,
    /// How long the whole may take; raise it on emulated CPUs
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(60..))]
    timeout: u64,
    /// Make the private directory in this one; it must allow programs to run (no noexec)
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    directory: PathBuf,
    /// Make the traffic only, record nothing
    #[arg(long, hide = true)]
    no_recorder: bool,
}

pub fn run(_common: &Common, options: &Options) -> anyhow::Result<ExitCode> {
    let mut output = std::io::stdout().lock();
    if options.list {
        for id in selftest::scenario_ids() {
            writeln!(output, "{id}")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let report = selftest::run(&Request {
        only: options.only.clone(),
        time_limit: Duration::from_secs(options.timeout),
        directory: Some(options.directory.clone()),
        keep: options.keep,
        without_recorder: options.no_recorder,
    })?;
    if options.json {
        serde_json::to_writer_pretty(&mut output, &report).context("cannot print the report")?;
        writeln!(output)?;
    } else {
        write!(output, "{}", report.table())?;
    }
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
