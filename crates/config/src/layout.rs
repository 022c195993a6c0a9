//! The paths of all files: those of the system, or all in one directory.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use nix::unistd::{Gid, Uid, fchown};
use thiserror::Error;

/// Mode of the directories for state and logs, which only the owner and the group may read.
const PRIVATE_MODE: u32 = 0o750;
/// Mode of the same directories after they were given to the group of the user that writes the log. Sticky, so that this user
/// cannot replace the files of root.
const SHARED_MODE: u32 = 0o1770;
/// Mode of the configuration and run directories. Every user may look up the live socket, which has a mode of its own.
const PUBLIC_MODE: u32 = 0o755;

/// The path of every file that picosnitch reads or writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The configuration: `config.toml`, or the file given with `--config`.
    pub config: PathBuf,
    /// The user gave the configuration file with `--config`, so it must exist.
    pub config_given: bool,
    /// `config.json` of the original picosnitch, which is read if there is no `config.toml`; only with a base directory.
    pub config_json: Option<PathBuf>,
    /// The connection log (SQLite), `snitch.db`.
    pub database: PathBuf,
    /// The file of known programs, `record.json`.
    pub record_json: PathBuf,
    /// The history of alerts, `exe.log`.
    pub exe_log: PathBuf,
    /// The log of errors, `error.log`.
    pub error_log: PathBuf,
    /// The connection log as text, `conn.log`.
    pub conn_log: PathBuf,
    /// The directory of the pid file and the live socket.
    pub run_dir: PathBuf,
}

/// The reasons why a directory of the layout cannot be used.
#[derive(Debug, Error)]
pub enum LayoutError {
    /// The directory could not be made.
    #[error("cannot make the directory {}; run as root, or choose another one with --base-dir", path.display())]
    Create {
        /// Path of the unusable directory.
        path: PathBuf,
        /// The error that the system returned.
        source: io::Error,
    },
    /// The directory could not be examined.
    #[error("cannot examine the directory {}; run as root, or choose another one with --base-dir", path.display())]
    Inspect {
        /// Path of the unusable directory.
        path: PathBuf,
        /// The error that the system returned.
        source: io::Error,
    },
    /// The path is that of a file.
    #[error("{} is not a directory; move it away, or choose another one with --base-dir", .0.display())]
    NotADirectory(PathBuf),
    /// Every user could create files in the directory.
    #[error("anyone may write to the directory {path}, so nothing in it can be trusted; run: chmod o-w '{path}'", path = .0.display())]
    WorldWritable(PathBuf),
}

impl Layout {
    /// The layout below `base_dir`, or that of the system without it; `config` replaces the configuration file.
    ///
    /// Relative paths become absolute now, so that a later `chdir` does not change them.
    pub fn new(base_dir: Option<&Path>, config: Option<&Path>) -> Self {
        let mut layout = match base_dir {
            Some(directory) => {
                let directory = absolute(directory);
                Self {
                    config: directory.join("config.toml"),
                    config_given: false,
                    config_json: Some(directory.join("config.json")),
                    database: directory.join("snitch.db"),
                    record_json: directory.join("record.json"),
                    exe_log: directory.join("exe.log"),
                    error_log: directory.join("error.log"),
                    conn_log: directory.join("conn.log"),
                    run_dir: directory.join("run"),
                }
            }
            None => Self {
                config: "/etc/picosnitch/config.toml".into(),
                config_given: false,
                config_json: None,
                database: "/var/lib/picosnitch/snitch.db".into(),
                record_json: "/var/lib/picosnitch/record.json".into(),
                exe_log: "/var/log/picosnitch/exe.log".into(),
                error_log: "/var/log/picosnitch/error.log".into(),
                conn_log: "/var/log/picosnitch/conn.log".into(),
                run_dir: "/run/picosnitch".into(),
            },
        };
        if let Some(config) = config {
            layout.config = absolute(config);
            layout.config_given = true;
            layout.config_json = None;
        }
        layout
    }

    /// Makes the directories that are missing: 0750 for state and logs, 0755 for configuration and run, whatever the umask is.
    /// The mode of an existing directory stays the same.
    ///
    /// # Errors
    /// See [`LayoutError`].
    pub fn prepare(&self) -> Result<(), LayoutError> {
        let private = [&self.database, &self.record_json, &self.exe_log, &self.error_log, &self.conn_log];
        for directory in private.into_iter().filter_map(|file| file.parent()) {
            create_directory(directory, PRIVATE_MODE)?;
        }
        if let Some(directory) = self.config.parent() {
            create_directory(directory, PUBLIC_MODE)?;
        }
        create_directory(&self.run_dir, PUBLIC_MODE)
    }

