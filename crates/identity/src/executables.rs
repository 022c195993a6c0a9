//! Finds an open descriptor for each program that was executed, even when its process or its file is gone.
//!
//! The hook on `execve` reports which file it was ([`FileIdentity`]); fanotify has put a descriptor of it into its queue
//! just before. Both are brought together here. A descriptor that fanotify cannot deliver is opened through /proc.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc,
        atomic::AtomicUsize,
        mpsc::{self, Receiver, Sender},
    },
    time::{Duration, Instant},
};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::{
    executable_messages::{
        ExecutedFile, FileReport, MAX_EVENT_WAIT, MAX_OPEN_WAIT, OpenRequest, ReportSender, UrgentRequests,
        WantedKey,
    },
    executable_opener::{ExecutableOpener, OpenAsUser},
    executable_watcher::ExecutableWatcher,
    fanotify::FanotifyGroup,
    file_writers::FileWriters,
    hash_cache::{HashCache, is_same_content},
    processes::Processes,
    running_program::RunningProgram,
};
use capture::{FdInfo, FileProbe, UnwatchedRing};
use model::{FileIdentity, ProcessEvent, ProcessId, Writer};

/// Ids that are in use at a time; with more, all are forgotten.
const MAX_IDS: u32 = 32_768;
/// How long fanotify may take before a file is opened through /proc.
const FANOTIFY_WAIT: Duration = Duration::from_millis(300);
/// How long a file that could not be opened is not tried again for a process that has further traffic.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);
/// Reports that wait for the main thread; further files stay in the kernel's queue.
const MAX_WAITING_REPORTS: usize = 256;
/// Executables that wait to be opened through /proc.
const MAX_WANTED: usize = 16_384;

/// The reason why a digest is missing, as error.log has it.
const GONE: &str = "its process ended before the file could be opened";

/// The same for a program whose file was still waited for.
const ENDED: &str = "picosnitch ended before the file could be opened";

/// The same for an AppImage, which is opened again when its digest is needed again.
const NOT_SERVED: &str =
    "no process that runs the file of the AppImage itself was found, through which it could be opened";

/// A message to the hasher. The messages must arrive in their order.
#[derive(Debug)]
pub enum ExecutableUpdate {
    /// The digest of this file is wanted.
    Hash {
        /// The id that its digest will have.
        id: u32,
        /// An open descriptor of it.
        file: File,
        /// Its identity when it was opened.
        info: FdInfo,
    },
    /// The file whose digest will have this id has the content that this process wrote. It comes before the file.
    Written(u32, Writer),
    /// There will be no digest with this id, for this reason.
    Unhashed(u32, String),
    /// No id before this one is used any more.
    ForgetBefore(u32),
    /// A sentence for the user.
    Problem(String),
}

/// A file that was executed and waits for the event of its process.
#[derive(Debug)]
struct RecentFile {
    id: u32,
    file: FileIdentity,
    since: Instant,
}

/// An executable without a descriptor.
#[derive(Debug)]
struct WantedFile {
    request: OpenRequest,
    is_watched: bool,
    /// The opener has the request.
    is_requested: bool,
}

/// The executables of the programs that run.
pub struct Executables {
    cache: Arc<HashCache>,
    group: Arc<FanotifyGroup>,
    reports: Receiver<FileReport>,
    wake: Arc<EventFd>,
    requests: Sender<OpenRequest>,
    /// By the thread-group id of the process.
    recent: HashMap<u32, Vec<RecentFile>>,
    wanted: BTreeMap<WantedKey, WantedFile>,
    /// Ids of programs that ran before the start, and of those whose file is tried again.
    existing: HashMap<ProcessId, u32>,
    /// Ids without a digest, and since when.
    failed: HashMap<u32, Instant>,
    writers: FileWriters,
    /// The first id that is in use.
    first_id: u32,
    updates: Vec<ExecutableUpdate>,
}

impl Executables {
    /// Watches all file systems, and starts the threads.
    ///
    /// # Errors
    /// When the kernel refuses fanotify or a thread.
    pub fn start(probe: FileProbe, unwatched: UnwatchedRing, open_as_user: OpenAsUser) -> io::Result<Self> {
        let probe = Arc::new(probe);
        let group = Arc::new(FanotifyGroup::new()?);
        let cache = Arc::new(HashCache::default());
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let (report, reports) = mpsc::sync_channel(MAX_WAITING_REPORTS);
        let sender = ReportSender { reports: report, wake: Arc::clone(&wake) };
        let urgent_pending = Arc::new(AtomicUsize::new(0));
        let (requests, requests_to_do) = mpsc::channel();
        ExecutableWatcher {
            group: Arc::clone(&group),
            probe: Arc::clone(&probe),
            cache: Arc::clone(&cache),
            sender: sender.clone(),
            urgent: UrgentRequests { requests: requests.clone(), pending: Arc::clone(&urgent_pending) },
        }
        .start(unwatched)?;
        ExecutableOpener {
            probe,
            group: Arc::clone(&group),
            cache: Arc::clone(&cache),
            open_as_user,
            requests: requests_to_do,
            urgent_pending,
            sender,
        }
        .start()?;
        Ok(Self {
            cache,
            group,
            reports,
            wake,
            requests,
            recent: HashMap::new(),
            wanted: BTreeMap::new(),
            existing: HashMap::new(),
            failed: HashMap::new(),
            writers: FileWriters::default(),
            first_id: 0,
            updates: Vec::new(),
        })
    }

