//! The command line: one file a command.

use std::{
    ffi::{OsStr, OsString},
    process::ExitCode,
};

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};

use ::selftest::actor;
use capture::return_probe;
use common::Common;
use daemon::{file_opener, notifier, parser, recorder};
use model::text::sanitize;

mod backup;
mod check_config;
mod common;
mod daemon_state;
mod dash;
mod doctor;
mod export_sql;
mod exporter;
mod fleet;
mod forget;
mod generate;
mod import;
mod life_cycle;
mod output;
mod query;
mod selftest;
mod source;
mod start_no_daemon;
mod status;
mod systemd;
mod table;
mod tail;
mod theme;
mod top;
mod version;
mod view;

/// The role that the unit executes after it has stopped.
const AFTER_UNIT: &str = "after-unit";

#[derive(Parser)]
#[command(name = "picosnitch", version, about, disable_help_subcommand = false)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start picosnitch in the background, or its service
    Start(life_cycle::start::Options),
    /// End picosnitch once everything is written
    Stop(life_cycle::stop::Options),
    /// Stop and start picosnitch, if its configuration is good
    Restart(life_cycle::restart::Options),
    /// Have picosnitch read its configuration anew, if it is good, without a restart
    Reload(life_cycle::reload::Options),
    /// Record in the foreground (what the service unit runs)
    StartNoDaemon(start_no_daemon::Options),
    /// Print whether picosnitch is running, what it does and what it could not see
    Status(status::Options),
    /// Ask the log: which program talked to whom, how much, when
    Query(Box<query::Options>),
    /// Ask a server with copies of many logs: which hosts run a program, where it appeared first, which hosts are silent
    Fleet(Box<fleet::Options>),
    /// Print records and events of the log as they are written
    Tail(Box<tail::Options>),
    /// Show the history in the terminal
    View(view::Options),
    /// Show what happens now in the terminal
    Top(top::Options),
    /// Serve the web page
    #[command(visible_alias = "webui")]
    Dash(dash::Options),
    /// Check the configuration file and print everything that is wrong with it
    CheckConfig(check_config::Options),
    /// Copy the log into a file, also while picosnitch records
    Backup(backup::Options),
    /// Delete the history of a program, a domain, an address or a span of time, while picosnitch is stopped
    Forget(forget::Options),
    /// Print the statements that make the tables of an SQL server which gets a copy of the log
    ExportSql(export_sql::Options),
    /// Bring over the history, known programs and configuration of an original picosnitch, while this one is stopped
    Import(import::Options),
    /// Write the units of systemd for this program, and have systemd read them
    Systemd(systemd::Options),
    /// Print the version of picosnitch, of its log and of the kernel
    Version(version::Options),
    /// Make known traffic of every kind and compare it with what was recorded
    Selftest(selftest::Options),
    /// Print what this machine supports, what stays unseen, and what to do about it
    Doctor(doctor::Options),
    /// Talk to other machines for a daemon that runs with --no-exporter (what its service runs)
    #[command(hide = true)]
    Exporter(exporter::Options),
    /// Write the manual pages or the completions into a directory
    #[command(hide = true)]
    Generate(generate::Options),
    /// A part of the daemon, started by the daemon itself
    #[command(hide = true)]
    Role {
        /// Which part
        name: OsString,
        /// What it needs
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

/// Runs the command that the user typed and returns its exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return wrong_command_line(&error),
    };
    if let Err((text, code)) = cli.common.check() {
        eprintln!("picosnitch: {text}");
        return ExitCode::from(code);
    }
    let result = match cli.command {
        Command::Start(options) => life_cycle::start::run(&cli.common, &options),
        Command::Stop(options) => life_cycle::stop::run(&cli.common, &options),
        Command::Restart(options) => life_cycle::restart::run(&cli.common, &options),
        Command::Reload(life_cycle::reload::Options {}) => life_cycle::reload::run(&cli.common),
        Command::StartNoDaemon(options) => start_no_daemon::run(&cli.common, &options),
        Command::Status(options) => status::run(&cli.common, &options),
        Command::Query(options) => query::run(&cli.common, &options),
        Command::Fleet(options) => fleet::run(&cli.common, &options),
        Command::Tail(options) => tail::run(&cli.common, &options),
        Command::View(options) => view::run(&cli.common, &options),
        Command::Top(options) => top::run(&cli.common, &options),
        Command::Dash(options) => dash::run(&cli.common, &options),
        Command::CheckConfig(options) => check_config::run(&cli.common, &options),
        Command::Backup(options) => backup::run(&cli.common, &options),
        Command::Forget(options) => forget::run(&cli.common, &options),
        Command::ExportSql(options) => export_sql::run(&cli.common, &options),
        Command::Import(options) => import::run(&cli.common, &options),
        Command::Systemd(options) => systemd::run(&cli.common, &options),
        Command::Version(options) => version::run(&options),
        Command::Selftest(options) => selftest::run(&cli.common, &options),
        Command::Doctor(options) => doctor::run(&cli.common, &options),
        Command::Exporter(options) => exporter::run(&cli.common, &options),
        Command::Generate(options) => generate::run(&options, Cli::command()),
        Command::Role { name, .. } if name == AFTER_UNIT => life_cycle::stop::run_after_unit(&cli.common),
        Command::Role { name, arguments } => role(&name, &arguments),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("picosnitch: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the help, the version, or what is wrong with the command line, which may have characters on which a terminal acts.
fn wrong_command_line(error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        error.to_string().lines().for_each(|line| eprintln!("{}", sanitize::message(line)));
    } else {
        let _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn role(name: &OsStr, arguments: &[OsString]) -> anyhow::Result<ExitCode> {
    if name != actor::ROLE {
        // The process was executed as /proc/self/exe and would be called `exe`.
        nix::sys::prctl::set_name(c"picosnitch")?;
    }
    match name.to_str() {
        Some(actor::ROLE) => Ok(actor::run(arguments)),
        Some("recorder") => Ok(recorder::run()?),
        Some("file-opener") => {
            let tgid = arguments.first().and_then(|argument| argument.to_str()?.parse().ok());
            Ok(file_opener::run(tgid.context("the file opener needs a process id")?)?)
        }
        Some(return_probe::ROLE) => Ok(return_probe::run()),
        Some("exporter") => Ok(::exporter::run_role()?),
        Some("parser") => Ok(parser::run()?),
        Some("notifier") => Ok(notifier::run(arguments)?),
        Some("instructions") => instructions(),
        _ => anyhow::bail!("there is no role {}", name.display()),
    }
}

/// Prints as JSON how many instructions the verifier processes for each BPF program on this kernel, for
/// `cargo xtask instructions`.
fn instructions() -> anyhow::Result<ExitCode> {
    let programs: serde_json::Map<_, _> = capture::count_instructions()?
        .into_iter()
        .map(|program| (program.hook.program().to_owned(), program.processed.into()))
        .collect();
    let kernel = nix::sys::utsname::uname()?.release().to_string_lossy().into_owned();
    output::print(&format!("{}\n", serde_json::json!({"kernel": kernel, "programs": programs})))?;
    Ok(ExitCode::SUCCESS)
}
