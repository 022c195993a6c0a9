//! `picosnitch start`, `stop`, `restart` and `reload`: the daemon in the background. Where systemd has the unit, they leave it to systemctl.

use std::process::ExitCode;

use super::common::{Common, EXIT_CONFIG, EXIT_NO_PERMISSION};
use config::{Config, layout::Layout};

mod hanging;
pub mod reload;
pub mod restart;
pub mod start;
pub mod stop;
mod systemctl;

/// Prints what to type if this user is not root. Returns the exit code then.
fn refuse_without_root(action: &str) -> Option<ExitCode> {
    if nix::unistd::geteuid().is_root() {
        return None;
    }
    eprintln!("picosnitch: only root may {action} picosnitch: run `{}`", model::service::command(action));
    Some(ExitCode::from(EXIT_NO_PERMISSION))
}

/// Prints everything that is wrong with the configuration. Returns the exit code then.
fn refuse_bad_configuration(layout: &Layout) -> Option<ExitCode> {
    let errors = Config::load(layout).err()?;
    eprintln!("{errors}");
    Some(ExitCode::from(EXIT_CONFIG))
}

/// Whether the options ask for a daemon beside that of the system.
fn is_other_daemon(common: &Common) -> bool {
    common.base_dir.is_some() || common.config.is_some()
}