    /// Adds a program that was just executed and returns its id; `None` when the kernel did not report which file it is.
    pub fn add_executed(&mut self, event: &ProcessEvent, now: Instant) -> Option<u32> {
        let file = &event.executable;
        if file.inode == 0 || event.kernel {
            return None;
        }
        if let Some(id) = self.cache.id(file) {
            return Some(id);
        }
        let recent = self.recent.get(&event.id.tgid);
        if let Some(recent) =
            recent.and_then(|recent| recent.iter().rev().find(|recent| is_same_content(file, &recent.file)))
        {
            return Some(recent.id);
        }
        let key = self.want(event.id.tgid, file, event.watched, now);
        if !event.watched {
            // The watcher was too slow, or may not read it.
            self.request(key, now);
        }
        Some(key.id)
    }

    /// The id of the program that a process of the table runs.
    pub fn id_of(&mut self, running: &RunningProgram, now: Instant) -> Option<u32> {
        if running.executable.inode == 0 {
            return None;
        }
        let is_usable = |id: &u32| {
            let has_failed =
                self.failed.get(id).is_some_and(|since| now.duration_since(*since) > RETRY_INTERVAL);
            *id >= self.first_id && !has_failed
        };
        let id = self.existing.get(&running.id).copied().or(running.executable_id);
        if let Some(id) = id.filter(is_usable).or_else(|| self.cache.id(&running.executable)) {
            return Some(id);
        }
        let id = match running.opened_through() {
            Some(tgid) => {
                let key = self.want(tgid, &running.executable, false, now);
                self.request(key, now);
                key.id
            }
            None => {
                let key = WantedKey { tgid: running.id.tgid, id: self.cache.new_id() };
                self.fail(key, NOT_SERVED.into(), now);
                key.id
            }
        };
        self.existing.insert(running.id, id);
        Some(id)
    }

    /// Forgets the ids of processes whose programs are other files than was thought.
    pub(crate) fn forget_ids(&mut self, processes: &[ProcessId]) {
        for id in processes {
            self.existing.remove(id);
        }
    }

    /// Whether an executed file is known to be an AppImage.
    pub(crate) fn is_app_image(&self, file: &FileIdentity) -> bool {
        self.cache.app_images.contains(file)
    }

    /// Takes over at most `max` reports of the threads.
    pub fn collect(&mut self, max: usize, processes: &Processes, now: Instant) {
        let _ = self.wake.read();
        for taken in 0.. {
            if taken == max {
                // The next call goes on.
                let _ = self.wake.write(1);
                return;
            }
            let Ok(report) = self.reports.try_recv() else { return };
            match report {
                FileReport::Executed(executed) => self.take_executed(executed, processes, now),
                FileReport::Written(report) => self.writers.add(report, now),
                FileReport::Opened(key, opened) => self.take_opened(key, opened, processes, now),
                FileReport::Overflow => self.updates.push(ExecutableUpdate::Problem(
                    "The kernel's queue of executed files overflowed: every known SHA-256 is computed again. Programs \
                     that were started and ended meanwhile may lack theirs."
                        .into(),
                )),
                FileReport::WatcherFailed(why) => self.updates.push(ExecutableUpdate::Problem(format!(
                    "Executables are not watched any more ({why}): programs that end soon lack their SHA-256, and \
                     modifications may go unnoticed. Start picosnitch again."
                ))),
            }
        }
    }

    /// Requests files that fanotify has not delivered in time, and gives up those that wait for too long. The caller calls
    /// this after each drain.
    pub fn tick(&mut self, now: Instant) {
        self.recent.retain(|_, recent| {
            recent.retain(|recent| now.duration_since(recent.since) < MAX_EVENT_WAIT);
            !recent.is_empty()
        });
        let waited = |wanted: &WantedFile| now.duration_since(wanted.request.since);
        let late: Vec<WantedKey> = self
            .wanted
            .iter()
            .filter(|(_, wanted)| !wanted.is_requested && waited(wanted) > FANOTIFY_WAIT)
            .map(|(key, _)| *key)
            .collect();
        late.into_iter().for_each(|key| self.request(key, now));
        let given_up: Vec<WantedKey> = self
            .wanted
            .iter()
            .filter(|(_, wanted)| waited(wanted) >= MAX_OPEN_WAIT)
            .map(|(key, _)| *key)
            .collect();
        for key in given_up {
            self.fail(key, GONE.into(), now);
        }
        self.forget_if_too_many();
    }

    /// Takes the writers of changed files that were executed and that [`ExecutableUpdate::Written`] did not tell, by the ids of the
    /// new contents; `None` for one that is not known. The caller calls this when it has applied the events of processes, and
    /// tells them before the traffic of programs that run the changed files.
    pub fn take_writers(&mut self, processes: &Processes) -> Vec<(u32, Option<Writer>)> {
        self.writers.take_executed(processes)
    }

