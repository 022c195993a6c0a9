//! Where the files are: the system layout, or everything in one directory.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use nix::unistd::{Gid, Uid, fchown};
use thiserror::Error;

/// Mode of the directories for state and logs: what is in there is nobody's business but the owner's and
/// the group's.
const PRIVATE: u32 = 0o750;
/// Mode of the same directories once their group is that of the user who writes the log.
const SHARED_WITH_GROUP: u32 = 0o1770;
/// Mode of the configuration and run directories: anyone may look for the live socket, which has a mode of
/// its own.
const PUBLIC: u32 = 0o755;

/// The path of every file that picosnitch reads or writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Configuration: `config.toml`, or the file given with `--config`.
    pub config: PathBuf,
    /// The user named the configuration file: it must exist.
    pub config_given: bool,
    /// The original's `config.json`, read when there is no `config.toml`; only with a base directory.
    pub config_json: Option<PathBuf>,
    /// Connection log (SQLite).
    pub database: PathBuf,
    /// Known programs.
    pub record_json: PathBuf,
    /// History of notifications.
    pub exe_log: PathBuf,
    /// Errors.
    pub error_log: PathBuf,
    /// Text connection log.
    pub conn_log: PathBuf,
    /// Directory for the pid file and the live socket.
    pub run_dir: PathBuf,
}

/// A directory of the layout is not usable.
#[derive(Debug, Error)]
pub enum LayoutError {
    /// It could not be made.
    #[error("cannot make the directory {}; run as root, or choose another one with --base-dir", path.display())]
    Create {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It could not be looked at.
    #[error("cannot look at the directory {}", path.display())]
    Inspect {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is something else of that name.
    #[error("{} is not a directory; move it away, or choose another place with --base-dir", .0.display())]
    NotADirectory(PathBuf),
    /// Anyone could put files there, or replace ours.
    #[error("anyone may write to the directory {path}, so nothing in it can be trusted; run: chmod o-w '{path}'", path = .0.display())]
    WorldWritable(PathBuf),
}

impl Layout {
    /// The layout below `base_dir`, or the system one without it; `config` replaces the configuration file.
    ///
    /// Relative paths are taken from the current directory now, so that a later `chdir` changes nothing.
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

    /// Makes the directories that are missing: 0750 for state and logs, 0755 for configuration and run,
    /// whatever the umask. The mode of a directory that exists is left alone.
    ///
    /// # Errors
    /// A directory that cannot be made, is something else, or may be written by anyone.
    pub fn prepare(&self) -> Result<(), LayoutError> {
        let private = [&self.database, &self.record_json, &self.exe_log, &self.error_log, &self.conn_log];
        for directory in private.into_iter().filter_map(|file| file.parent()) {
            make(directory, PRIVATE)?;
        }
        if let Some(directory) = self.config.parent() {
            make(directory, PUBLIC)?;
        }
        make(&self.run_dir, PUBLIC)
    }

    /// Gives what root made to the user under which the log is written: its files to the user, and the directories
    /// for state and logs to its group. These stay root's and are sticky, so that a file of root's in the same
    /// directory (the configuration, with a base directory) cannot be replaced. What is owned by anybody but root is
    /// left alone.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn hand_over(&self, user: Uid, group: Gid) -> io::Result<()> {
        for file in [&self.database, &self.record_json, &self.exe_log, &self.error_log, &self.conn_log] {
            if let Some(directory) = file.parent() {
                // It may be a link of root's to another disk; who could put a link there could replace it all.
                let flags = libc::O_DIRECTORY | libc::O_CLOEXEC;
                let directory = fs::File::options().read(true).custom_flags(flags).open(directory)?;
                if directory.metadata()?.uid() == 0 {
                    fchown(&directory, None, Some(group))?;
                    directory.set_permissions(fs::Permissions::from_mode(SHARED_WITH_GROUP))?;
                }
            }
            hand_over(file, user, group)?;
        }
        for suffix in ["-wal", "-shm"] {
            let mut path = self.database.clone().into_os_string();
            path.push(suffix);
            hand_over(Path::new(&path), user, group)?;
        }
        Ok(())
    }
}

/// Gives a file of root's away; never one that has a second name, which may be anybody's.
fn hand_over(path: &Path, user: Uid, group: Gid) -> io::Result<()> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = match fs::File::options().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // A link that somebody put there; who writes the file refuses it with a better message.
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

fn make(directory: &Path, mode: u32) -> Result<(), LayoutError> {
    let fail = |source| LayoutError::Create { path: directory.to_owned(), source };
    match fs::metadata(directory) {
        Ok(found) if !found.is_dir() => return Err(LayoutError::NotADirectory(directory.to_owned())),
        Ok(found) => {
            let mode = found.permissions().mode();
            // The sticky bit keeps others from replacing files, but not from making ours before we do.
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
        fs::DirBuilder::new().recursive(true).mode(PUBLIC).create(parent).map_err(fail)?;
    }
    // Made narrow and then widened: it is never wider than it should be.
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return make(directory, mode),
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
    fn the_system_layout_has_no_json_configuration() {
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
    fn prepare_makes_tight_directories_and_keeps_existing_ones() {
        let place = tempfile::tempdir().unwrap();
        let base = place.path().join("a/b");
        let layout = Layout::new(Some(&base), None);
        layout.prepare().unwrap();
        assert_eq!(mode(&base), 0o750);
        assert_eq!(mode(&layout.run_dir), 0o755);
        fs::set_permissions(&base, fs::Permissions::from_mode(0o700)).unwrap();
        layout.prepare().unwrap();
        assert_eq!(mode(&base), 0o700);
    }

    #[test]
    fn prepare_refuses_a_file_and_a_directory_for_everyone() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Layout::new(Some(&file), None).prepare().unwrap_err();
        assert!(matches!(error, LayoutError::NotADirectory(_)), "{error}");
        let open = place.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        let error = Layout::new(Some(&open), None).prepare().unwrap_err();
        assert!(error.to_string().contains("chmod o-w"), "{error}");
    }
}
