//! Finds and reads the configuration file, and writes the default one.

use std::{
    fmt, fs,
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::{
    json,
    layout::Layout,
    problem::{ConfigErrors, Problem},
    sections::Config,
    toml, trust,
};

/// The commented file that is written when there is none.
pub(super) const DEFAULT_TOML: &str = include_str!("default.toml");
/// A larger file is not read.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The file from which a configuration was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file in the format of `config.toml`.
    Toml(PathBuf),
    /// A `config.json` of the original picosnitch.
    Json(PathBuf),
    /// No file: the defaults. Contains the path at which a file would be read.
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

/// A configuration and the file from which it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration itself, complete with defaults.
    pub config: Config,
    /// The file from which it was read.
    pub source: Source,
}

impl Config {
    /// Reads the configuration file of the layout: the file that the user gave, which must exist; else `config.toml`, else
    /// the original picosnitch's `config.json` in a base directory. Without a file the result is the defaults. Writes nothing.
    ///
    /// # Errors
    /// All problems of the file, or the reason why it cannot be read.
    pub fn load(layout: &Layout) -> Result<Loaded, ConfigErrors> {
        if let Some(text) = read(&layout.config, layout.config_given)? {
            if layout.config.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
                let config =
                    Self::from_json(&text).map_err(|problems| errors_of(&layout.config, problems))?;
                return Ok(Loaded { config, source: Source::Json(layout.config.clone()) });
            }
            let config = Self::from_toml(&text).map_err(|problems| errors_of(&layout.config, problems))?;
            return Ok(Loaded { config, source: Source::Toml(layout.config.clone()) });
        }
        if let Some(path) = &layout.config_json
            && let Some(text) = read(path, false)?
        {
            let config = Self::from_json(&text).map_err(|problems| errors_of(path, problems))?;
            return Ok(Loaded { config, source: Source::Json(path.clone()) });
        }
        Ok(Loaded { config: Self::default(), source: Source::Defaults(layout.config.clone()) })
    }

    /// Reads the text of a `config.toml`.
    ///
    /// # Errors
    /// All problems of the text.
    pub fn from_toml(text: &str) -> Result<Self, Vec<Problem>> {
        toml::parse(text)
    }

    /// Reads the text of a `config.json` of the original picosnitch; comments and trailing commas are allowed.
    ///
    /// # Errors
    /// All problems of the text.
    pub fn from_json(text: &str) -> Result<Self, Vec<Problem>> {
        json::parse(text)
    }

    /// The text of a `config.toml` with every key, its default and an explanation.
    pub fn default_toml() -> &'static str {
        DEFAULT_TOML
    }

    /// Writes [`Config::default_toml`] to `path` with mode 0640, since users may put passwords there. Never replaces a file,
    /// and leaves none that is incomplete.
    ///
    /// # Errors
    /// The errors of the file system; `AlreadyExists` if there is a file.
    pub fn write_default(path: &Path) -> io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let written = file
            .write_all(DEFAULT_TOML.as_bytes())
            .and_then(|()| file.set_permissions(fs::Permissions::from_mode(0o640)));
        if written.is_err() {
            let _ = fs::remove_file(path);
        }
        written
    }
}

/// The problems of the file at a path.
fn errors_of(file: &Path, problems: Vec<Problem>) -> ConfigErrors {
    ConfigErrors { file: file.to_owned(), problems, is_unreadable: false }
}

/// The text of a file; `None` if there is no file and none is required.
fn read(path: &Path, is_required: bool) -> Result<Option<String>, ConfigErrors> {
    let fail = |message: String| errors_of(path, vec![Problem { line: None, message }]);
    let cannot = |error: io::Error| {
        match error.kind() {
        io::ErrorKind::PermissionDenied => ConfigErrors {
            is_unreadable: true,
            ..fail("you have no right to read the configuration; run the command as root (with sudo)".into())
        },
        io::ErrorKind::NotFound => fail("cannot read the configuration: there is no such file; write it, or leave --config out".into()),
        io::ErrorKind::NotADirectory => fail(
            "cannot read the configuration: a part of the path is a file; choose another directory with --base-dir".into(),
        ),
        _ => fail(format!("cannot read the configuration: {error}")),
    }
    };
    let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = match fs::File::options().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match fs::symlink_metadata(path) {
                Ok(_) => {
                    Err(fail("it is a symbolic link to a file that does not exist; remove or mend it".into()))
                }
                Err(_) if is_required => Err(cannot(error)),
                Err(_) => Ok(None),
            };
        }
        opened => opened.map_err(cannot)?,
    };
    let found = file.metadata().map_err(cannot)?;
    if !found.is_file() || found.len() > MAX_FILE_BYTES {
        return Err(fail("cannot read the configuration: not a regular file of at most 1 MiB".into()));
    }
    trust::check(path, &found).map_err(fail)?;
    let mut text = Vec::new();
    (&file).take(MAX_FILE_BYTES).read_to_end(&mut text).map_err(cannot)?;
    String::from_utf8(text).map(Some).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        fail(format!("line {line} is not UTF-8"))
    })
}