    /// The id after those that executables have by now, for [`Executables::is_waiting`].
    pub fn next_id(&self) -> u32 {
        self.cache.next_id()
    }

    /// Whether the file of an executable with an id before this one is not here yet.
    pub fn is_waiting(&self, before: u32) -> bool {
        self.wanted.keys().any(|key| key.id < before) || self.cache.awaits_before(before)
    }

    /// Gives up the files that are waited for: picosnitch ends.
    pub fn give_up(&mut self, now: Instant) {
        let keys: Vec<WantedKey> = self.wanted.keys().copied().collect();
        keys.into_iter().for_each(|key| self.fail(key, ENDED.into(), now));
        let on_the_way = self.cache.take_announced().into_iter();
        self.updates.extend(on_the_way.map(|id| ExecutableUpdate::Unhashed(id, ENDED.into())));
    }

    /// The messages to the hasher since the last call, in their order.
    pub fn take_updates(&mut self) -> Vec<ExecutableUpdate> {
        std::mem::take(&mut self.updates)
    }

    fn take_executed(&mut self, executed: ExecutedFile, processes: &Processes, now: Instant) {
        let ExecutedFile { id, tgid, info, file, is_announced } = executed;
        let waiting = self.wanted.range(WantedKey { tgid, id: 0 }..=WantedKey { tgid, id: u32::MAX });
        let keys: Vec<WantedKey> = waiting
            .filter(|(_, wanted)| is_same_content(&wanted.request.executable, &info.file))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            // Hashed twice, once under each id: the event of the process came before the file.
            if let Ok(file) = file.try_clone() {
                self.wanted.remove(&key);
                self.hash(key.id, file, info, Some(processes));
            }
        }
        if is_announced {
            self.cache.set_arrived(id);
            self.hash(id, file, info, None);
        }
        self.recent.entry(tgid).or_default().push(RecentFile { id, file: info.file, since: now });
    }

    fn take_opened(
        &mut self,
        key: WantedKey,
        opened: io::Result<(FdInfo, File)>,
        processes: &Processes,
        now: Instant,
    ) {
        let Some(wanted) = self.wanted.get(&key) else {
            // If it was given up, the next process that executes the file has it opened again.
            if let Ok((info, _)) = opened
                && (self.failed.contains_key(&key.id) || key.id < self.first_id)
            {
                self.cache.remove(&info.file);
            }
            return;
        };
        match opened {
            Ok((info, file)) => {
                self.wanted.remove(&key);
                self.hash(key.id, file, info, Some(processes));
            }
            // The process is gone. fanotify may still deliver the file, until it is given up.
            Err(error) if is_gone(&error) && wanted.is_watched => {}
            Err(error) if is_gone(&error) => self.fail(key, GONE.into(), now),
            Err(error) => self.fail(key, error.to_string(), now),
        }
    }

    /// Has a file hashed. `processes` if the event of the process that executed it is applied, and so are all events before it.
    fn hash(&mut self, id: u32, file: File, info: FdInfo, processes: Option<&Processes>) {
        if let Some(writer) = self.writers.add_executed(id, &info.file, processes) {
            self.updates.push(ExecutableUpdate::Written(id, writer));
        }
        self.updates.push(ExecutableUpdate::Hash { id, file, info });
    }

    fn want(&mut self, tgid: u32, executable: &FileIdentity, is_watched: bool, now: Instant) -> WantedKey {
        let id = self.cache.new_id();
        let key = WantedKey { tgid, id };
        let request = OpenRequest { id: Some(id), tgid, executable: *executable, since: now };
        self.wanted.insert(key, WantedFile { request, is_watched, is_requested: false });
        key
    }

    /// Has a wanted file opened through /proc.
    fn request(&mut self, key: WantedKey, now: Instant) {
        let too_many = self.wanted.len() > MAX_WANTED;
        let Some(wanted) = self.wanted.get_mut(&key) else { return };
        wanted.is_requested = true;
        if too_many || self.requests.send(wanted.request.clone()).is_err() {
            self.fail(key, "too many files are waited for; is a file system stuck?".into(), now);
        }
    }

    fn fail(&mut self, key: WantedKey, why: String, now: Instant) {
        self.wanted.remove(&key);
        self.failed.insert(key.id, now);
        self.updates.push(ExecutableUpdate::Unhashed(key.id, why));
    }

    fn forget_if_too_many(&mut self) {
        let next = self.cache.next_id();
        if next.wrapping_sub(self.first_id) < MAX_IDS {
            return;
        }
        self.cache.clear();
        let _ = self.group.forget_modifications();
        self.recent.clear();
        self.existing.clear();
        self.failed.clear();
        self.writers.forget_executed();
        // The ids of files that are still waited for are too old: they are requested again with the next traffic.
        self.wanted.clear();
        self.first_id = next;
        self.updates.push(ExecutableUpdate::ForgetBefore(next));
    }
}

impl AsFd for Executables {
    /// A descriptor that is readable when there are reports to collect.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}
