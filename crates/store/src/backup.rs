//! A copy of the log while it is written: SQLite's online backup, into a file of its own.

use std::{
    fs::{self, File},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rusqlite::{
    Connection, ErrorCode, OpenFlags,
    backup::{Backup, StepResult},
};
use thiserror::Error;

use crate::{
    error::{StoreError, sql_error},
    rollup, schema,
};

/// Pages that are copied between two looks at the caller's wish: 1 MB.
const PAGES_PER_STEP: i32 = 256;
/// The copy is for the user who makes it.
const MODE: u32 = 0o600;
/// Offset in the file's header of the two bytes that say which journal it has, and their value for a file without a
/// write-ahead log: <https://www.sqlite.org/fileformat2.html#file_format_version_numbers>.
const JOURNAL_OFFSET: u64 = 18;
const NO_WRITE_AHEAD_LOG: [u8; 2] = [1, 1];
/// How long a lock is waited for, which no other process holds for long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// A name of a half copy is looked for so often.
const MAX_NAMES: u32 = 100;

/// The copy could not be made. There is no file at its path then.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] StoreError),
    /// There is something at the path.
    #[error("{} exists; name a file that does not, since a backup replaces nothing", .0.display())]
    Exists(PathBuf),
    /// The path names no file, or one that SQLite would take for a part of the log.
    #[error("{} cannot be the name of a backup; name another file", .0.display())]
    Name(PathBuf),
    /// The caller ended it.
    #[error("the backup was interrupted; {} was not made", .0.display())]
    Interrupted(PathBuf),
    /// The file cannot be made or written.
    #[error("cannot write {}", path.display())]
    File {
        /// The path of the copy.
        path: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
    /// SQLite cannot write the copy.
    #[error("cannot write {}", path.display())]
    Sql {
        /// The path of the copy.
        path: PathBuf,
        /// The error that SQLite returned.
        source: rusqlite::Error,
    },
}

/// How far a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupProgress {
    /// Bytes that are copied.
    pub copied: u64,
    /// Bytes of all.
    pub total: u64,
}

/// What was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackedUp {
    /// Number of records.
    pub records: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// The times of the first and the last record, unix seconds; `None` without any.
    pub extent: Option<(i64, i64)>,
    /// The longest time for which the process did not look whether it should go on.
    pub longest_step: Duration,
}

/// Copies the log at `log` into the new file `to`, also while a daemon writes to it, which does not wait. The copy is the
/// log as it is at the beginning. `go_on` is called between the steps; false ends it. At any moment `to` is either missing or
/// complete; a half copy is called `to.unfinished-NUMBER`, and removed unless the process is killed.
///
/// # Errors
/// See [`BackupError`]. `to` is missing then.
pub fn back_up(
    log: &Path,
    to: &Path,
    go_on: &mut dyn FnMut(BackupProgress) -> bool,
) -> Result<BackedUp, BackupError> {
    let source = open_log(log)?;
    check_name(log, to)?;
    let file_error = |source| BackupError::File { path: to.to_owned(), source };
    let copy = HalfCopy::new(to)?;
    let longest_step = copy_pages(&source, &copy.path, log, to, go_on)?;
    copy.file.write_all_at(&NO_WRITE_AHEAD_LOG, JOURNAL_OFFSET).map_err(file_error)?;
    copy.file.sync_all().map_err(file_error)?;
    let fail = |source| BackupError::Sql { path: to.to_owned(), source };
    let (records, extent) = content(&copy.path).map_err(fail)?;
    let bytes = copy.file.metadata().map_err(file_error)?.len();
    copy.publish(to)?;
    Ok(BackedUp { records, bytes, extent, longest_step })
}

/// Opens the log for reading; a log of an older version, too.
fn open_log(path: &Path) -> Result<Connection, StoreError> {
    let file_error = |source| StoreError::File { path: path.to_owned(), source };
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(StoreError::NotAFile(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(StoreError::Missing(path.to_owned()));
        }
        Err(source) => return Err(file_error(source)),
    }
    // SQLite's own error would only be "unable to open".
    nix::unistd::eaccess(path, nix::unistd::AccessFlags::R_OK).map_err(|errno| file_error(errno.into()))?;
    let fail = sql_error(path, "cannot open the log for reading");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(&fail)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(&fail)?;
    match schema::version(&connection, path)? {
        0 => Err(StoreError::Empty(path.to_owned())),
        _ => Ok(connection),
    }
}