    /// Gives the files that root made to the user that writes the log, and the directories for state and logs to its group.
    /// The directories still belong to root and become sticky, so that this user cannot replace a file of root in them (with a
    /// base directory, the configuration). Files and directories that do not belong to root stay as they are.
    ///
    /// # Errors
    /// The errors of the file system.
    pub fn hand_over(&self, user: Uid, group: Gid) -> io::Result<()> {
        for file in [&self.database, &self.record_json, &self.exe_log, &self.error_log, &self.conn_log] {
            if let Some(directory) = file.parent() {
                // The path may be a symbolic link that root made to another disk. A user who could put a link here could also
                // replace the whole directory.
                let flags = libc::O_DIRECTORY | libc::O_CLOEXEC;
                let directory = fs::File::options().read(true).custom_flags(flags).open(directory)?;
                if directory.metadata()?.uid() == 0 {
                    fchown(&directory, None, Some(group))?;
                    directory.set_permissions(fs::Permissions::from_mode(SHARED_MODE))?;
                }
            }
            hand_over_file(file, user, group)?;
        }
        for suffix in ["-wal", "-shm"] {
            let mut path = self.database.clone().into_os_string();
            path.push(suffix);
            hand_over_file(Path::new(&path), user, group)?;
        }
        Ok(())
    }
}

/// Gives a file of root to a user; never one with a second hard link, which may belong to another directory.
fn hand_over_file(path: &Path, user: Uid, group: Gid) -> io::Result<()> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = match fs::File::options().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // A symbolic link: the process that writes the file rejects it with a better message.
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Ok(()),
        opened => opened?,
    };
    let found = file.metadata()?;
    if found.is_file() && found.uid() == 0 && found.nlink() == 1 {
        fchown(&file, Some(user), Some(group))?;
    }
    Ok(())
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Makes a directory if it is missing.
fn create_directory(directory: &Path, mode: u32) -> Result<(), LayoutError> {
    let fail = |source| LayoutError::Create { path: directory.to_owned(), source };
    match fs::metadata(directory) {
        Ok(found) if !found.is_dir() => return Err(LayoutError::NotADirectory(directory.to_owned())),
        Ok(found) => {
            let mode = found.permissions().mode();
            // The sticky bit prevents other users from replacing files, but not from creating them before picosnitch does.
            return if mode & 0o002 != 0 {
                Err(LayoutError::WorldWritable(directory.to_owned()))
            } else {
                Ok(())
            };
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(LayoutError::Inspect { path: directory.to_owned(), source }),
    }
    if let Some(parent) = directory.parent() {
        fs::DirBuilder::new().recursive(true).mode(PUBLIC_MODE).create(parent).map_err(fail)?;
    }
    // Made with fewer rights than it gets, so that it never has more than it should.
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return create_directory(directory, mode);
        }
        Err(error) => return Err(fail(error)),
    }
    fs::set_permissions(directory, fs::Permissions::from_mode(mode)).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn the_system_layout_has_no_config_json() {
        let layout = Layout::new(None, None);
        assert_eq!(layout.config, Path::new("/etc/picosnitch/config.toml"));
        assert_eq!(layout.config_json, None);
        assert_eq!(layout.database, Path::new("/var/lib/picosnitch/snitch.db"));
    }

    #[test]
    fn a_given_configuration_replaces_both_files_of_the_base_directory() {
        let layout = Layout::new(Some(Path::new("/base")), Some(Path::new("/elsewhere/config.json")));
        assert_eq!(layout.config, Path::new("/elsewhere/config.json"));
        assert_eq!(layout.config_json, None);
        assert_eq!(layout.run_dir, Path::new("/base/run"));
    }

    #[test]
    fn prepare_makes_directories_with_their_modes_and_keeps_existing_ones() {
        let temporary = tempfile::tempdir().unwrap();
        let base = temporary.path().join("a/b");
        let layout = Layout::new(Some(&base), None);
        layout.prepare().unwrap();
        assert_eq!(mode(&base), 0o750);
        assert_eq!(mode(&layout.run_dir), 0o755);
        fs::set_permissions(&base, fs::Permissions::from_mode(0o700)).unwrap();
        layout.prepare().unwrap();
        assert_eq!(mode(&base), 0o700);
    }

    #[test]
    fn prepare_rejects_a_file_and_a_world_writable_directory() {
        let temporary = tempfile::tempdir().unwrap();
        let file = temporary.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Layout::new(Some(&file), None).prepare().unwrap_err();
        assert!(matches!(error, LayoutError::NotADirectory(_)), "{error}");
        let open = temporary.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        let error = Layout::new(Some(&open), None).prepare().unwrap_err();
        assert!(error.to_string().contains("chmod o-w"), "{error}");
    }
}
