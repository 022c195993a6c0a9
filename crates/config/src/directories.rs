//! The directories of the layout: those that are missing are made; those that are there keep owner and mode, and are refused
//! if they are not safe.

use std::{
    fs::{self, File, Metadata},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use nix::unistd::{Gid, Uid, fchown};
use thiserror::Error;

use super::layout::Layout;

/// Mode of the directories for state and logs. They belong to root and the group of the user that writes the log. Sticky,
/// so that this user cannot replace the files of root.
const LOG_MODE: u32 = 0o1770;
/// Mode of the configuration and run directories. Every user may look up the live socket, which has a mode of its own.
const PUBLIC_MODE: u32 = 0o755;
/// Mode of the files that were handed over, where their own would not let their owner write.
const FILE_MODE: u32 = 0o640;

/// The longest path of a socket (`sun_path` of unix(7), with a zero at its end).
const MAX_SOCKET_PATH: usize = 107;
/// Room for the name of a socket in the run directory.
const SOCKET_NAME_BYTES: usize = "/exporter.sock".len();

/// `nobody` and its group: the user that writes the log where there is no user picosnitch.
const NOBODY: u32 = 65_534;

const STICKY: u32 = 0o1000;
const GROUP_WRITABLE: u32 = 0o020;
const WORLD_WRITABLE: u32 = 0o002;

/// The reasons why a directory of the layout cannot be used.
#[derive(Debug, Error)]
pub enum LayoutError {
    /// The directory could not be made.
    #[error("cannot make the directory {}; {}", path.display(), advice(source))]
    Create {
        /// Path of the unusable directory.
        path: PathBuf,
        /// The error that the system returned.
        source: io::Error,
    },
    /// The directory could not be examined.
    #[error("cannot examine the directory {}; {}", path.display(), advice(source))]
    Inspect {
        /// Path of the unusable directory.
        path: PathBuf,
        /// The error that the system returned.
        source: io::Error,
    },
    /// The path is that of a file.
    #[error("{} is not a directory; move it away, or choose another one with --base-dir", .0.display())]
    NotADirectory(PathBuf),
    /// The path is that of a symbolic link to nothing.
    #[error(
        "{} is a symbolic link to a directory that does not exist; make that directory, remove the link, or choose another \
         one with --base-dir", .0.display()
    )]
    DanglingLink(PathBuf),
    /// The path of the live socket would be longer than the kernel allows.
    #[error(
        "the name of the directory {} is too long: a socket in it may have {MAX_SOCKET_PATH} bytes with its path (unix(7)); choose \
         a shorter one with --base-dir", .0.display()
    )]
    TooLong(PathBuf),
    /// The path is relative to a working directory that does not exist any more.
    #[error("the current directory does not exist any more, so {} leads nowhere; give an absolute path", .0.display())]
    NoWorkingDirectory(PathBuf),
    /// Another user could replace the files of root in it.
    #[error(
        "the directory {path} belongs to user {owner}, who could replace the configuration and the files of picosnitch in \
         it; run `sudo chown root '{path}'`, or choose another one with --base-dir", path = .path.display()
    )]
    ForeignOwner {
        /// Path of the unusable directory.
        path: PathBuf,
        /// The id of its owner.
        owner: u32,
    },
    /// Every user could create files in the directory.
    #[error("anyone may write to the directory {path}, so nothing in it can be trusted; run: chmod o-w '{path}'", path = .0.display())]
    WorldWritable(PathBuf),
    /// A group could replace the files in the directory.
    #[error(
        "group {group} may write to the directory {path} and replace the files in it; run `sudo chmod g-w '{path}'`, or, if \
         the log is in it, `sudo chown root:{log_group} '{path}' && sudo chmod 1770 '{path}'`", path = .path.display()
    )]
    GroupWritable {
        /// Path of the unusable directory.
        path: PathBuf,
        /// The id of its group.
        group: u32,
        /// The id of the group of the user that writes the log.
        log_group: u32,
    },
}

/// What the user can do about an error of the file system.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            "its file system is read-only: mount it writable, or choose another directory with --base-dir"
        }
        io::ErrorKind::NotADirectory => "a part of the path is a file: choose another one with --base-dir",
        io::ErrorKind::StorageFull => {
            "its file system is full: make room, or choose another directory with --base-dir"
        }
        _ => "run as root, or choose another one with --base-dir",
    }
}

/// What a directory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// The user that writes the log makes files in it.
    Log,
    /// Only root makes files in it.
    Root,
    /// The same, for the configuration. The daemon also works without it.
    Configuration,
}

