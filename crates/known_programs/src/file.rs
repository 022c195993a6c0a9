//! record.json and record.journal as files: reads both, replaces the first, keeps a damaged one beside.

use std::{
    fs::{self, File, Metadata},
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{error::KnownProgramsError, parse::parse, programs::KnownPrograms, replay::replay};
use model::text::time;

/// Mode of record.json and record.journal: their owner writes them, and their group reads them.
pub(super) const MODE: u32 = 0o640;
/// A longer file is not read: no version of picosnitch has written such a file. What this version writes is far below it.
const MAX_FILE_BYTES: u64 = 1024 * 1024 * 1024;
/// A longer journal is not read further.
const MAX_JOURNAL_BYTES: u64 = 64 * 1024 * 1024;

/// What was read from record.json and record.journal.
#[derive(Debug)]
pub(super) struct LoadedFile {
    pub(super) known: KnownPrograms,
    /// The checksum of the text of record.json; `None` without such a file.
    pub(super) content: Option<u64>,
    /// The identity of record.json.
    pub(super) identity: Option<ContentIdentity>,
    /// The length of record.json in bytes.
    pub(super) bytes: u64,
    /// Whether the journal had changes.
    pub(super) has_journal: bool,
    /// The reason why not all of record.json could be read.
    pub(super) error: Option<KnownProgramsError>,
}

impl KnownPrograms {
    /// Reads record.json and the changes after it. No program is known if there is no file.
    ///
    /// # Errors
    /// See [`KnownProgramsError`].
    pub fn load(path: &Path) -> Result<Self, KnownProgramsError> {
        let loaded = load(path);
        match loaded.error {
            Some(error) => Err(error),
            None => Ok(loaded.known),
        }
    }
}

/// Reads record.json and the changes after it, as much of both as can be read.
pub(super) fn load(path: &Path) -> LoadedFile {
    let mut known = KnownPrograms::default();
    let mut loaded = LoadedFile {
        known: KnownPrograms::default(),
        content: None,
        identity: None,
        bytes: 0,
        has_journal: false,
        error: None,
    };
    let (file, found) = match open_regular(path) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return loaded,
        Err(source) => {
            loaded.error = Some(KnownProgramsError::Read { path: path.to_owned(), source });
            return loaded;
        }
    };
    (loaded.identity, loaded.bytes) = (Some(ContentIdentity::of(&found)), found.len());
    let mut text = Checksum::new(file.take(MAX_FILE_BYTES));
    let parsed = if found.len() > MAX_FILE_BYTES {
        Err("it is larger than 1 GiB".to_owned())
    } else {
        parse(BufReader::with_capacity(64 * 1024, &mut text), &mut known)
    };
    match parsed {
        Ok(()) => loaded.content = Some(text.checksum),
        Err(what) => {
            known.tables.complete();
            loaded.error = Some(KnownProgramsError::Damaged { path: path.to_owned(), what });
        }
    }
    if let Ok((journal, of_journal)) = open_regular(&journal_path(path))
        && of_journal.uid() == found.uid()
    {
        let journal = &mut BufReader::new(journal.take(MAX_JOURNAL_BYTES));
        // A journal that cannot be read to its end is as good as a torn one.
        loaded.has_journal = replay(journal, loaded.content, &mut known).unwrap_or(true);
    }
    known.tables.trim();
    loaded.known = known;
    loaded
}

/// The path of the journal beside a record.json.
pub fn journal_path(path: &Path) -> PathBuf {
    path.with_extension("journal")
}

/// Opens a file for reading, if it is a regular one.
fn open_regular(path: &Path) -> io::Result<(File, Metadata)> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if found.is_file() { Ok((file, found)) } else { Err(io::Error::other("it is not a regular file")) }
}

/// What shows that a file is another one, or has another content. A program that copies onto a file keeps its inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContentIdentity {
    file: (u64, u64),
    bytes: u64,
    /// Seconds and nanoseconds of the last modification.
    modified: (i64, i64),
}

