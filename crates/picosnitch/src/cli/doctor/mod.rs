//! `picosnitch doctor`: whether everything is recorded, what is missing, how much that matters, and what to do; or with
//! `--salvage` what a damaged log still holds.
//! Exit codes: 0 recording and complete, 1 an error, 3 not recording, 4 not known whether it records, 5 recording with blind
//! spots that matter; with `--salvage` 0 when all could be read, 1 when something is missing.

mod blind_spots;
mod check;
mod diagnosis;
mod files;
mod machine;
mod process;
mod salvage;
mod state;

pub(super) use self::salvage::{become_owner, log_writer};
use std::{path::PathBuf, process::ExitCode};

use self::diagnosis::Diagnosis;
use super::{common::Common, output::print};

#[derive(clap::Args)]
pub struct Options {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print a text for a report of a bug: without paths of programs, names of users and hosts, and addresses
    #[arg(long, conflicts_with = "json")]
    report: bool,
    /// Bring over what can be read of this damaged log; picosnitch must be stopped meanwhile. It can run again: what is there
    /// is not doubled
    #[arg(long, value_name = "FILE", conflicts_with = "report")]
    salvage: Option<PathBuf>,
    /// Bring it into this log instead of that of this machine
    #[arg(long, value_name = "LOG", requires = "salvage")]
    into: Option<PathBuf>,
}

pub fn run(common: &Common, options: &Options) -> anyhow::Result<ExitCode> {
    if let Some(damaged) = &options.salvage {
        return salvage::run(&common.layout(), damaged, options.into.as_deref(), options.json);
    }
    let diagnosis = Diagnosis::make(&common.layout());
    print(&match (options.json, options.report) {
        (true, _) => diagnosis.json(),
        (_, true) => diagnosis.report(),
        _ => diagnosis.text(),
    })?;
    Ok(ExitCode::from(diagnosis.exit_code()))
}
