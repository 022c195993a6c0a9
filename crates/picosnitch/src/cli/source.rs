//! `--source`: another log than that of this machine, or a server with copies of logs.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use config::{Config, SqlServer};
use daemon::server_settings;
use export::ServerSettings;
use server_query::{LogSource, SourceError, SourceReader, server_at};

use super::{common::Common, query::explain};

/// The options about what is asked.
#[derive(clap::Args)]
pub struct SourceOptions {
    /// Ask another log: the path of a file, or a server with copies of logs (postgres://USER@HOST/DATABASE, mysql://, mariadb://,
    /// clickhouse://; or log.server, export.NAME: one of the configuration)
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// The file with the password of that server; otherwise it is in the environment (PGPASSWORD, MYSQL_PWD, CLICKHOUSE_PASSWORD)
    #[arg(long, value_name = "FILE", requires = "source")]
    password_file: Option<PathBuf>,
}

impl SourceOptions {
    /// What is asked: the log of this machine, if there is no --source.
    ///
    /// # Errors
    /// As [`read`].
    pub fn read(&self, common: &Common) -> anyhow::Result<LogSource> {
        read(common, self.source.as_deref(), self.password_file.as_deref())
    }

    /// Whether it is the log of this machine.
    pub fn is_own_log(&self) -> bool {
        self.source.is_none()
    }
}

/// Reads the value of --source; the log of this machine without one.
///
/// # Errors
/// It is no address, or the configuration has no such server or cannot be read.
pub fn read(
    common: &Common,
    source: Option<&str>,
    password_file: Option<&Path>,
) -> anyhow::Result<LogSource> {
    let Some(source) = source else { return Ok(LogSource::Log(common.layout().database)) };
    let variable = |name: &str| std::env::var(name).ok();
    if let Some(settings) = server_at(source, password_file, variable) {
        return Ok(LogSource::Server(Box::new(settings.context("--source")?)));
    }
    if let Some(path) = source.strip_prefix("sqlite:") {
        return Ok(LogSource::Log(path.strip_prefix("//").unwrap_or(path).into()));
    }
    if source.contains("://") {
        bail!("--source {source}: there are postgres://, mysql://, mariadb://, clickhouse:// and sqlite:");
    }
    if source.contains('/') || Path::new(source).exists() {
        return Ok(LogSource::Log(source.into()));
    }
    let settings = configured(common, source)?;
    Ok(LogSource::Server(Box::new(settings)))
}

/// Opens a log or connects to a server, for this command.
///
/// # Errors
/// The log cannot be read; the server cannot be reached, or has no copies.
pub fn open(source: &LogSource, command: &str) -> anyhow::Result<SourceReader> {
    let opened = SourceReader::open(source).and_then(|reader| reader.check().map(|()| reader));
    opened.map_err(|error| explain_source(error, source, command))
}

/// Adds to an error about missing rights which user or group has them.
pub fn explain_source(error: SourceError, source: &LogSource, command: &str) -> anyhow::Error {
    match (error, source) {
        (SourceError::Log(error), LogSource::Log(path)) => explain(error, path, command),
        (error, _) => error.into(),
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
