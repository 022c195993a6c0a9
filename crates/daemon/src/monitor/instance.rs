//! The daemon that runs now, found by what it cannot fake or leave behind: the lock that only a living process holds. A process
//! id in a file is believed only if that process has the locked file open.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::{MetadataExt, OpenOptionsExt},
        },
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags},
    sys::signal::Signal,
};

use super::instance_lock::LOCK_FILE;
use crate::poll::poll_until;
use config::layout::Layout;

/// The argument by which a daemon is told apart from another command that works on the log.
const DAEMON: &str = "start-no-daemon";
/// Bytes of a command line that are read.
const MAX_COMMAND_LINE: u64 = 64 * 1024;

/// A process that cannot be confused with a later one of the same number.
#[derive(Debug)]
pub struct ProcessHandle {
    pid: u32,
    descriptor: OwnedFd,
}

/// The process that works on the files of a layout.
#[derive(Debug)]
pub enum Instance {
    /// There is none. If a daemon was killed, its process id, which may be that of any other process by now.
    None(Option<u32>),
    /// A daemon.
    Daemon(ProcessHandle),
    /// Another command of picosnitch, as typed.
    OtherCommand(u32, String),
    /// A process that cannot be found from here holds the lock of this file.
    Hidden(PathBuf),
}

impl ProcessHandle {
    /// Takes hold of a process.
    ///
    /// # Errors
    /// Those of pidfd_open(2).
    pub fn open(pid: u32) -> io::Result<Self> {
        // SAFETY: the call takes numbers only.
        let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.cast_signed(), 0) };
        let raw = i32::try_from(descriptor).map_err(io::Error::other)?;
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor, and it has no other owner.
        Ok(Self { pid, descriptor: unsafe { OwnedFd::from_raw_fd(raw) } })
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// Those of pidfd_send_signal(2); `ESRCH` if it has ended.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let (none, flags) = (std::ptr::null::<libc::siginfo_t>(), 0);
        // SAFETY: the call takes numbers, and no data about the signal.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.descriptor.as_raw_fd(),
                signal as libc::c_int,
                none,
                flags,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits until the process has ended, for at most `patience`. Returns whether it has.
    ///
    /// # Errors
    /// Those of poll(2).
    pub fn wait(&self, patience: Duration) -> io::Result<bool> {
        let until = Instant::now() + patience;
        loop {
            if poll_until(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], Some(until))? {
                return Ok(true);
            }
            if Instant::now() >= until {
                return Ok(false);
            }
        }
    }

    /// The processes that it has started and that have not ended, the recorder first.
    pub fn children(&self) -> Vec<Self> {
        let pid = self.pid;
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        children.split_ascii_whitespace().filter_map(|child| Self::open(child.parse().ok()?).ok()).collect()
    }

    /// Whether the process has this file open.
    fn has_open(&self, file: &fs::Metadata) -> bool {
        let Ok(entries) = fs::read_dir(format!("/proc/{}/fd", self.pid)) else { return false };
        let is_it = |found: fs::Metadata| (found.dev(), found.ino()) == (file.dev(), file.ino());
        entries.flatten().any(|entry| fs::metadata(entry.path()).is_ok_and(is_it))
    }
}

/// The arguments that a process was started with; none if it has ended.
fn command_line(pid: u32) -> Vec<String> {
    let Ok(file) = File::open(format!("/proc/{pid}/cmdline")) else { return Vec::new() };
    let mut text = Vec::new();
    let _ = file.take(MAX_COMMAND_LINE).read_to_end(&mut text);
    let arguments = text.strip_suffix(b"\0").unwrap_or(&text).split(|byte| *byte == 0);
    arguments.map(|argument| String::from_utf8_lossy(argument).into_owned()).collect()
}

/// Whether a process was started as a daemon. That is all that a user who may not open the locks can see; [`find_instance`] is sure.
pub fn looks_like_daemon(pid: u32) -> bool {
    command_line(pid).iter().any(|argument| argument == DAEMON)
}

