//! The thread that opens executables through /proc: of processes that ran before, and where fanotify does not reach.
//! Opening may wait for a file system that is dead or malicious, so nobody else does it.

use std::{
    fs::File,
    io,
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use nix::sys::eventfd::EventFd;

use super::{
    executables::Seen,
    fanotify::Group,
    known::{Known, is_same_content},
    watcher::Arrival,
};
use capture::{FdInfo, FileProbe};
use model::FileIdentity;

/// An executable that is wanted.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// The id under which it is wanted; `None`: whoever was just executed gets it like a file from fanotify.
    pub id: Option<u32>,
    /// The process that runs it.
    pub tgid: u32,
    /// Which file it must be.
    pub executable: FileIdentity,
    /// When it was asked for.
    pub since: Instant,
}

/// Jobs in a hurry at a time: each may mean a process, and whoever starts programs on FUSE decides how many.
pub(super) const MAX_HURRIED: usize = 16;
/// How long anybody waits for a file.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Opens the executable of a process with the rights of its user, for files that not even root may read (FUSE).
pub type OpenAsUser = fn(tgid: u32) -> io::Result<File>;

/// What the thread needs.
pub(super) struct Opener {
    pub probe: Arc<FileProbe>,
    pub group: Arc<Group>,
    pub known: Arc<Known>,
    pub open_as_user: OpenAsUser,
    pub jobs: Receiver<Job>,
    /// Jobs without an id that are not done.
    pub hurried: Arc<AtomicUsize>,
    pub seen: SyncSender<Seen>,
    pub bell: Arc<EventFd>,
}

impl Opener {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there can be none.
    pub fn start(self) -> io::Result<()> {
        thread::Builder::new().name("opener".into()).spawn(move || self.run())?;
        Ok(())
    }

    fn run(self) {
        while let Ok(job) = self.jobs.recv() {
            let opened = self.open(&job);
            if job.id.is_none() {
                self.hurried.fetch_sub(1, Ordering::Relaxed);
            }
            let id = job.id.unwrap_or_else(|| self.known.new_id());
            if let Ok((found, file)) = &opened {
                if found.links > 0 {
                    let _ = self.group.watch_modifications(file.as_fd(), true);
                }
                self.known.remember(found, id);
            }
            let seen = match (job.id, opened) {
                (Some(id), opened) => Seen::Opened((job.tgid, id), opened),
                (None, Ok((found, file))) => Seen::Executed(Arrival { id, tgid: job.tgid, found, file }),
                // The main thread will ask for it, and tell why not.
                (None, Err(_)) => continue,
            };
            if self.seen.send(seen).is_err() {
                return;
            }
            let _ = self.bell.write(1);
        }
    }

    fn open(&self, job: &Job) -> io::Result<(FdInfo, File)> {
        if job.since.elapsed() > PATIENCE {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "another file system does not answer"));
        }
        let file = match open_executable(job.tgid) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => (self.open_as_user)(job.tgid)?,
            opened => opened?,
        };
        let found = self.probe.identify(file.as_fd())?;
        match is_same_content(&job.executable, &found.file) {
            true => Ok((found, file)),
            // Another program by now, or another process of that number: the one that is wanted is gone.
            false => Err(io::Error::from_raw_os_error(libc::ESRCH)),
        }
    }
}

/// Opens the executable of a living process.
///
/// # Errors
/// Those of open(2): `ENOENT` when the process is gone.
pub(super) fn open_executable(tgid: u32) -> io::Result<File> {
    let flags = libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOATIME;
    File::options().read(true).custom_flags(flags).open(format!("/proc/{tgid}/exe"))
}
