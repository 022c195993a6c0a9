//! The locks that keep a second monitor from starting on the same files: on a file in the run directory and in each directory of
//! the log, whatever path leads there.

use std::{
    fs::{self, File, Metadata, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::unistd::Uid;

use crate::error::MonitorError;
use config::layout::Layout;

/// Mode of the pid file, which every user may read.
const PID_FILE_MODE: u32 = 0o644;

/// Name of the lock file in each of these directories, and its mode: only root may open it, so that no other user can hold
/// the lock.
pub(super) const LOCK_FILE: &str = ".picosnitch.lock";
const LOCK_FILE_MODE: u32 = 0o600;
/// How often a lock file is made again that is not root's, or was replaced meanwhile.
const TRIES: u32 = 16;
/// How long a monitor that was killed may take to end: its first thread is a zombie before its last one
/// has closed the files (`do_exit` in kernel/exit.c).
const ENDING: Duration = Duration::from_secs(3);
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// The locks of this monitor. They last as long as the files are open, so that nothing that a crash leaves behind keeps the
/// next monitor from starting.
pub struct InstanceLock {
    pid_file: Option<File>,
    _directories: Vec<File>,
}

impl Drop for InstanceLock {
    /// A pid file with a number is that of a process that runs, or was killed.
    fn drop(&mut self) {
        if let Some(file) = &self.pid_file {
            let _ = file.set_len(0);
        }
    }
}

/// Takes the locks, and writes the id of this process to the files.
pub(super) fn lock_instance(layout: &Layout) -> Result<InstanceLock, MonitorError> {
    let mut directories = lock_directories(layout)?;
    directories.push(lock_directory(&layout.run_dir)?);
    Ok(InstanceLock { _directories: directories, pid_file: Some(write_pid_file(layout)?) })
}

/// Takes the locks for a command that changes the log while picosnitch is stopped, and does not make the directory of the pid
/// file.
///
/// # Errors
/// [`MonitorError::AlreadyRunning`] while picosnitch records, and the errors of opening and locking.
pub fn lock_stopped(layout: &Layout) -> Result<InstanceLock, MonitorError> {
    let mut directories = lock_directories(layout)?;
    let mut pid_file = None;
    if layout.run_dir.is_dir() {
        directories.push(lock_directory(&layout.run_dir)?);
        pid_file = Some(write_pid_file(layout)?);
    }
    Ok(InstanceLock { _directories: directories, pid_file })
}

fn lock_directories(layout: &Layout) -> Result<Vec<File>, MonitorError> {
    layout.log_directories().into_iter().map(lock_directory).collect()
}

/// Locks a directory of the log: the lock file in it. A file that a member of the directory's group has put there is removed.
fn lock_directory(directory: &Path) -> Result<File, MonitorError> {
    let path = directory.join(LOCK_FILE);
    let fail = |source| MonitorError::Lock { path: directory.display().to_string(), source };
    for _ in 0..TRIES {
        let Some(file) = open_lock_file(&path).map_err(fail)? else { continue };
        if !lock_file(&file).map_err(fail)? {
            return Err(MonitorError::AlreadyRunning(pid_in(file).map_err(fail)?));
        }
        let (ours, named) = (file.metadata().map_err(fail)?, fs::symlink_metadata(&path));
        if !named.is_ok_and(|named| (named.dev(), named.ino()) == (ours.dev(), ours.ino())) {
            continue;
        }
        // Another name of it may be that of a file with a content. No other monitor holds this one.
        if ours.nlink() != 1 {
            fs::remove_file(&path).map_err(fail)?;
            continue;
        }
        file.set_permissions(fs::Permissions::from_mode(LOCK_FILE_MODE)).map_err(fail)?;
        write_pid(&file).map_err(fail)?;
        return Ok(file);
    }
    Err(fail(io::Error::other(format!("other processes replace {LOCK_FILE} in it all the time"))))
}

/// Locks an open lock file. `false` if another process keeps it locked for [`ENDING`].
fn lock_file(file: &File) -> io::Result<bool> {
    let until = Instant::now() + ENDING;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() >= until => return Ok(false),
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_RETRY),
        }
    }
}

