//! Finds an open descriptor for each program that was executed, whatever became of process and file meanwhile.
//!
//! The hook on `execve` says which file it was ([`FileIdentity`]); fanotify has put a descriptor of it into its queue
//! just before. Both are brought together here. A descriptor that fanotify cannot give is asked for through /proc.

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

use super::{
    Running,
    fanotify::Group,
    known::{Known, is_same_content},
    opener::{Job, OpenAsUser, Opener, PATIENCE},
    watcher::{Arrival, Watcher},
};
use capture::{FdInfo, FileProbe, UnwatchedRing};
use model::{FileIdentity, ProcessEvent, ProcessId};

/// Ids that are in use at a time; with more, all are forgotten.
const MAX_IDS: u32 = 32_768;
/// How long fanotify may take before /proc is asked.
const FANOTIFY_PATIENCE: Duration = Duration::from_millis(300);
/// How long a file that could not be opened is not tried again for a process that goes on to talk.
const FAILED_PAUSE: Duration = Duration::from_secs(60);
/// How long an executed file waits for its process event.
const RECENT: Duration = Duration::from_secs(10);
/// Descriptors on their way to the main thread; more wait in the kernel.
const ON_THE_WAY: usize = 256;
/// Executables that wait to be opened through /proc.
const MAX_WANTED: usize = 16_384;

/// Why there is no digest, in the words of error.log.
const GONE: &str = "its process ended before the file could be opened";

/// A wanted file: thread-group id of the process that runs it, and the id under which it is wanted.
pub(super) type Key = (u32, u32);

/// What the threads tell.
#[derive(Debug)]
pub(super) enum Seen {
    /// A file was executed.
    Executed(Arrival),
    /// What became of a file that was asked for.
    Opened(Key, io::Result<(FdInfo, File)>),
    /// fanotify's queue overflowed: whatever was known is suspect.
    Overflow,
    /// Something does not work (any more).
    Failed(String),
}

/// What the hasher has to be told.
#[derive(Debug)]
pub enum Outgoing {
    /// A file to hash, under this id.
    Hash {
        /// Its id.
        id: u32,
        /// The file.
        file: File,
        /// Which one it is.
        found: FdInfo,
    },
    /// There will be no digest under this id: why.
    Unhashed(u32, String),
    /// No id before this one is used any more.
    ForgetBefore(u32),
    /// Something that the user should know.
    Problem(String),
}

/// A file that was executed, waiting for the event of its process.
#[derive(Debug)]
struct Recent {
    id: u32,
    file: FileIdentity,
    since: Instant,
}

/// An executable without a descriptor.
#[derive(Debug)]
struct Wanted {
    job: Job,
    /// fanotify will bring it.
    watched: bool,
    asked: bool,
}

/// The executables of the programs that run.
pub struct Executables {
    known: Arc<Known>,
    group: Arc<Group>,
    seen: Receiver<Seen>,
    bell: Arc<EventFd>,
    jobs: Sender<Job>,
    recent: HashMap<u32, Vec<Recent>>,
    wanted: BTreeMap<Key, Wanted>,
    /// Ids of programs that ran before picosnitch, and of those whose file is tried again.
    existing: HashMap<ProcessId, u32>,
    /// Ids without a digest, and since when.
    failed: HashMap<u32, Instant>,
    first: u32,
    outgoing: Vec<Outgoing>,
}

impl Executables {
    /// Watches all file systems.
    ///
    /// # Errors
    /// When fanotify or threads are refused.
    pub fn start(probe: FileProbe, unwatched: UnwatchedRing, open_as_user: OpenAsUser) -> io::Result<Self> {
        let probe = Arc::new(probe);
        let group = Arc::new(Group::new()?);
        let known = Arc::new(Known::default());
        let bell = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let (tell, seen) = mpsc::sync_channel(ON_THE_WAY);
        let hurried = Arc::new(AtomicUsize::new(0));
        let (jobs, jobs_to_do) = mpsc::channel();
        Watcher {
            group: Arc::clone(&group),
            probe: Arc::clone(&probe),
            known: Arc::clone(&known),
            seen: tell.clone(),
            bell: Arc::clone(&bell),
            jobs: jobs.clone(),
            hurried: Arc::clone(&hurried),
        }
        .start(unwatched)?;
        Opener {
            probe,
            group: Arc::clone(&group),
            known: Arc::clone(&known),
            open_as_user,
            jobs: jobs_to_do,
            hurried,
            seen: tell,
            bell: Arc::clone(&bell),
        }
        .start()?;
        Ok(Self {
            known,
            group,
            seen,
            bell,
            jobs,
            recent: HashMap::new(),
            wanted: BTreeMap::new(),
            existing: HashMap::new(),
            failed: HashMap::new(),
            first: 0,
            outgoing: Vec::new(),
        })
    }

    /// The id of a program that was just executed; `None` when the kernel did not say which file it is.
    pub fn executed(&mut self, event: &ProcessEvent, now: Instant) -> Option<u32> {
        let file = &event.executable;
        if file.inode == 0 || event.kernel {
            return None;
        }
        if let Some(id) = self.known.id(file) {
            return Some(id);
        }
        let recent = self.recent.get(&event.id.tgid);
        if let Some(recent) =
            recent.and_then(|recent| recent.iter().rev().find(|recent| is_same_content(file, &recent.file)))
        {
            return Some(recent.id);
        }
        let id = self.want(event.id.tgid, file, event.watched, now);
        if !event.watched {
            // The watcher was too slow, or may not read it.
            self.ask((event.id.tgid, id), now);
        }
        Some(id)
    }

