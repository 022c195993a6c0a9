//! `picosnitch exporter`: the process that talks to other machines, as a service of its own. Exit codes: 0 when nothing is
//! configured for it, or after a signal, 78 (`EX_CONFIG`) for a bad configuration, 1 for other errors.

use std::{env, fs, path::Path, process::ExitCode};

use anyhow::Context;

use super::common::{Common, EXIT_CONFIG};
use config::{Config, ConfigErrors, layout::Layout};

/// The configuration as systemd gives it to a service that may not read it itself (`LoadCredential=`).
const CREDENTIAL: &str = "config.toml";

#[derive(clap::Args)]
pub struct Options {}

pub fn run(common: &Common, _options: &Options) -> anyhow::Result<ExitCode> {
    let layout = common.layout();
    sandbox::close_inherited();
    if nix::unistd::geteuid().is_root() {
        anyhow::bail!(
            "what other machines answer is never read as root: run it as the user picosnitch, or start the daemon without \
             --no-exporter, which runs it itself"
        );
    }
    let config = match load(&layout)? {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{problems}");
            return Ok(ExitCode::from(EXIT_CONFIG));
        }
    };
    let settings = daemon::exporter_settings(&layout, &config);
    if settings.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    exporter::run_service(&settings).context("the exporter cannot run")
}

/// The configuration, or all that is wrong with it.
fn load(layout: &Layout) -> anyhow::Result<Result<Config, String>> {
    let given = env::var_os("CREDENTIALS_DIRECTORY").map(|directory| Path::new(&directory).join(CREDENTIAL));
    let Some(path) = given.filter(|path| path.exists()) else {
        return Ok(Config::load(layout).map(|loaded| loaded.config).map_err(|errors| errors.to_string()));
    };
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let file = layout.config.clone();
    Ok(Config::from_toml(&text)
        .map_err(|problems| ConfigErrors { file, problems, is_unreadable: false }.to_string()))
}
