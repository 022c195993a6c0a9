//! Text logs that only grow: whole lines, never through links, bounded, and safe to be renamed under the writer.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Mode of every log: the lines say which programs run here, and when.
const MODE: u32 = 0o640;
/// How far back the end of the last whole line is looked for in a file that ends in the middle of one.
const LONGEST_LINE: u64 = 64 * 1024;

/// A log file. It is opened at the first line, and again when it was renamed or removed.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    most_bytes: u64,
    file: Option<File>,
}

impl LogFile {
    /// A log at `path` of at most `most_bytes`: before it grows beyond that it becomes `path.1`, in place of the one
    /// that was there.
    pub fn new(path: PathBuf, most_bytes: u64) -> Self {
        Self { path, most_bytes, file: None }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file again at the next line.
    pub fn reopen(&mut self) {
        self.file = None;
    }

    /// Appends whole lines with one write(2): all of them, or (a full disk) none.
    ///
    /// # Errors
    /// Those of opening and writing; what is there is no regular file, or has several names.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.file.as_ref().is_some_and(|file| !is_at(file, &self.path)) {
            self.file = None;
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => open(&self.path)?,
        };
        let mut before = file.metadata()?.len();
        if before > 0 && before.saturating_add(lines.len() as u64) > self.most_bytes {
            fs::rename(&self.path, self.older())?;
            file = open(&self.path)?;
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
                // Nobody may read half a line, so what was written of it is taken back. If somebody else has
                // written meanwhile, the next one to open the file does it.
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

    fn older(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".1");
        path.into()
    }
}

/// The open file is the one of that name.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(ours), Ok(named)) = (file.metadata(), fs::symlink_metadata(path)) else { return false };
    (ours.dev(), ours.ino()) == (named.dev(), named.ino())
}

fn open(path: &Path) -> io::Result<File> {
    // Never through a link or into a FIFO that somebody put there.
    let mut file = File::options()
        .read(true)
        .append(true)
        .create(true)
        .mode(MODE)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a regular file; move it away"));
    }
    if found.nlink() > 1 {
        return Err(io::Error::other("it has several names (hard links); move it away"));
    }
    if found.permissions().mode() & 0o777 & !MODE != 0 {
        // It may belong to somebody else; then it is theirs to narrow.
        let _ = file.set_permissions(fs::Permissions::from_mode(MODE));
    }
    drop_torn_line(&mut file, found.len())?;
    Ok(file)
}

/// Takes back the part of a line that a crash may have left at the end.
fn drop_torn_line(file: &mut File, length: u64) -> io::Result<()> {
    let from = length.saturating_sub(LONGEST_LINE);
    let mut end = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    Read::by_ref(file).take(LONGEST_LINE).read_to_end(&mut end)?;
    if end.last().is_none_or(|byte| *byte == b'\n') {
        return Ok(());
    }
    match end.iter().rposition(|byte| *byte == b'\n') {
        Some(last) => file.set_len(from + last as u64 + 1),
        None if from == 0 => file.set_len(0),
        // No line of ours is that long.
        None => file.write_all(b"\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(most_bytes: u64) -> (tempfile::TempDir, LogFile) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.log");
        (directory, LogFile::new(path, most_bytes))
    }

    #[test]
    fn it_follows_its_name() {
        let (place, mut log) = log(1000);
        log.append(b"one\n").unwrap();
        let renamed = place.path().join("renamed");
        fs::rename(log.path(), &renamed).unwrap();
        log.append(b"two\n").unwrap();
        assert_eq!(fs::read(&renamed).unwrap(), b"one\n");
        assert_eq!(fs::read(log.path()).unwrap(), b"two\n");
        fs::remove_file(log.path()).unwrap();
        log.append(b"three\n").unwrap();
        assert_eq!(fs::read(log.path()).unwrap(), b"three\n");
        assert_eq!(fs::metadata(log.path()).unwrap().permissions().mode() & 0o777, MODE);
    }

    #[test]
    fn a_torn_line_is_taken_back() {
        let (_place, mut log) = log(1 << 30);
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
    fn it_is_bounded() {
        let (place, mut log) = log(10);
        for line in ["12345\n", "abcd\n", "efgh\n"] {
            log.append(line.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(log.path()).unwrap(), "abcd\nefgh\n");
        assert_eq!(fs::read_to_string(place.path().join("x.log.1")).unwrap(), "12345\n");
        log.append(b"longer than the bound\n").unwrap();
        assert_eq!(fs::read_to_string(log.path()).unwrap(), "longer than the bound\n");
    }

    #[test]
    fn what_is_no_log_is_left_alone() {
        let (place, mut log) = log(1000);
        let precious = place.path().join("precious");
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
    fn a_mode_that_is_too_wide_is_narrowed() {
        let (_place, mut log) = log(1000);
        fs::write(log.path(), "").unwrap();
        fs::set_permissions(log.path(), fs::Permissions::from_mode(0o666)).unwrap();
        log.append(b"x\n").unwrap();
        assert_eq!(fs::metadata(log.path()).unwrap().permissions().mode() & 0o777, MODE);
    }
}