    /// The id of the program that a process of the table runs.
    pub fn of(&mut self, running: &Running, now: Instant) -> Option<u32> {
        if running.executable.inode == 0 {
            return None;
        }
        let usable = |id: &u32| {
            let failed = self.failed.get(id).is_some_and(|since| now.duration_since(*since) > FAILED_PAUSE);
            *id >= self.first && !failed
        };
        let id = self.existing.get(&running.id).copied().or(running.executable_id);
        if let Some(id) = id.filter(usable).or_else(|| self.known.id(&running.executable)) {
            return Some(id);
        }
        let id = self.want(running.id.tgid, &running.executable, false, now);
        self.ask((running.id.tgid, id), now);
        self.existing.insert(running.id, id);
        Some(id)
    }

    /// Takes over what the threads have found, at most so many files.
    pub fn collect(&mut self, most: usize, now: Instant) {
        let _ = self.bell.read();
        for taken in 0.. {
            if taken == most {
                // Come again.
                let _ = self.bell.write(1);
                return;
            }
            let Ok(seen) = self.seen.try_recv() else { return };
            match seen {
                Seen::Executed(arrival) => self.arrived(arrival, now),
                Seen::Opened(key, opened) => self.opened(key, opened, now),
                Seen::Overflow => self.outgoing.push(Outgoing::Problem(
                    "The kernel's queue of executed files overflowed: every known SHA-256 is computed again. Programs \
                     that were started and ended meanwhile may lack theirs."
                        .into(),
                )),
                Seen::Failed(why) => self.outgoing.push(Outgoing::Problem(format!(
                    "Executables are not watched any more ({why}): programs that end soon lack their SHA-256, and \
                     modifications may go unnoticed. Start picosnitch again."
                ))),
            }
        }
    }

    /// Looks after what is late. To be called now and then.
    pub fn tick(&mut self, now: Instant) {
        self.recent.retain(|_, recent| {
            recent.retain(|recent| now.duration_since(recent.since) < RECENT);
            !recent.is_empty()
        });
        let waits = |wanted: &Wanted| now.duration_since(wanted.job.since);
        let late: Vec<Key> = self
            .wanted
            .iter()
            .filter(|(_, wanted)| !wanted.asked && waits(wanted) > FANOTIFY_PATIENCE)
            .map(|(key, _)| *key)
            .collect();
        late.into_iter().for_each(|key| self.ask(key, now));
        let given_up: Vec<Key> =
            self.wanted.iter().filter(|(_, wanted)| waits(wanted) >= PATIENCE).map(|(key, _)| *key).collect();
        for key in given_up {
            self.fail(key, GONE.into(), now);
        }
        self.forget_if_too_many();
    }

    /// Whether a program has no descriptor yet.
    pub fn is_waiting(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// What is to be told to the hasher, in this order.
    pub fn take_outgoing(&mut self) -> Vec<Outgoing> {
        std::mem::take(&mut self.outgoing)
    }

    fn arrived(&mut self, arrival: Arrival, now: Instant) {
        let Arrival { id, tgid, found, file } = arrival;
        let waiting = self.wanted.range((tgid, 0)..=(tgid, u32::MAX));
        let keys: Vec<Key> = waiting
            .filter(|(_, wanted)| is_same_content(&wanted.job.executable, &found.file))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            // Hashed twice, once under each id: the event of the process came before the file.
            if let Ok(file) = file.try_clone() {
                self.wanted.remove(&key);
                self.outgoing.push(Outgoing::Hash { id: key.1, file, found });
            }
        }
        self.outgoing.push(Outgoing::Hash { id, file, found });
        self.recent.entry(tgid).or_default().push(Recent { id, file: found.file, since: now });
    }

    fn opened(&mut self, key: Key, opened: io::Result<(FdInfo, File)>, now: Instant) {
        let Some(wanted) = self.wanted.get(&key) else { return };
        match opened {
            Ok((found, file)) => {
                self.wanted.remove(&key);
                self.outgoing.push(Outgoing::Hash { id: key.1, file, found });
            }
            // The process is gone. fanotify may still bring the file, until it is given up.
            Err(error) if is_gone(&error) && wanted.watched => {}
            Err(error) if is_gone(&error) => self.fail(key, GONE.into(), now),
            Err(error) => self.fail(key, error.to_string(), now),
        }
    }

    fn want(&mut self, tgid: u32, executable: &FileIdentity, watched: bool, now: Instant) -> u32 {
        let id = self.known.new_id();
        let job = Job { id: Some(id), tgid, executable: *executable, since: now };
        self.wanted.insert((tgid, id), Wanted { job, watched, asked: false });
        id
    }

    /// Has a wanted file opened through /proc.
    fn ask(&mut self, key: Key, now: Instant) {
        let too_many = self.wanted.len() > MAX_WANTED;
        let Some(wanted) = self.wanted.get_mut(&key) else { return };
        wanted.asked = true;
        if too_many || self.jobs.send(wanted.job.clone()).is_err() {
            self.fail(key, "too many files are waited for; is a file system stuck?".into(), now);
        }
    }

    fn fail(&mut self, key: Key, why: String, now: Instant) {
        self.wanted.remove(&key);
        self.failed.insert(key.1, now);
        self.outgoing.push(Outgoing::Unhashed(key.1, why));
    }

    fn forget_if_too_many(&mut self) {
        let next = self.known.next_id();
        if next.wrapping_sub(self.first) < MAX_IDS {
            return;
        }
        self.known.clear();
        let _ = self.group.forget_modifications();
        self.recent.clear();
        self.existing.clear();
        self.failed.clear();
        // Those that are still waited for come under ids that are too old: they are asked for again when they talk.
        self.wanted.clear();
        self.first = next;
        self.outgoing.push(Outgoing::ForgetBefore(next));
    }
}

impl AsFd for Executables {
    /// Readable when there is something to collect.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}
