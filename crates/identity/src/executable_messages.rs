//! The messages between the main thread and the threads that open executables.

use std::{
    fs::File,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Sender, SyncSender},
    },
    time::{Duration, Instant},
};

use nix::sys::eventfd::EventFd;

use crate::file_writers::WriteReport;
use capture::FdInfo;
use model::FileIdentity;

/// How long an executed file waits for the event of its process.
pub(crate) const MAX_EVENT_WAIT: Duration = Duration::from_secs(10);
/// How long an executable may take to be opened.
pub(crate) const MAX_OPEN_WAIT: Duration = Duration::from_secs(10);
/// Urgent requests at a time: each may start a process, and a user who starts programs on FUSE decides how many.
const MAX_URGENT_REQUESTS: usize = 16;

/// An executable without a descriptor: the process that runs it, and the id that its digest will have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WantedKey {
    pub tgid: u32,
    pub id: u32,
}

/// An executed file that the hash cache does not have, or that a process may have executed in another state than the cache has it.
#[derive(Debug)]
pub(crate) struct ExecutedFile {
    pub id: u32,
    /// Thread-group id of the process that executed it.
    pub tgid: u32,
    pub info: FdInfo,
    pub file: File,
    /// The id is new, and announced.
    pub is_announced: bool,
}

/// A message to the main thread.
#[derive(Debug)]
pub(crate) enum FileReport {
    Executed(ExecutedFile),
    /// A process wrote to a file that was executed.
    Written(WriteReport),
    /// The outcome of a request that was not urgent.
    Opened(WantedKey, io::Result<(FdInfo, File)>),
    /// The queue of fanotify overflowed, so that modifications of known files may have been missed.
    Overflow,
    /// The watcher has ended, for this reason.
    WatcherFailed(String),
}

/// A request to open an executable through /proc.
#[derive(Clone, Debug)]
pub(crate) struct OpenRequest {
    /// The id that its digest will have; `None` for an urgent request, whose file is reported like one from fanotify.
    pub id: Option<u32>,
    /// Thread-group id of the process that runs it.
    pub tgid: u32,
    /// Which file it must be.
    pub executable: FileIdentity,
    pub since: Instant,
}

/// The way to the main thread.
#[derive(Clone)]
pub(crate) struct ReportSender {
    pub reports: SyncSender<FileReport>,
    /// Readable by the main thread when there are reports.
    pub wake: Arc<EventFd>,
}

impl ReportSender {
    /// Sends a report, and waits while the main thread is behind. Returns false when the main thread is gone.
    pub(crate) fn send(&self, report: FileReport) -> bool {
        let is_sent = self.reports.send(report).is_ok();
        let _ = self.wake.write(1);
        is_sent
    }
}

/// The way to the opener for urgent requests, and how many of them it has not done.
#[derive(Clone)]
pub(crate) struct UrgentRequests {
    pub requests: Sender<OpenRequest>,
    pub pending: Arc<AtomicUsize>,
}

impl UrgentRequests {
    /// Has a file opened before the main thread would request it, unless too many requests are pending.
    pub(crate) fn send(&self, tgid: u32, executable: FileIdentity) {
        if self.pending.fetch_add(1, Ordering::Relaxed) < MAX_URGENT_REQUESTS {
            let _ = self.requests.send(OpenRequest { id: None, tgid, executable, since: Instant::now() });
        } else {
            self.pending.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
