//! A text log to which whole lines are appended. It never writes through links, its size is bounded, and another program
//! may rename it at any time.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use nix::unistd::fchown;

use sandbox::User;

/// Mode of every log. Not all users may read which programs run here, and when.
const MODE: u32 = 0o640;
/// Bytes at the end of a file in which the end of the last whole line is searched.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// A log file. It is opened for the first line, and again when it was renamed or removed.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    max_bytes: u64,
    file: Option<File>,
    /// To whom a file that is made here belongs; `None`: to the user of the process.
    owner: Option<User>,
    /// Whether the file was removed, not renamed, since the last call of [`LogFile::take_removed`].
    is_removed: bool,
}

impl LogFile {
    /// A log at `path`. Before it grows beyond `max_bytes` it is renamed to `path.1`, which replaces the one before it.
    pub(crate) fn new(path: PathBuf, max_bytes: u64) -> Self {
        Self { path, max_bytes, file: None, owner: None, is_removed: false }
    }

    /// The same log, for a process of root: files that it makes belong to `owner`, who writes the log otherwise.
    pub(crate) fn owned_by(self, owner: User) -> Self {
        Self { owner: Some(owner), ..self }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file again at the next line.
    pub(crate) fn reopen(&mut self) {
        self.file = None;
    }

    /// Appends whole lines with one write(2): all of them, or none if the disk is full.
    ///
    /// # Errors
    /// The errors of opening and writing; and an error if `path` is no regular file, or has several names.
    pub(crate) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if let Some(file) = &self.file
            && !is_at(file, &self.path)
        {
            self.is_removed |= file.metadata().is_ok_and(|found| found.nlink() == 0);
            self.file = None;
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => open(&self.path, self.owner)?,
        };
        let mut before = file.metadata()?.len();
        if before > 0 && before.saturating_add(lines.len() as u64) > self.max_bytes {
            fs::rename(&self.path, self.older()).map_err(|error| self.full_error(&error))?;
            file = open(&self.path, self.owner)?;
            before = 0;
        }
        let written = loop {
            match file.write(lines) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let result = match written {
            Ok(bytes) if bytes == lines.len() => Ok(()),
            Ok(bytes) => {
                // The half line is removed, so that no reader takes it for a whole one. If another process has written
                // meanwhile, the next open removes it.
                if file.metadata()?.len() == before + bytes as u64 {
                    file.set_len(before)?;
                }
                Err(io::ErrorKind::StorageFull.into())
            }
            Err(error) => Err(error),
        };
        if result.is_ok() {
            self.file = Some(file);
        }
        result
    }

    /// Whether the file was removed while it was open, since the last call. Its lines up to then are gone. A file that was
    /// renamed, as logrotate does, was not removed.
    pub(crate) fn take_removed(&mut self) -> bool {
        std::mem::take(&mut self.is_removed)
    }

    fn full_error(&self, error: &io::Error) -> io::Error {
        let (megabytes, older) = (self.max_bytes >> 20, self.older());
        let text = format!(
            "it has reached its bound of {megabytes} MiB and cannot be renamed to {}: {error}; move that file away",
            older.display()
        );
        io::Error::new(error.kind(), text)
    }

    fn older(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".1");
        path.into()
    }
}

/// Whether `path` still names the open file.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(ours), Ok(named)) = (file.metadata(), fs::symlink_metadata(path)) else { return false };
    (ours.dev(), ours.ino()) == (named.dev(), named.ino())
}

/// Opens the file at `path`, or makes it for `owner`. The two are apart: in a sticky directory the kernel denies even root to
/// open a file of another user with `O_CREAT` (`fs.protected_regular` of proc_sys_fs(5)).
fn open(path: &Path, owner: Option<User>) -> io::Result<File> {
    let mut options = File::options();
    // An attacker may have put a link or a FIFO there.
    options.read(true).append(true).mode(MODE);
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC);
    let mut file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match options.create_new(true).open(path) {
            Ok(file) => {
                if let Some(owner) = owner {
                    fchown(&file, Some(owner.uid), Some(owner.gid))?;
                }
                file
            }
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                options.create_new(false).open(path)?
            }
            Err(error) => return Err(error),
        },
        opened => opened?,
    };
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a regular file; move it away"));
    }
    if found.nlink() > 1 {
        return Err(io::Error::other("it has several names (hard links); move it away"));
    }
    if found.permissions().mode() & 0o777 & !MODE != 0 {
        // This fails if the file belongs to another user; the file is written nevertheless.
        let _ = file.set_permissions(fs::Permissions::from_mode(MODE));
    }
    drop_torn_line(&mut file, found.len())?;
    Ok(file)
}

