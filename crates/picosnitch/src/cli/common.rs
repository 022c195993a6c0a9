//! What every command takes and returns.

use std::{ffi::OsString, path::PathBuf};

use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser},
};

use config::layout::Layout;

/// Exit code for a wrong command line, as clap has it.
const EXIT_USAGE: u8 = 2;
/// Exit code for missing rights (`EX_NOPERM`, sysexits.h).
pub const EXIT_NO_PERMISSION: u8 = 77;
/// Exit code for a bad configuration file, or a bad variable of the environment (`EX_CONFIG`, sysexits.h).
pub const EXIT_CONFIG: u8 = 78;

/// The variable that replaces `--base-dir`.
const BASE_DIR_VARIABLE: &str = "PICOSNITCH_BASE_DIR";

/// Options that every command takes.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Keep every file in this one directory instead of /etc, /var and /run
    #[arg(
        long,
        global = true,
        env = BASE_DIR_VARIABLE,
        value_name = "DIR",
        value_parser = OsStringValueParser::new().map(PathBuf::from)
    )]
    pub base_dir: Option<PathBuf>,
    /// Read this configuration file (TOML, or the original's JSON if it ends in .json)
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl Common {
    /// Returns what is wrong with the options, and the exit code for it.
    pub fn check(&self) -> Result<(), (String, u8)> {
        if self.base_dir.as_ref().is_none_or(|directory| !directory.as_os_str().is_empty()) {
            return Ok(());
        }
        match std::env::var_os(BASE_DIR_VARIABLE) {
            Some(value) if value.is_empty() => Err((
                format!(
                    "the environment variable {BASE_DIR_VARIABLE} is empty; unset it for the files of the system, or set it \
                     to a directory"
                ),
                EXIT_CONFIG,
            )),
            _ => {
                Err(("--base-dir is empty; name a directory, or leave the option out".to_owned(), EXIT_USAGE))
            }
        }
    }

    /// The options again, for another command of the same installation.
    pub fn arguments(&self) -> Vec<OsString> {
        let base_dir = self.base_dir.iter().map(|path| ("--base-dir", path));
        let config = self.config.iter().map(|path| ("--config", path));
        base_dir.chain(config).flat_map(|(name, path)| [name.into(), path.as_os_str().to_owned()]).collect()
    }

    /// Where the files are.
    pub fn layout(&self) -> Layout {
        Layout::new(self.base_dir.as_deref(), self.config.as_deref())
    }
}
