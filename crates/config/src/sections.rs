//! The sections of the configuration, with their defaults.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Serialize;

use super::{
    forward::ForwardSection,
    ignore::{IgnoreRule, serialize_as_text},
    secret::Secret,
    server::{ExportSection, SqlServer},
};

/// The whole configuration. The keys, defaults and ranges are those of `default.toml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Config {
    /// Section `[monitor]`: what is recorded.
    pub monitor: Monitor,
    /// Section `[log]`: what is stored, and where.
    pub log: Log,
    /// Section `[notifications]`: how the user is notified.
    pub notifications: Notifications,
    /// Section `[virustotal]`: look-ups of executables.
    pub virustotal: VirusTotal,
    /// Section `[names]`: names of addresses.
    pub names: Names,
    /// Section `[web]`: the page of `picosnitch dash`.
    pub web: Web,
    /// Sections `[export.NAME]`: further SQL servers that get a copy of every record, and other tools that get events.
    pub export: BTreeMap<String, ExportSection>,
    /// A sentence for every group of keys of the original picosnitch that the file has and that have no effect here.
    #[serde(skip)]
    pub(super) without_effect: Vec<String>,
}

/// Section `[monitor]`: what is recorded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Monitor {
    /// Count bytes; if false, only connections are counted.
    pub bandwidth: bool,
    /// Make a record of every executed program, with port -1.
    pub every_exe: bool,
    /// Pages of the ring buffer for process events: a power of two.
    pub ring_buffer_pages: u32,
    /// Limit of open descriptors, which bounds the cache of executables; `None` keeps the limit of the system.
    pub rlimit_nofile: Option<u64>,
}

/// Section `[log]`: what is stored, and where.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Log {
    /// Write the connection log to `snitch.db`.
    pub sqlite: bool,
    /// Write the connection log to `conn.log`.
    pub text: bool,
    /// Days after which a record is deleted; at least 1.
    pub retention_days: u32,
    /// Megabytes above which the oldest detail is deleted; 0 if the log may have any size; `None` for the default: the smaller
    /// of 4,000 and a tenth of the file system.
    pub retention_megabytes: Option<u32>,
    /// Seconds between two writes, which is the length of a window.
    pub write_limit_seconds: u32,
    /// A program with more groups of traffic than this in one window is folded: the largest keep every detail, the rest are
    /// summed.
    pub fold_above: u32,
    /// Store local and remote addresses and domains.
    pub addresses: bool,
    /// Store the command lines of programs.
    pub commands: bool,
    /// Store local and remote ports.
    pub ports: bool,
    /// Records that match one of these are not logged.
    #[serde(serialize_with = "serialize_as_text")]
    pub ignore: Vec<IgnoreRule>,
    /// SQL server that gets a copy of every record.
    pub server: Option<SqlServer>,
}

/// Section `[notifications]`: how the user is notified.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Notifications {
    /// Notify the desktop user over D-Bus.
    pub desktop: bool,
}

/// Section `[virustotal]`: look-ups of executables.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VirusTotal {
    /// Key of the API; empty if there are no look-ups.
    pub api_key: Secret,
    /// Upload files that VirusTotal does not know.
    pub file_upload: bool,
    /// Seconds between two requests to the API.
    pub request_limit_seconds: u32,
    /// Address of the API, for example `https://www.virustotal.com/api/v3`.
    pub url: String,
}

/// Section `[names]`: names of addresses.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Names {
    /// MaxMind DB file of countries; `None` for the packaged one.
    pub country_file: Option<PathBuf>,
    /// MaxMind DB file of networks (autonomous systems); `None` if there is none, so that networks are unknown.
    pub network_file: Option<PathBuf>,
    /// Look up the names of addresses (PTR records) for which nothing else is known.
    pub reverse_dns: bool,
}

/// Section `[web]`: the page of `picosnitch dash`. Other machines can reach it only with a certificate and a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Web {
    /// `localhost`, or the IP address to listen on.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Name of this machine by which the page is opened, besides `localhost` and addresses; empty if there is none.
    pub host_name: String,
    /// PEM file with the certificate of this server, and those that vouch for it.
    pub certificate: Option<PathBuf>,
    /// PEM file with the key of the certificate.
    pub key: Option<PathBuf>,
    /// Argon2 hash of the password (PHC string); empty without one.
    pub password_hash: Secret,
}

impl Default for Web {
    fn default() -> Self {
        Self {
            host: "localhost".to_owned(),
            port: 5100,
            host_name: String::new(),
            certificate: None,
            key: None,
            password_hash: Secret::default(),
        }
    }
}

impl Default for Monitor {
    fn default() -> Self {
        Self { bandwidth: true, every_exe: false, ring_buffer_pages: 64, rlimit_nofile: None }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            sqlite: true,
            text: false,
            retention_days: 365,
            retention_megabytes: None,
            write_limit_seconds: 10,
            fold_above: 256,
            addresses: true,
            commands: true,
            ports: true,
            ignore: Vec::new(),
            server: None,
        }
    }
}

impl Default for Notifications {
    fn default() -> Self {
        Self { desktop: true }
    }
}

impl Default for VirusTotal {
    fn default() -> Self {
        Self {
            api_key: Secret::default(),
            file_upload: false,
            request_limit_seconds: 15,
            url: "https://www.virustotal.com/api/v3".to_owned(),
        }
    }
}

impl Config {
    /// A sentence for every key that is set and has no effect in this version; the daemon prints them at its start.
    pub fn without_effect(&self) -> Vec<String> {
        let mut sentences = self.without_effect.clone();
        if !self.log.sqlite {
            let names = self.servers().map(|(name, _)| name).chain(self.forwards().map(|(name, _)| name));
            sentences.extend(names.map(|name| {
                format!(
                    "{name} has no effect: what a server gets is read from snitch.db, which log.sqlite = false turns off"
                )
            }));
        }
        sentences
    }

    /// The SQL servers that get a copy of every record, with the names of their sections.
    pub fn servers(&self) -> impl Iterator<Item = (String, &SqlServer)> {
        let first = self.log.server.iter().map(|server| ("log.server".to_owned(), server));
        let others = self.export.iter().filter_map(|(name, section)| match section {
            ExportSection::Server(server) => Some((format!("export.{name}"), &**server)),
            ExportSection::Forward(_) => None,
        });
        first.chain(others)
    }

    /// The other tools that get events, with the names of their sections.
    pub fn forwards(&self) -> impl Iterator<Item = (String, &ForwardSection)> {
        self.export.iter().filter_map(|(name, section)| match section {
            ExportSection::Forward(section) => Some((format!("export.{name}"), &**section)),
            ExportSection::Server(_) => None,
        })
    }

    /// A sentence for every file that is named and does not exist. This is not an error, since the file may come later.
    pub fn missing_files(&self) -> Vec<String> {
        let files = [
            ("names.country_file", &self.names.country_file),
            ("names.network_file", &self.names.network_file),
        ];
        let missing = |(key, file): (&str, &Option<PathBuf>)| {
            let file = file.as_ref().filter(|file| !file.is_file())?;
            Some(format!("{key}: there is no file {}", file.display()))
        };
        files.into_iter().filter_map(missing).collect()
    }
}