impl AsFd for ProcessHandle {
    /// Readable once the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Finds the process that works on the files of a layout now. It changes nothing.
///
/// # Errors
/// A file of a lock cannot be opened: only root may do that.
pub fn find_instance(layout: &Layout) -> io::Result<Instance> {
    for directory in layout.log_directories().into_iter().chain([&*layout.run_dir]) {
        let path = directory.join(LOCK_FILE);
        let Some(file) = open(&path)? else { continue };
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(holder(path, &file, read_pid(&file))),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(Instance::None(open(&layout.pid_file())?.and_then(|file| read_pid(&file))))
}

/// The process that holds the lock of a file, whose content says that it is `pid`.
fn holder(path: PathBuf, file: &File, pid: Option<u32>) -> Instance {
    let verified = || {
        let process = ProcessHandle::open(pid?).ok()?;
        let is_holder = process.has_open(&file.metadata().ok()?);
        let command_line = command_line(process.pid);
        // What was read was that of this process if it has not ended since.
        let lives = !process.wait(Duration::ZERO).ok()?;
        (is_holder && lives).then_some((process, command_line))
    };
    match verified() {
        Some((process, command_line)) if command_line.iter().any(|argument| argument == DAEMON) => {
            Instance::Daemon(process)
        }
        Some((process, command_line)) => Instance::OtherCommand(process.pid, command_line.join(" ")),
        None => Instance::Hidden(path),
    }
}

/// Opens a file of a lock; `None` if there is none, or something else has its name.
fn open(path: &Path) -> io::Result<Option<File>> {
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC);
    match options.open(path) {
        Ok(file) => Ok(file.metadata()?.is_file().then_some(file)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_pid(mut file: &File) -> Option<u32> {
    let mut text = [0; 16];
    let length = file.read(&mut text).ok()?;
    let line = text[..length].split(|byte| *byte == b'\n').next()?;
    std::ffi::OsStr::from_bytes(line).to_str()?.parse().ok().filter(|pid| *pid > 0)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn only_the_process_that_holds_the_lock_is_found() {
        let place = tempfile::tempdir().unwrap();
        let layout = Layout::new(Some(place.path()), None);
        assert!(matches!(find_instance(&layout).unwrap(), Instance::None(None)));
        fs::create_dir(&layout.run_dir).unwrap();
        // A daemon that was killed has left its number, which another process has now.
        for (left, expected) in [("1\n", Some(1)), ("", None), ("\u{1b}[31m", None), ("0\n", None)] {
            fs::write(layout.pid_file(), left).unwrap();
            let found = find_instance(&layout).unwrap();
            assert!(matches!(found, Instance::None(pid) if pid == expected), "{left:?}: {found:?}");
        }
        let lock = super::super::instance_lock::lock_instance(&layout).unwrap();
        let found = find_instance(&layout).unwrap();
        assert!(
            matches!(&found, Instance::OtherCommand(pid, _) if *pid == std::process::id()),
            "a test is no daemon: {found:?}"
        );
        // The lock is held, and the number is that of a process that does not hold it.
        fs::write(place.path().join(LOCK_FILE), "1\n").unwrap();
        assert!(matches!(find_instance(&layout).unwrap(), Instance::Hidden(_)));
        // Whoever may read the pid file may lock it, which keeps nobody from starting.
        drop(lock);
        let stranger = File::open(layout.pid_file()).unwrap();
        stranger.try_lock().unwrap();
        let lock = super::super::instance_lock::lock_instance(&layout).unwrap();
        // An end in order leaves no number.
        drop(lock);
        assert!(matches!(find_instance(&layout).unwrap(), Instance::None(None)));
    }

    #[test]
    fn a_signal_reaches_the_process_and_its_end_is_seen() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let process = ProcessHandle::open(child.id()).unwrap();
        assert!(!process.wait(Duration::ZERO).unwrap());
        process.signal(Signal::SIGTERM).unwrap();
        assert!(process.wait(Duration::from_secs(60)).unwrap());
        child.wait().unwrap();
        assert_eq!(process.signal(Signal::SIGTERM).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }
}