impl Layout {
    /// The directories, each with what it is for.
    fn directories(&self) -> Vec<(&Path, Purpose)> {
        let mut directories: Vec<(&Path, Purpose)> =
            self.log_directories().into_iter().map(|directory| (directory, Purpose::Log)).collect();
        // The directory of a file that the user has chosen was checked with the file.
        if let Some(directory) = self.config.parent().filter(|_| !self.config_given) {
            directories.push((directory, Purpose::Configuration));
        }
        directories.push((&self.run_dir, Purpose::Root));
        directories
    }

    /// Checks that the directories that are there are safe. `user` and `group` are those that write the log.
    ///
    /// # Errors
    /// See [`LayoutError`].
    pub fn check(&self, user: Uid, group: Gid) -> Result<(), LayoutError> {
        if self.run_dir.as_os_str().len() + SOCKET_NAME_BYTES > MAX_SOCKET_PATH {
            return Err(LayoutError::TooLong(self.run_dir.clone()));
        }
        for (directory, purpose) in self.directories() {
            if let Some(found) = inspect(directory)? {
                check(directory, &found, purpose, (user, group))?;
            }
        }
        Ok(())
    }

    /// Checks the directories, and makes those that are missing, whatever the umask is: those of the log for root and `group`
    /// with mode 1770, those of the configuration and for the run with mode 0755. Directories that are there stay as they
    /// are. A directory of the configuration that a read-only file system has no room for is left out.
    ///
    /// # Errors
    /// See [`LayoutError`]. Nothing was made if a directory that is there cannot be used.
    pub fn prepare(&self, user: Uid, group: Gid) -> Result<(), LayoutError> {
        self.check(user, group)?;
        for (directory, purpose) in self.directories() {
            match create(directory, purpose, (user, group)) {
                // There is no configuration then: the defaults are used.
                Err(LayoutError::Create { source, .. })
                    if purpose == Purpose::Configuration
                        && source.kind() == io::ErrorKind::ReadOnlyFilesystem => {}
                created => created?,
            }
        }
        Ok(())
    }

    /// Gives the directories of the log that an earlier start made for the group of nobody, because there was no user
    /// picosnitch, to the group of the user that writes the log now. Others stay as they are.
    ///
    /// # Errors
    /// See [`LayoutError`].
    pub fn hand_over_directories(&self, group: Gid) -> Result<(), LayoutError> {
        for path in self.log_directories() {
            let fail = |source| LayoutError::Inspect { path: path.to_owned(), source };
            let flags = libc::O_DIRECTORY | libc::O_CLOEXEC;
            let directory = match File::options().read(true).custom_flags(flags).open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.map_err(fail)?,
            };
            if is_of_nobody(&directory.metadata().map_err(fail)?) && group.as_raw() != NOBODY {
                fchown(&directory, None, Some(group)).map_err(|error| fail(error.into()))?;
            }
        }
        Ok(())
    }

    /// Gives the files of the log that root made, or nobody where there was no user picosnitch, to the user that writes it.
    /// Files that belong to another user stay as they are.
    ///
    /// # Errors
    /// The errors of the file system.
    pub fn hand_over(&self, user: Uid, group: Gid) -> io::Result<()> {
        for file in self.log_files() {
            hand_over_file(file, user, group)?;
        }
        self.files_beside().iter().try_for_each(|path| hand_over_file(path, user, group))
    }

    /// The regular files of the log that are there: the recorder has to be able to write to them.
    pub fn existing_log_files(&self) -> Vec<PathBuf> {
        let files = self.log_files().map(Path::to_owned);
        let is_file = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
        files.into_iter().chain(self.files_beside()).filter(is_file).collect()
    }

    /// The files beside those of [`Layout::log_files`]: those that SQLite makes, the identity of the log, the journal, and
    /// what is replaced when a file is. Nobody but the owner may replace a file in a sticky directory.
    fn files_beside(&self) -> Vec<PathBuf> {
        let with = |path: &Path, suffix: &str| {
            let mut path = path.as_os_str().to_owned();
            path.push(suffix);
            PathBuf::from(path)
        };
        let mut files: Vec<PathBuf> = ["-wal", "-shm"].map(|suffix| with(&self.database, suffix)).into();
        files.extend([&self.exe_log, &self.error_log, &self.conn_log].map(|log| with(log, ".1")));
        files.push(with(&self.record_json, ".new"));
        files.extend([self.database.with_extension("identity"), self.record_json.with_extension("journal")]);
        files
    }
}

