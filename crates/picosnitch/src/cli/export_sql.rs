//! `picosnitch export-sql`: prints the statements that make the tables of a server and give its account the rights, for an
//! administrator who does not let picosnitch make them. Exit codes: 0, 77 (`EX_NOPERM`) or 78 (`EX_CONFIG`) as `check-config`, 1 if
//! there is no such server.

use std::process::ExitCode;

use super::{
    common::{Common, EXIT_CONFIG, EXIT_NO_PERMISSION},
    output::print,
};
use config::Config;
use daemon::server_address;
use export::{grant_sql, schema_sql};

#[derive(clap::Args)]
pub struct Options {
    /// The section of the configuration that has the server: log.server, or export.NAME
    #[arg(default_value = "log.server")]
    name: String,
}

pub fn run(common: &Common, options: &Options) -> anyhow::Result<ExitCode> {
    let config = match Config::load(&common.layout()) {
        Ok(loaded) => loaded.config,
        Err(errors) => {
            eprintln!("{errors}");
            return Ok(ExitCode::from(if errors.is_unreadable { EXIT_NO_PERMISSION } else { EXIT_CONFIG }));
        }
    };
    let Some((name, server)) = config.servers().find(|(name, _)| *name == options.name) else {
        let names: Vec<String> = config.servers().map(|(name, _)| name).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        anyhow::bail!("the configuration has no such server; it has: {names}");
    };
    let settings = server_address(&name, server);
    let database = &settings.database;
    let mut text = format!(
        "-- The tables of {name}, for {} (docs/export.md). Run this in the database {database}, as an account that may make tables.\n",
        settings.address()
    );
    for statement in schema_sql(&settings).into_iter().chain(grant_sql(&settings)) {
        text += &format!("{statement};\n");
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}