/// Removes the part of a line that a crash may have left at the end.
fn drop_torn_line(file: &mut File, length: u64) -> io::Result<()> {
    let from = length.saturating_sub(MAX_LINE_BYTES);
    let mut end = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    Read::by_ref(file).take(MAX_LINE_BYTES).read_to_end(&mut end)?;
    if end.last().is_none_or(|byte| *byte == b'\n') {
        return Ok(());
    }
    match end.iter().rposition(|byte| *byte == b'\n') {
        Some(last) => file.set_len(from + last as u64 + 1),
        None if from == 0 => file.set_len(0),
        // No line of a log is that long: the bytes are not from here, and stay.
        None => file.write_all(b"\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(max_bytes: u64) -> (tempfile::TempDir, LogFile) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.log");
        (directory, LogFile::new(path, max_bytes))
    }

    #[test]
    fn lines_go_to_the_file_that_has_the_name_now() {
        let (directory, mut log) = log(1000);
        log.append(b"one\n").unwrap();
        let renamed = directory.path().join("renamed");
        fs::rename(log.path(), &renamed).unwrap();
        log.append(b"two\n").unwrap();
        assert!(!log.take_removed());
        assert_eq!(fs::read(&renamed).unwrap(), b"one\n");
        assert_eq!(fs::read(log.path()).unwrap(), b"two\n");
        fs::remove_file(log.path()).unwrap();
        log.append(b"three\n").unwrap();
        assert!(log.take_removed() && !log.take_removed());
        assert_eq!(fs::read(log.path()).unwrap(), b"three\n");
        assert_eq!(fs::metadata(log.path()).unwrap().permissions().mode() & 0o777, MODE);
    }

    #[test]
    fn a_torn_line_is_removed() {
        let (_directory, mut log) = log(1 << 30);
        for (left, expected) in [("one\ntw", "one\nnew\n"), ("tw", "new\n"), ("one\n", "one\nnew\n")] {
            fs::write(log.path(), left).unwrap();
            log.reopen();
            log.append(b"new\n").unwrap();
            assert_eq!(fs::read_to_string(log.path()).unwrap(), expected);
        }
        let long = "x".repeat(100_000);
        fs::write(log.path(), &long).unwrap();
        log.reopen();
        log.append(b"new\n").unwrap();
        assert_eq!(fs::read_to_string(log.path()).unwrap(), format!("{long}\nnew\n"));
    }

    #[test]
    fn the_size_is_bounded() {
        let (directory, mut log) = log(10);
        for line in ["12345\n", "abcd\n", "efgh\n"] {
            log.append(line.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(log.path()).unwrap(), "abcd\nefgh\n");
        assert_eq!(fs::read_to_string(directory.path().join("x.log.1")).unwrap(), "12345\n");
        log.append(b"longer than the bound\n").unwrap();
        assert_eq!(fs::read_to_string(log.path()).unwrap(), "longer than the bound\n");
        let older = directory.path().join("x.log.1");
        fs::remove_file(&older).unwrap();
        fs::create_dir(&older).unwrap();
        let error = log.append(b"more\n").unwrap_err().to_string();
        assert!(error.contains("cannot be renamed to") && error.contains("x.log.1"), "{error}");
        fs::remove_dir(&older).unwrap();
        log.append(b"more\n").unwrap();
    }

    #[test]
    fn links_and_directories_are_not_written_to() {
        let (directory, mut log) = log(1000);
        let precious = directory.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        std::os::unix::fs::symlink(&precious, log.path()).unwrap();
        assert!(log.append(b"x\n").is_err());
        fs::remove_file(log.path()).unwrap();
        fs::hard_link(&precious, log.path()).unwrap();
        assert!(log.append(b"x\n").unwrap_err().to_string().contains("hard links"));
        fs::remove_file(log.path()).unwrap();
        fs::create_dir(log.path()).unwrap();
        assert!(log.append(b"x\n").is_err());
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    }

    #[test]
    fn a_file_that_root_makes_belongs_to_the_user_of_the_log() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let (directory, log) = log(1000);
        let mut log = log.owned_by(User { uid: 4242.into(), gid: 4343.into() });
        log.append(b"x\n").unwrap();
        let found = fs::metadata(log.path()).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (4242, 4343, MODE));
        // As in a directory of the log with fs.protected_regular=2.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o1770)).unwrap();
        log.reopen();
        log.append(b"y\n").unwrap();
        assert_eq!(fs::read_to_string(log.path()).unwrap(), "x\ny\n");
    }

    #[test]
    fn a_mode_that_is_too_wide_is_narrowed() {
        let (_directory, mut log) = log(1000);
        fs::write(log.path(), "").unwrap();
        fs::set_permissions(log.path(), fs::Permissions::from_mode(0o666)).unwrap();
        log.append(b"x\n").unwrap();
        assert_eq!(fs::metadata(log.path()).unwrap().permissions().mode() & 0o777, MODE);
    }
}
