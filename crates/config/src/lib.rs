//! The configuration: every key with its type, default and allowed range, from `config.toml` or from the
//! original's `config.json`.
//!
//! Reading collects *all* problems before it gives up: nobody should have to fix a file one error at a time.

use std::{
    fmt, fs,
    io::{self, Write},
    ops::RangeInclusive,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::layout::Layout;

pub mod ignore;
mod json;
pub mod layout;
pub mod log_rules;
mod node;
pub mod server;
mod toml;

#[cfg(test)]
mod tests;

pub use ignore::IgnoreRule;
pub use server::{Client, Server, Tls};

/// The commented file that is written when there is none.
const DEFAULT_TOML: &str = include_str!("default.toml");

const RETENTION_DAYS: RangeInclusive<u32> = 1..=36_500;
/// Less would not hold the programs and addresses of a day.
const RETENTION_MEGABYTES: RangeInclusive<u32> = 10..=10_000_000;
const WRITE_LIMIT_SECONDS: RangeInclusive<u32> = 1..=3600;
const REQUEST_LIMIT_SECONDS: RangeInclusive<u32> = 0..=86_400;
/// Fewer than 256 descriptors do not even hold the BPF programs; the upper end is the kernel's default
/// `fs.nr_open`.
const RLIMIT_NOFILE: RangeInclusive<u64> = 256..=1_048_576;
const RING_BUFFER_PAGES: RangeInclusive<u32> = 16..=65_536;
const FILE_ALLOWED: &str = "the path of a file, from the root: /...";
const API_URL_ALLOWED: &str = "an address that begins with https://; http:// only for this machine";
const API_KEY_ALLOWED: &str = "at most 256 letters, digits, hyphens and underscores; empty = off";

/// The whole configuration. Keys and ranges are those of `default.toml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Config {
    /// What is watched.
    pub monitor: Monitor,
    /// What is kept, and where.
    pub log: Log,
    /// How the user is told.
    pub notifications: Notifications,
    /// VirusTotal look-ups.
    pub virustotal: VirusTotal,
    /// Who is behind an address.
    pub names: Names,
}

/// `[monitor]`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Monitor {
    /// Count bytes; false: connections only.
    pub bandwidth: bool,
    /// Every executed program is a record, port -1.
    pub every_exe: bool,
    /// Pages of the ring buffer for process events: a power of two.
    pub ring_buffer_pages: u32,
    /// Limit of open descriptors, which bounds the executable cache; `None` keeps the system's.
    pub rlimit_nofile: Option<u64>,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Log {
    /// Write the connection log to `snitch.db`.
    pub sqlite: bool,
    /// Write the connection log to `conn.log`.
    pub text: bool,
    /// Days after which a record is deleted; at least 1.
    pub retention_days: u32,
    /// Megabytes above which the oldest records are deleted; `None`: the log may have any size.
    pub retention_megabytes: Option<u32>,
    /// Seconds between two writes: the length of the window.
    pub write_limit_seconds: u32,
    /// Store addresses and domains.
    pub addresses: bool,
    /// Store command lines.
    pub commands: bool,
    /// Records that match one of these are not logged.
    #[serde(serialize_with = "ignore::as_text")]
    pub ignore: Vec<IgnoreRule>,
    /// SQL server that gets a copy of every record.
    pub server: Option<Server>,
}

/// `[notifications]`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Notifications {
    /// Notify the desktop user over D-Bus.
    pub desktop: bool,
}

/// `[virustotal]`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VirusTotal {
    /// Key of the API; empty: no look-ups.
    pub api_key: Secret,
    /// Upload files that VirusTotal does not know.
    pub file_upload: bool,
    /// Seconds between two requests.
    pub request_limit_seconds: u32,
    /// The API.
    pub url: String,
}

/// `[names]`
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Names {
    /// MaxMind DB file of countries; `None`: the packaged one.
    pub country_file: Option<PathBuf>,
    /// MaxMind DB file of networks (autonomous systems); `None`: networks are not known.
    pub network_file: Option<PathBuf>,
    /// Ask name servers what the owners of addresses call them, where nothing else is known.
    pub reverse_dns: bool,
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
            addresses: true,
            commands: true,
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

/// A text that is never printed: not in `check-config`, not in an error, not in a debug line.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "(none)" } else { "(set)" })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

/// Where a configuration came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A `config.toml`.
    Toml(PathBuf),
    /// An original's `config.json`.
    Json(PathBuf),
    /// There is no file: the defaults. Holds the path at which one would be read.
    Defaults(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Toml(path) | Self::Json(path) => write!(f, "{}", path.display()),
            Self::Defaults(path) => write!(f, "defaults (there is no {})", path.display()),
        }
    }
}

/// A configuration and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Where it came from.
    pub source: Source,
}

/// One thing that is wrong with a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line in the file, from 1, where known.
    pub line: Option<usize>,
    /// What is wrong: names the key, the value and what is allowed.
    pub message: String,
}

/// Everything that is wrong with a configuration file.
#[derive(Debug, Error)]
pub struct ConfigErrors {
    /// The file.
    pub file: PathBuf,
    /// The problems, by line; never empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:", self.file.display())?;
            if let Some(line) = problem.line {
                write!(f, "{line}:")?;
            }
            write!(f, " {}", problem.message)?;
        }
        Ok(())
    }
}

