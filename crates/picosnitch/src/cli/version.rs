//! `picosnitch version`: what is running here.

use std::process::ExitCode;

use serde_json::json;

use super::output::print;

#[derive(clap::Args)]
pub struct Options {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Prints the versions.
///
/// # Errors
/// The output cannot be written.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let version = env!("CARGO_PKG_VERSION");
    let schema = store::SCHEMA_VERSION;
    let sqlite = store::sqlite_version();
    let machine = std::env::consts::ARCH;
    let kernel = nix::sys::utsname::uname()?.release().to_string_lossy().into_owned();
    print(&match options.json {
        true => format!(
            "{:#}\n",
            json!({"version": version, "schema": schema, "sqlite": sqlite, "machine": machine, "kernel": kernel})
        ),
        false => format!(
            "picosnitch {version}\nlog: schema version {schema} (SQLite {sqlite})\nbuilt for: {machine}\nkernel: {kernel}\n"
        ),
    })?;
    Ok(ExitCode::SUCCESS)
}