/// Gives a file of root or nobody to a user; never one with a second hard link, which may belong to another directory.
fn hand_over_file(path: &Path, user: Uid, group: Gid) -> io::Result<()> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = match File::options().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // A symbolic link: the process that writes the file rejects it with a better message.
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Ok(()),
        opened => opened?,
    };
    let found = file.metadata()?;
    if !found.is_file() || found.nlink() != 1 {
        return Ok(());
    }
    if [0, NOBODY].contains(&found.uid()) && found.uid() != user.as_raw() {
        fchown(&file, Some(user), Some(group))?;
    }
    // An earlier daemon may have been started with a umask that left nothing.
    if [0, NOBODY, user.as_raw()].contains(&found.uid()) && found.mode() & 0o600 != 0o600 {
        file.set_permissions(fs::Permissions::from_mode(FILE_MODE))?;
    }
    Ok(())
}

/// The properties of a directory, or of the one that a symbolic link leads to; `None` if there is nothing of that name.
fn inspect(directory: &Path) -> Result<Option<Metadata>, LayoutError> {
    if !directory.is_absolute() {
        return Err(LayoutError::NoWorkingDirectory(directory.to_owned()));
    }
    match fs::metadata(directory) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            match directory.ancestors().find(|prefix| fs::symlink_metadata(prefix).is_ok()) {
                Some(prefix) if fs::metadata(prefix).is_err() => {
                    Err(LayoutError::DanglingLink(prefix.to_owned()))
                }
                _ => Ok(None),
            }
        }
        Err(source) => Err(LayoutError::Inspect { path: directory.to_owned(), source }),
    }
}

/// Checks that nobody but root, and in the directories of the log the user that writes it, can replace files.
fn check(
    directory: &Path,
    found: &Metadata,
    purpose: Purpose,
    (user, group): (Uid, Gid),
) -> Result<(), LayoutError> {
    let path = directory.to_owned();
    if !found.is_dir() {
        return Err(LayoutError::NotADirectory(path));
    }
    let (owner, mode) = (Uid::from_raw(found.uid()), found.mode());
    let is_ours = owner.is_root() || owner == Uid::effective() || (purpose == Purpose::Log && owner == user);
    if !is_ours {
        return Err(LayoutError::ForeignOwner { path, owner: found.uid() });
    }
    // The sticky bit prevents other users from replacing files, but not from creating them before picosnitch does.
    if mode & WORLD_WRITABLE != 0 {
        return Err(LayoutError::WorldWritable(path));
    }
    // The group 0 is root's own, unless the user that writes the log is in it.
    let is_root_only = found.gid() == 0 && group.as_raw() != 0;
    let is_known = found.gid() == 0 || Gid::from_raw(found.gid()) == group || is_of_nobody(found);
    if mode & GROUP_WRITABLE != 0 && !is_root_only && !(is_known && mode & STICKY != 0) {
        return Err(LayoutError::GroupWritable { path, group: found.gid(), log_group: group.as_raw() });
    }
    Ok(())
}

/// Whether a directory is one that [`create`] has made when there was no user picosnitch.
fn is_of_nobody(directory: &Metadata) -> bool {
    (directory.uid(), directory.gid(), directory.mode() & 0o7777) == (0, NOBODY, LOG_MODE)
}

/// Makes a directory if it is missing. One that somebody has made since the check is checked again.
fn create(directory: &Path, purpose: Purpose, (user, group): (Uid, Gid)) -> Result<(), LayoutError> {
    let fail = |source| LayoutError::Create { path: directory.to_owned(), source };
    if let Some(parent) = directory.parent().filter(|parent| !parent.exists()) {
        create_public(parent).map_err(fail)?;
    }
    // Made with fewer rights than it gets, so that it never has more than it should.
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let found = inspect(directory)?.ok_or_else(|| fail(error))?;
            return check(directory, &found, purpose, (user, group));
        }
        Err(error) => return Err(fail(error)),
    }
    let made = open_made(directory).map_err(fail)?;
    let mode = match purpose {
        Purpose::Log => {
            fchown(&made, None, Some(group)).map_err(|error| fail(error.into()))?;
            LOG_MODE
        }
        Purpose::Root | Purpose::Configuration => PUBLIC_MODE,
    };
    made.set_permissions(fs::Permissions::from_mode(mode)).map_err(fail)
}

/// Makes a directory above those of the layout, and the ones above it.
fn create_public(directory: &Path) -> io::Result<()> {
    if let Some(parent) = directory.parent().filter(|parent| !parent.exists()) {
        create_public(parent)?;
    }
    fs::DirBuilder::new().mode(0o700).create(directory)?;
    open_made(directory)?.set_permissions(fs::Permissions::from_mode(PUBLIC_MODE))
}

/// Opens a directory that was made just now: never one that a symbolic link leads to, or that another user has put there.
fn open_made(directory: &Path) -> io::Result<File> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let made = File::options().read(true).custom_flags(flags).open(directory)?;
    if made.metadata()?.uid() != Uid::effective().as_raw() {
        return Err(io::Error::other("another user has replaced it"));
    }
    Ok(made)
}

#[cfg(test)]
mod tests;