/// Opens the lock file, or makes it. `None` if it has to be tried again, because it was another user's, or no file.
fn open_lock_file(path: &Path) -> io::Result<Option<File>> {
    let mut options = File::options();
    options.read(true).write(true).mode(LOCK_FILE_MODE);
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match options.create_new(true).open(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
                made => made.map(Some),
            };
        }
        Err(error) => return Err(error),
        Ok(found) if found.is_dir() => {
            return Err(io::Error::other(format!("{} is a directory; remove it", path.display())));
        }
        Ok(found) if !is_own_file(&found) => return fs::remove_file(path).map(|()| None),
        Ok(_) => {}
    }
    match options.open(path) {
        Ok(file) if is_own_file(&file.metadata()?) => Ok(Some(file)),
        Err(error)
            if error.kind() != io::ErrorKind::NotFound && error.raw_os_error() != Some(libc::ELOOP) =>
        {
            Err(error)
        }
        _ => Ok(None),
    }
}

fn is_own_file(found: &Metadata) -> bool {
    found.is_file() && found.uid() == Uid::effective().as_raw()
}

/// Writes the id of this process, which holds the locks, where everybody may read it. It is no lock: whoever may read a file may
/// lock it (flock(2)).
fn write_pid_file(layout: &Layout) -> Result<File, MonitorError> {
    let path = layout.pid_file();
    let fail = |source| MonitorError::PidFile { path: path.display().to_string(), source };
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(PID_FILE_MODE)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(&path)
        .map_err(fail)?;
    // Whatever the umask was when the file was made.
    file.set_permissions(fs::Permissions::from_mode(PID_FILE_MODE)).map_err(fail)?;
    write_pid(&file).map_err(fail)?;
    Ok(file)
}

/// The id of the process that holds the lock on a file, as it stands there.
fn pid_in(file: File) -> io::Result<String> {
    let mut text = Vec::new();
    file.take(16).read_to_end(&mut text)?;
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).map(|byte| char::from(*byte));
    let digits: String = digits.collect();
    Ok(if digits.is_empty() { "unknown".into() } else { digits })
}

/// Writes the id of this process to a locked file.
fn write_pid(mut file: &File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stranger_has_put_in_the_place_of_the_lock_file_is_replaced() {
        let place = tempfile::tempdir().unwrap();
        let (path, target) = (place.path().join(LOCK_FILE), place.path().join("target"));
        fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        let _ = lock_directory(place.path()).unwrap();
        fs::remove_file(&path).unwrap();
        fs::hard_link(&target, &path).unwrap();
        let _ = lock_directory(place.path()).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
        if Uid::current().is_root() {
            std::os::unix::fs::chown(&path, Some(4242), None).unwrap();
            let strangers = File::open(&path).unwrap();
            strangers.lock().unwrap();
            let _ = lock_directory(place.path()).unwrap();
        }
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.mode() & 0o777), (Uid::current().as_raw(), LOCK_FILE_MODE));
    }

    #[test]
    fn a_second_instance_is_refused_whatever_was_removed() {
        let place = tempfile::tempdir().unwrap();
        let (base, link) = (place.path().join("base"), place.path().join("link"));
        fs::create_dir_all(base.join("run")).unwrap();
        std::os::unix::fs::symlink(&base, &link).unwrap();
        let lock = lock_instance(&Layout::new(Some(&base), None)).unwrap();
        for path in [&base, &link] {
            fs::remove_dir_all(base.join("run")).unwrap();
            fs::create_dir(base.join("run")).unwrap();
            let refused = lock_instance(&Layout::new(Some(path), None)).err();
            assert!(
                matches!(&refused, Some(MonitorError::AlreadyRunning(pid)) if *pid == std::process::id().to_string()),
                "{refused:?}"
            );
        }
        // One that is about to end is waited for.
        let ending = thread::spawn(move || {
            thread::sleep(Duration::from_millis(200));
            drop(lock);
        });
        lock_instance(&Layout::new(Some(&link), None)).unwrap();
        ending.join().unwrap();
    }
}
