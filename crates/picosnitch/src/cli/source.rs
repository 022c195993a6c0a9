//! `--source`: another log than that of this machine, or a server with copies of logs.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use config::{Config, SqlServer};
use daemon::server_settings;
use export::ServerSettings;
use server_query::{ServerReader, server_at};

use super::common::Common;

/// What is asked.
pub enum Place {
    /// A log: that of this machine, or a file.
    Log(PathBuf),
    /// A server.
    Server(Box<ServerSettings>),
}

impl Place {
    /// Reads the value of --source; the log of this machine without one.
    ///
    /// # Errors
    /// It is no address, or the configuration has no such server or cannot be read.
    pub fn new(common: &Common, source: Option<&str>, password_file: Option<&Path>) -> anyhow::Result<Self> {
        let Some(source) = source else { return Ok(Self::Log(common.layout().database)) };
        let variable = |name: &str| std::env::var(name).ok();
        if let Some(settings) = server_at(source, password_file, variable) {
            return Ok(Self::Server(Box::new(settings.context("--source")?)));
        }
        if let Some(path) = source.strip_prefix("sqlite:") {
            return Ok(Self::Log(path.strip_prefix("//").unwrap_or(path).into()));
        }
        if source.contains("://") {
            bail!("--source {source}: there are postgres://, mysql://, mariadb:// and sqlite:");
        }
        if source.contains('/') || Path::new(source).exists() {
            return Ok(Self::Log(source.into()));
        }
        let settings = configured(common, source)?;
        Ok(Self::Server(Box::new(settings)))
    }

    /// Whether it is a server.
    pub fn is_server(&self) -> bool {
        matches!(self, Self::Server(_))
    }
}

/// The server of a section of the configuration: `log.server`, `export.NAME` or NAME.
fn configured(common: &Common, source: &str) -> anyhow::Result<ServerSettings> {
    let config = match Config::load(&common.layout()) {
        Ok(loaded) => loaded.config,
        Err(errors) if errors.is_unreadable => bail!(
            "--source {source} is a server of the configuration, which you have no right to read: run this as root, or write its \
             address (postgres://USER@HOST/DATABASE)\n{errors}"
        ),
        Err(errors) => bail!("{errors}"),
    };
    let is_wanted =
        |(name, _): &(String, &SqlServer)| name == source || name.strip_prefix("export.") == Some(source);
    let Some((name, server)) = config.servers().find(is_wanted) else {
        let names: Vec<String> = config.servers().map(|(name, _)| name).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        bail!(
            "--source {source} is no file (write it with a slash), and no server of the configuration, which has: {names}"
        );
    };
    server_settings(&name, server).map_err(|why| anyhow::anyhow!("--source {name}: {why}"))
}

/// Connects to a server.
///
/// # Errors
/// It cannot be reached, or has no copies.
pub fn connect(settings: ServerSettings) -> anyhow::Result<ServerReader> {
    Ok(ServerReader::connect(settings)?)
}
