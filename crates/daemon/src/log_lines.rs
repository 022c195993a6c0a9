//! Removes lines from text logs while picosnitch is stopped.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, BufRead, BufReader, BufWriter, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    },
    path::{Path, PathBuf},
};

/// Ends of the names of compressed files, which are not read.
const COMPRESSED: [&str; 5] = [".gz", ".xz", ".zst", ".bz2", ".lz4"];
/// The end of the name of a file that is being written.
const NEW: &str = ".new";

/// The files of a log: itself, and those that were renamed when it was full, or by logrotate.
#[derive(Debug, Default)]
pub struct LogFiles {
    /// Files whose lines can be read.
    pub readable: Vec<PathBuf>,
    /// Compressed files.
    pub compressed: Vec<PathBuf>,
    /// Half files of a process that was killed while it replaced one of the others.
    pub unfinished: Vec<PathBuf>,
}

impl LogFiles {
    /// Finds the files of the log at `path`.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn find(path: &Path) -> io::Result<Self> {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(Self::default());
        };
        let mut files = Self::default();
        let entries = match fs::read_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if !is_of(&entry.file_name(), name) || !entry.file_type()?.is_file() {
                continue;
            }
            let ends =
                |ends: &[&str]| ends.iter().any(|end| entry.file_name().as_bytes().ends_with(end.as_bytes()));
            let list = match (ends(&[NEW]), ends(&COMPRESSED)) {
                (true, _) => &mut files.unfinished,
                (_, true) => &mut files.compressed,
                _ => &mut files.readable,
            };
            list.push(entry.path());
        }
        files.readable.sort();
        files.compressed.sort();
        Ok(files)
    }
}

/// Whether a file is a log, or an older one of it: `exe.log.1`, `exe.log-20260301`.
fn is_of(name: &OsStr, log: &OsStr) -> bool {
    let rest = name.as_bytes().strip_prefix(log.as_bytes());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b".") || rest.starts_with(b"-"))
}

/// Removes the lines of a file for which `is_removed` holds, or with `only_count` counts them. The file is replaced at once, by
/// one with the same owner and mode. Returns their number.
///
/// # Errors
/// The errors of reading and writing; the file is as before then.
pub fn remove_lines(path: &Path, is_removed: &dyn Fn(&[u8]) -> bool, only_count: bool) -> io::Result<u64> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let count = for_each_line(&file, |line| Ok(u64::from(is_removed(line))))?;
    if count == 0 || only_count {
        return Ok(count);
    }
    if found.nlink() > 1 {
        return Err(io::Error::other("it has a second name (a hard link), whose lines would stay"));
    }
    let mut new = path.as_os_str().to_owned();
    new.push(NEW);
    let new = PathBuf::from(new);
    // One that a killed process has left.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = write_others(path, &new, &found, is_removed).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())?;
    Ok(count)
}

/// Writes the lines that stay into a new file.
fn write_others(
    path: &Path,
    new: &Path,
    found: &fs::Metadata,
    is_removed: &dyn Fn(&[u8]) -> bool,
) -> io::Result<()> {
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let file = File::options().write(true).create_new(true).mode(0o600).custom_flags(flags).open(new)?;
    let mut out = BufWriter::new(&file);
    for_each_line(&File::options().read(true).custom_flags(flags).open(path)?, |line| {
        if !is_removed(line) {
            out.write_all(line)?;
        }
        Ok(0)
    })?;
    out.flush()?;
    drop(out);
    let made = file.metadata()?;
    if (made.uid(), made.gid()) != (found.uid(), found.gid()) {
        fchown(&file, Some(found.uid()), Some(found.gid()))?;
    }
    file.set_permissions(fs::Permissions::from_mode(found.mode() & 0o7777))?;
    file.sync_all()
}

/// Calls `act` with each line and its line feed. Returns the sum.
fn for_each_line(file: &File, mut act: impl FnMut(&[u8]) -> io::Result<u64>) -> io::Result<u64> {
    let mut lines = BufReader::new(file);
    let (mut line, mut sum) = (Vec::new(), 0);
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(sum);
        }
        sum += act(&line)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_removed_and_the_rest_stays_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("exe.log");
        let text = b"one\nsecret two\n\xff three\nsecret".as_slice();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        fs::write(directory.path().join("exe.log.new"), "secret of a killed one").unwrap();
        let is_removed = |line: &[u8]| line.starts_with(b"secret");
        assert_eq!(remove_lines(&path, &is_removed, true).unwrap(), 2);
        assert_eq!(fs::read(&path).unwrap(), text);
        assert_eq!(remove_lines(&path, &is_removed, false).unwrap(), 2);
        assert_eq!(fs::read(&path).unwrap(), b"one\n\xff three\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
        assert!(!directory.path().join("exe.log.new").exists());
        assert_eq!(remove_lines(&path, &is_removed, false).unwrap(), 0);
        if nix::unistd::geteuid().is_root() {
            fs::write(&path, text).unwrap();
            std::os::unix::fs::chown(&path, Some(4242), Some(4243)).unwrap();
            remove_lines(&path, &is_removed, false).unwrap();
            let found = fs::metadata(&path).unwrap();
            assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (4242, 4243, 0o640));
        }
        fs::write(&path, text).unwrap();
        fs::hard_link(&path, directory.path().join("other")).unwrap();
        remove_lines(&path, &is_removed, false).unwrap_err();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        remove_lines(&link, &is_removed, false).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), text);
    }

    #[test]
    fn older_files_of_a_log_are_found() {
        let directory = tempfile::tempdir().unwrap();
        for name in
            ["exe.log", "exe.log.1", "exe.log-2026", "exe.log.2.gz", "exe.logs", "conn.log", "exe.log.new"]
        {
            fs::write(directory.path().join(name), "").unwrap();
        }
        fs::create_dir(directory.path().join("exe.log.d")).unwrap();
        let files = LogFiles::find(&directory.path().join("exe.log")).unwrap();
        let names = |paths: &[PathBuf]| {
            paths
                .iter()
                .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&files.readable), ["exe.log", "exe.log-2026", "exe.log.1"]);
        assert_eq!(names(&files.unfinished), ["exe.log.new"]);
        assert_eq!(names(&files.compressed), ["exe.log.2.gz"]);
        assert!(LogFiles::find(Path::new("/nonexistent/exe.log")).unwrap().readable.is_empty());
    }
}