fn check_name(log: &Path, to: &Path) -> Result<(), BackupError> {
    let is_there = |path: &Path| fs::symlink_metadata(path).is_ok();
    let Some(name) = to.file_name() else {
        return Err(if is_there(to) { BackupError::Exists(to.into()) } else { BackupError::Name(to.into()) });
    };
    // A path with a slash at its end is that of a directory.
    if to.as_os_str().as_bytes().ends_with(b"/") {
        return Err(BackupError::Name(to.to_owned()));
    }
    if is_there(to) {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let directory = |path: &Path| fs::canonicalize(parent(path)).ok();
    let log_name = log.file_name().unwrap_or_default().as_bytes();
    let is_beside = directory(to).is_some() && directory(to) == directory(log);
    if is_beside && name.as_bytes().strip_prefix(log_name).is_some_and(|rest| rest.starts_with(b"-")) {
        return Err(BackupError::Name(to.to_owned()));
    }
    Ok(())
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Copies all pages. Returns the time that the longest step took.
fn copy_pages(
    source: &Connection,
    half: &Path,
    log: &Path,
    to: &Path,
    go_on: &mut dyn FnMut(BackupProgress) -> bool,
) -> Result<Duration, BackupError> {
    let read_error = sql_error(log, "cannot read the log");
    let write_error = |source| BackupError::Sql { path: to.to_owned(), source };
    // All steps read one state of the log: otherwise each window that the daemon writes would make the copy begin again. A
    // reader does not hold up the writer of a log in write-ahead mode.
    let snapshot = source.unchecked_transaction().map_err(&read_error)?;
    snapshot.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(&read_error)?;
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut target = Connection::open_with_flags(half, flags).map_err(write_error)?;
    // A crash leaves a half copy anyway, and the file is synced at the end.
    target.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF").map_err(write_error)?;
    let page = snapshot.pragma_query_value(None, "page_size", |row| row.get(0)).map_err(&read_error)?;
    let bytes = |pages: i32, page: i64| u64::try_from(i64::from(pages) * page).unwrap_or(0);
    let mut longest = Duration::ZERO;
    {
        let backup = Backup::new(source, &mut target).map_err(write_error)?;
        loop {
            let begin = Instant::now();
            let step = backup.step(PAGES_PER_STEP).map_err(|error| match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => read_error(error).into(),
                _ => write_error(error),
            })?;
            longest = longest.max(begin.elapsed());
            let progress = backup.progress();
            let total = bytes(progress.pagecount, page);
            let copied = total - bytes(progress.remaining, page).min(total);
            if !go_on(BackupProgress { copied, total }) {
                return Err(BackupError::Interrupted(to.to_owned()));
            }
            if step == StepResult::Done {
                break;
            }
        }
    }
    snapshot.commit().map_err(&read_error)?;
    target.close().map_err(|(_, error)| write_error(error))?;
    Ok(longest)
}

/// The number of records in a copy, and the times of the first and the last.
fn content(path: &Path) -> rusqlite::Result<(u64, Option<(i64, i64)>)> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(path, flags)?;
    let records: i64 = connection.query_row("SELECT count(*) FROM record", [], |row| row.get(0))?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let extent = match version {
        // Logs of these versions have no sums without records.
        ..6 => {
            let edge = |sql| connection.query_row(sql, [], |row| row.get::<_, Option<i64>>(0));
            edge("SELECT min(time) FROM record")?.zip(edge("SELECT max(time) FROM record")?)
        }
        _ => rollup::extent(&connection)?,
    };
    Ok((u64::try_from(records).unwrap_or(0), extent))
}

/// A copy that is not complete. It is removed when it is dropped.
struct HalfCopy {
    path: PathBuf,
    file: File,
}

impl HalfCopy {
    /// Makes a file beside `to`, with a name of its own.
    fn new(to: &Path) -> Result<Self, BackupError> {
        let fail = |source| BackupError::File { path: to.to_owned(), source };
        for number in 0..MAX_NAMES {
            let mut path = to.as_os_str().to_owned();
            path.push(format!(".unfinished-{}", std::process::id() + number));
            let path = PathBuf::from(path);
            let mut options = File::options();
            options.read(true).write(true).create_new(true).mode(MODE);
            options.custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
            match options.open(&path) {
                Ok(file) => return Ok(Self { path, file }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(fail(error)),
            }
        }
        Err(fail(io::ErrorKind::AlreadyExists.into()))
    }

    /// Gives the copy its name, which no other file has.
    fn publish(self, to: &Path) -> Result<(), BackupError> {
        let fail = |source| BackupError::File { path: to.to_owned(), source };
        let (ours, named) =
            (self.file.metadata().map_err(fail)?, fs::symlink_metadata(&self.path).map_err(fail)?);
        if (ours.dev(), ours.ino()) != (named.dev(), named.ino()) {
            return Err(fail(io::Error::other("another program has replaced the file while it was written")));
        }
        // A second name never replaces a file, as a new name does.
        let given = match fs::hard_link(&self.path, to) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            // Some file systems have no hard links.
            Err(_) if fs::symlink_metadata(to).is_err() => fs::rename(&self.path, to),
            linked => linked,
        };
        match given {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(BackupError::Exists(to.to_owned()));
            }
            Err(error) => return Err(fail(error)),
        }
        File::open(parent(to)).and_then(|directory| directory.sync_all()).map_err(fail)
    }
}

impl Drop for HalfCopy {
    fn drop(&mut self) {
        // A file that is gone, since it has its own name now, is right.
        let _ = fs::remove_file(&self.path);
    }
}
