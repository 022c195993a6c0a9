//! The thread that opens executables through /proc: those of processes that ran before the start, and those on file
//! systems that fanotify does not reach. Opening may block on a dead or malicious file system, so only this thread does it.

use std::{
    fs::File,
    io,
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::Receiver,
    },
    thread,
};

use crate::{
    executable_messages::{ExecutedFile, FileReport, MAX_OPEN_WAIT, OpenRequest, ReportSender, WantedKey},
    fanotify::FanotifyGroup,
    hash_cache::{HashCache, is_same_content},
};
use capture::{FdInfo, FileProbe};

/// Opens the executable of a process with the rights of its user, for files that not even root may read (FUSE).
pub type OpenAsUser = fn(tgid: u32) -> io::Result<File>;

/// The thread, before and after its start.
pub(crate) struct ExecutableOpener {
    pub probe: Arc<FileProbe>,
    pub group: Arc<FanotifyGroup>,
    pub cache: Arc<HashCache>,
    pub open_as_user: OpenAsUser,
    pub requests: Receiver<OpenRequest>,
    /// Number of urgent requests that are not done.
    pub urgent_pending: Arc<AtomicUsize>,
    pub sender: ReportSender,
}

impl ExecutableOpener {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn start(self) -> io::Result<()> {
        thread::Builder::new().name("opener".into()).spawn(move || self.run())?;
        Ok(())
    }

    fn run(self) {
        while let Ok(request) = self.requests.recv() {
            let opened = self.open(&request);
            if request.id.is_none() {
                self.urgent_pending.fetch_sub(1, Ordering::Relaxed);
            }
            if let Ok((info, file)) = &opened {
                if info.links > 0 {
                    let _ = self.group.watch_modifications(file.as_fd(), true);
                }
                self.cache.app_images.look_at(info, file);
            }
            let tgid = request.tgid;
            let report = match (request.id, opened) {
                (Some(id), opened) => {
                    if let Ok((info, _)) = &opened {
                        self.cache.insert(info, id);
                    }
                    FileReport::Opened(WantedKey { tgid, id }, opened)
                }
                (None, Ok((info, file))) => {
                    let id = self.cache.announce(&info);
                    FileReport::Executed(ExecutedFile { id, tgid, info, file, is_announced: true })
                }
                // The main thread requests the file again, and reports why it cannot be opened.
                (None, Err(_)) => continue,
            };
            if !self.sender.send(report) {
                return;
            }
        }
    }

    fn open(&self, request: &OpenRequest) -> io::Result<(FdInfo, File)> {
        if request.since.elapsed() > MAX_OPEN_WAIT {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "another file system does not answer"));
        }
        let file = match open_executable(request.tgid) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                (self.open_as_user)(request.tgid)?
            }
            opened => opened?,
        };
        let info = self.probe.identify(file.as_fd())?;
        match is_same_content(&request.executable, &info.file) {
            true => Ok((info, file)),
            // The process runs another program by now, or is another one with the same number.
            false => Err(io::Error::from_raw_os_error(libc::ESRCH)),
        }
    }
}

/// Opens the executable of a living process.
///
/// # Errors
/// The errors of open(2): `ENOENT` when the process is gone.
pub(crate) fn open_executable(tgid: u32) -> io::Result<File> {
    let flags = libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOATIME;
    File::options().read(true).custom_flags(flags).open(format!("/proc/{tgid}/exe"))
}
