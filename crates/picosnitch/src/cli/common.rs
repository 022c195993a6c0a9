//! What every command takes and returns.

use std::path::PathBuf;

use clap::Args;

/// Exit code for a bad configuration file (`EX_CONFIG`, sysexits.h).
pub const EXIT_CONFIG: u8 = 78;

/// Options that every command takes.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Keep every file in this one directory instead of /etc, /var and /run
    #[arg(long, global = true, env = "PICOSNITCH_BASE_DIR", value_name = "DIR")]
    pub base_dir: Option<PathBuf>,
    /// Read this configuration file (TOML, or the original's JSON if it ends in .json)
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}