impl Config {
    /// Reads the configuration file of the layout: a file given by the user must exist; otherwise
    /// `config.toml`, else the original's `config.json` in a base directory, else the defaults.
    ///
    /// Writes nothing: see [`Config::write_default`].
    ///
    /// # Errors
    /// All that is wrong with the file, or why it cannot be read.
    pub fn load(layout: &Layout) -> Result<Loaded, ConfigErrors> {
        if let Some(text) = read(&layout.config, layout.config_given)? {
            if layout.config.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
                let config = Self::from_json(&text).map_err(|problems| at(&layout.config, problems))?;
                return Ok(Loaded { config, source: Source::Json(layout.config.clone()) });
            }
            let config = Self::from_toml(&text).map_err(|problems| at(&layout.config, problems))?;
            return Ok(Loaded { config, source: Source::Toml(layout.config.clone()) });
        }
        if let Some(path) = &layout.config_json
            && let Some(text) = read(path, false)?
        {
            let config = Self::from_json(&text).map_err(|problems| at(path, problems))?;
            return Ok(Loaded { config, source: Source::Json(path.clone()) });
        }
        Ok(Loaded { config: Self::default(), source: Source::Defaults(layout.config.clone()) })
    }

    /// Reads the text of a `config.toml`.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn from_toml(text: &str) -> Result<Self, Vec<Problem>> {
        toml::read(text)
    }

    /// Reads the text of an original's `config.json`; comments and trailing commas are allowed.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn from_json(text: &str) -> Result<Self, Vec<Problem>> {
        json::read(text)
    }

    /// The text of a `config.toml` with every key, its default and what it means.
    pub fn default_toml() -> &'static str {
        DEFAULT_TOML
    }

    /// Writes [`Config::default_toml`] to `path` with mode 0640 (passwords may be put there); never over a
    /// file that exists.
    ///
    /// # Errors
    /// Those of the file system; `AlreadyExists` if there is a file.
    pub fn write_default(path: &Path) -> io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(DEFAULT_TOML.as_bytes())?;
        file.set_permissions(fs::Permissions::from_mode(0o640))
    }

    /// A sentence for every setting whose behaviour is not built yet, for the daemon to print at start.
    pub fn not_yet_built(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        let mut say = |set: bool, key: &str, what: &str| {
            if set {
                sentences.push(format!("{key} has no effect yet: {what}"));
            }
        };
        say(self.log.server.is_some(), "log.server", "records go to no SQL server");
        sentences
    }

    /// A sentence for every file that is named and not there: no reason to refuse the configuration, it may come.
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

fn is_file_path(text: &str) -> bool {
    text.starts_with('/') && text.len() < 4096 && !text.contains('\0')
}

/// It goes into an HTTP header: nothing may end that.
fn is_api_key(text: &str) -> bool {
    text.len() <= 256 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// The key goes there: encrypted, or not further than this machine.
fn is_api_url(text: &str) -> bool {
    let local = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
    let rest = text.strip_prefix("https://").or_else(|| {
        local.iter().find_map(|local| text.strip_prefix(local).filter(|rest| rest.starts_with([':', '/'])))
    });
    text.len() <= 512
        && rest.is_some_and(|rest| rest.len() > 1)
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'@' | b'?' | b'#'))
}

/// The number of pages under `key`, which the kernel wants to be a power of two.
fn ring_buffer_pages(reader: &mut node::Reader<'_>, key: &'static str) -> Option<u32> {
    let line = reader.line_of(key);
    let pages = reader.integer(key, RING_BUFFER_PAGES)?;
    if pages.is_power_of_two() {
        return Some(pages);
    }
    let (from, to) = (RING_BUFFER_PAGES.start(), RING_BUFFER_PAGES.end());
    let message = format!("the integer {pages} is not allowed; allowed: a power of two from {from} to {to}");
    reader.problem(line, key, message);
    None
}

/// The size under `key`; 0 is none.
fn retention_megabytes(reader: &mut node::Reader<'_>, key: &'static str) -> Option<u32> {
    let line = reader.line_of(key);
    let size = reader.integer(key, 0..=*RETENTION_MEGABYTES.end())?;
    if size == 0 || RETENTION_MEGABYTES.contains(&size) {
        return Some(size).filter(|size| *size > 0);
    }
    let (from, to) = (RETENTION_MEGABYTES.start(), RETENTION_MEGABYTES.end());
    let message = format!("the integer {size} is not allowed; allowed: 0, or an integer from {from} to {to}");
    reader.problem(line, key, message);
    None
}

fn at(file: &Path, problems: Vec<Problem>) -> ConfigErrors {
    ConfigErrors { file: file.to_owned(), problems }
}

/// The text of a file; `None` if there is none and none is demanded.
fn read(path: &Path, demanded: bool) -> Result<Option<String>, ConfigErrors> {
    /// A configuration of a mebibyte is none.
    const LIMIT: u64 = 1 << 20;
    let fail = |message: String| at(path, vec![Problem { line: None, message }]);
    let text = fs::metadata(path).and_then(|found| match found.is_file() && found.len() <= LIMIT {
        true => fs::read(path),
        false => Err(io::Error::other("not a regular file of at most 1 MiB")),
    });
    match text {
        Ok(text) => match String::from_utf8(text) {
            Ok(text) => Ok(Some(text)),
            Err(error) => {
                let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
                Err(fail(format!("line {line} is not UTF-8")))
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound && !demanded => Ok(None),
        Err(error) => Err(fail(format!("cannot read the configuration: {error}"))),
    }
}