impl ContentIdentity {
    pub(super) fn of(file: &Metadata) -> Self {
        Self { file: identity(file), bytes: file.len(), modified: (file.mtime(), file.mtime_nsec()) }
    }
}

/// Device and inode of a file.
pub(super) fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Gives the file at `path` a second name, `record.json.WHAT-YYYYMMDD-HHMMSS`, under which it stays when `path` is replaced.
/// Never replaces another file.
///
/// # Errors
/// The errors of the file system.
pub(super) fn keep_beside(path: &Path, what: &str) -> io::Result<PathBuf> {
    let now: String = time::local(time::now())
        .chars()
        .filter_map(|character| match character {
            ' ' => Some('-'),
            digit => digit.is_ascii_digit().then_some(digit),
        })
        .collect();
    for attempt in 1..100 {
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{what}-{now}"));
        if attempt > 1 {
            beside.push(format!("-{attempt}"));
        }
        let beside = PathBuf::from(beside);
        // Some file systems have no hard links; a file of another user may have none either.
        match fs::hard_link(path, &beside).or_else(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Err(error),
            _ => copy(path, &beside),
        }) {
            Ok(()) => return Ok(beside),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let (mut from, _) = open_regular(from)?;
    let mut file = File::options().write(true).create_new(true).mode(MODE).open(to)?;
    let copied = io::copy(&mut from, &mut file).and_then(|_| file.sync_all());
    if copied.is_err() {
        let _ = fs::remove_file(to);
    }
    copied
}

/// The file that [`replace`] has written.
pub(super) struct Written {
    pub(super) checksum: u64,
    pub(super) bytes: u64,
    pub(super) identity: ContentIdentity,
    /// The error of syncing the directory: after a crash of the machine, the old file may be there.
    pub(super) sync_error: Option<io::Error>,
}

/// Replaces the file at `path` by one with what `write` writes. At any moment, and after a crash, `path` is either the old
/// file or the new one, complete.
///
/// # Errors
/// The errors of the file system; `path` is the old file then.
pub(super) fn replace(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<Written> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let file = File::options().write(true).create_new(true).mode(MODE).custom_flags(flags).open(&new)?;
    let written = fill(file, write).and_then(|written| fs::rename(&new, path).map(|()| written));
    let mut written = match written {
        Ok(written) => written,
        Err(error) => {
            let _ = fs::remove_file(&new);
            return Err(error);
        }
    };
    // Some file systems set the time only when the file is closed.
    let named = fs::symlink_metadata(path).map(|found| ContentIdentity::of(&found));
    if let Ok(named) = named
        && (named.file, named.bytes) == (written.identity.file, written.identity.bytes)
    {
        written.identity = named;
    }
    let directory = path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all());
    Ok(Written { sync_error: directory.err(), ..written })
}

/// Replaces a small file at `path` by one with what `write` writes. At any moment, and after a crash, `path` is either the old file or
/// the new one, complete.
///
/// # Errors
/// The errors of the file system; `path` is the old file then, unless only its directory could not be synced.
pub fn replace_file(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    replace(path, write)?.sync_error.map_or(Ok(()), Err)
}

fn fill(file: File, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<Written> {
    let mut out = BufWriter::with_capacity(64 * 1024, Checksum::new(file));
    write(&mut out)?;
    let out = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    out.inner.sync_all()?;
    let found = out.inner.metadata()?;
    Ok(Written {
        checksum: out.checksum,
        bytes: found.len(),
        identity: ContentIdentity::of(&found),
        sync_error: None,
    })
}

/// Reads or writes, and computes the checksum (FNV-1a, 64 bits) of what passes.
struct Checksum<T> {
    inner: T,
    checksum: u64,
}

impl<T> Checksum<T> {
    fn new(inner: T) -> Self {
        Self { inner, checksum: 0xcbf2_9ce4_8422_2325 }
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.checksum = (self.checksum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl<T: Read> Read for Checksum<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.add(&buffer[..length]);
        Ok(length)
    }
}

impl<T: Write> Write for Checksum<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.inner.write(bytes)?;
        self.add(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
