//! The thread that takes executed files from fanotify, and sees to it that every file system is watched.

use std::{
    collections::HashSet,
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::OpenOptionsExt,
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Sender, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::EventFd,
};

use super::{
    executables::Seen,
    fanotify::{FileEvent, Group},
    known::{Known, is_same_content},
    mounts::Mounts,
    opener::{Job, MAX_HURRIED, open_executable},
};
use capture::{FdInfo, FileProbe, UnwatchedProgram, UnwatchedRing};

/// How long executed files are left to gather in the kernel's queue: to be woken for each of them would slow down whoever
/// starts programs. The queue holds the files themselves, so nothing is missed.
const GATHERING: Duration = Duration::from_millis(2);
/// How long a place that could not be watched is not tried again.
const VISITS: Duration = Duration::from_secs(1);
/// Places that are remembered.
const MAX_VISITED: usize = 1024;

/// A file that was executed and is not known.
#[derive(Debug)]
pub struct Arrival {
    /// Its new id.
    pub id: u32,
    /// Who executed it: thread-group id.
    pub tgid: u32,
    /// Which file it is.
    pub found: FdInfo,
    /// The file.
    pub file: File,
}

/// What the thread needs.
pub(super) struct Watcher {
    pub group: Arc<Group>,
    pub probe: Arc<FileProbe>,
    pub known: Arc<Known>,
    /// Where it tells what it saw; it waits when nobody listens, and so does the kernel's queue.
    pub seen: SyncSender<Seen>,
    /// Rung after that.
    pub bell: Arc<EventFd>,
    /// The way to who opens what only its user may read.
    pub jobs: Sender<Job>,
    /// How many of its jobs are not done.
    pub hurried: Arc<AtomicUsize>,
}

impl Watcher {
    /// Starts the thread, after the file systems that are there are watched.
    ///
    /// # Errors
    /// When the mounts cannot be read, or no thread can be started.
    pub fn start(self, unwatched: UnwatchedRing) -> io::Result<()> {
        let mut mounts = Mounts::of_this_process()?;
        self.watch_mounts(&mut mounts)?;
        thread::Builder::new().name("executables".into()).spawn(move || {
            if let Err(error) = self.run(mounts, unwatched) {
                self.tell(Seen::Failed(error.to_string()));
            }
        })?;
        Ok(())
    }

    fn run(&self, mut mounts: Mounts, unwatched: UnwatchedRing) -> io::Result<()> {
        let unwatched = unwatched.open()?;
        let mut visited = Visited::default();
        let mut gather_until = Instant::now();
        loop {
            let mut ready = [
                PollFd::new(mounts.file().as_fd(), PollFlags::POLLPRI),
                PollFd::new(unwatched.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.group.as_fd(), PollFlags::POLLIN),
            ];
            // What is not among the polled wakes nobody.
            let (polled, timeout) = match Instant::now() < gather_until {
                true => (2, PollTimeout::try_from(GATHERING).unwrap_or(PollTimeout::ZERO)),
                false => (3, PollTimeout::NONE),
            };
            match poll(&mut ready[..polled], timeout) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let [changed, hurried, files] =
                ready.map(|ready| ready.revents().is_some_and(|events| !events.is_empty()));
            if hurried {
                let programs = unwatched.take()?;
                // All files first: their processes may end any moment.
                if !programs.iter().all(|program| self.take_unwatched(program)) {
                    return Ok(());
                }
                programs.iter().filter(|program| visited.is_new(program)).for_each(|program| {
                    self.watch_namespace_of(program.tgid);
                });
            }
            if changed {
                self.watch_mounts(&mut mounts)?;
            }
            if files {
                if !self.take_files()? {
                    return Ok(());
                }
                gather_until = Instant::now() + GATHERING;
            }
        }
    }

    /// Tells the main thread; false when there is none any more.
    fn tell(&self, seen: Seen) -> bool {
        let told = self.seen.send(seen).is_ok();
        let _ = self.bell.write(1);
        told
    }

    /// Opens the file of a program that fanotify does not hand over; false when nobody listens any more.
    fn take_unwatched(&self, program: &UnwatchedProgram) -> bool {
        if self.known.id(&program.executable).is_some() {
            return true;
        }
        let file = match open_executable(program.tgid) {
            Ok(file) => file,
            Err(error) => {
                if error.kind() == io::ErrorKind::PermissionDenied {
                    self.hurry(program);
                }
                // Whatever else is missing is asked for again by the main thread.
                return true;
            }
        };
        let Ok(found) = self.probe.identify(file.as_fd()) else { return true };
        match is_same_content(&program.executable, &found.file) {
            true => self.hand_over(program.tgid, found, file),
            false => true,
        }
    }

    /// Has a file opened with the rights of its user, before the main thread would ask for it.
    fn hurry(&self, program: &UnwatchedProgram) {
        let UnwatchedProgram { tgid, executable, .. } = *program;
        if self.hurried.fetch_add(1, Ordering::Relaxed) < MAX_HURRIED {
            let _ = self.jobs.send(Job { id: None, tgid, executable, since: Instant::now() });
        } else {
            self.hurried.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Takes what fanotify has; false when nobody listens any more.
    fn take_files(&self) -> io::Result<bool> {
        let events = self.group.read()?;
        if events.overflow {
            self.known.clear();
            self.tell(Seen::Overflow);
        }
        Ok(events.events.into_iter().all(|event| self.take_file(event)))
    }

    fn take_file(&self, event: FileEvent) -> bool {
        let FileEvent { tgid, executed, modified, file } = event;
        let Ok(found) = self.probe.identify(file.as_fd()) else {
            // Who waits for it opens it in another way, or tells that there is none.
            return true;
        };
        if modified {
            self.known.forget(&found.file);
            // The first modification says all, and a program that writes much is not to be slowed down.
            let _ = self.group.watch_modifications(file.as_fd(), false);
        }
        if !executed || self.known.id(&found.file).is_some() {
            return true;
        }
        self.hand_over(tgid, found, file)
    }

    fn hand_over(&self, tgid: u32, found: FdInfo, file: File) -> bool {
        // Before anybody reads it. A file without a name cannot be opened for writing by strangers.
        if found.links > 0 {
            let _ = self.group.watch_modifications(file.as_fd(), true);
        }
        let id = self.known.new_id();
        self.known.remember(&found, id);
        self.tell(Seen::Executed(Arrival { id, tgid, found, file }))
    }

    fn watch_mounts(&self, mounts: &mut Mounts) -> io::Result<()> {
        let mut watched = HashSet::new();
        for (device, path) in mounts.read()? {
            if !watched.contains(&device)
                && let Ok(found) = self.watch(&path)
            {
                watched.insert(found);
            }
        }
        Ok(())
    }

    /// All file systems that a process sees, and the one its executable is on.
    fn watch_namespace_of(&self, tgid: u32) {
        let _ = self.watch(&PathBuf::from(format!("/proc/{tgid}/exe")));
        if let Ok(mut mounts) = Mounts::of_process(tgid) {
            let _ = self.watch_mounts(&mut mounts);
        }
    }

    /// Watches the file system of a path, and returns its device.
    fn watch(&self, path: &Path) -> io::Result<u32> {
        let flags = libc::O_PATH | libc::O_CLOEXEC;
        let place = File::options().read(true).custom_flags(flags).open(path)?;
        let device = self.probe.identify(place.as_fd())?.file.device;
        // Exactly what was opened, whatever is mounted over the path by now.
        let path = format!("/proc/self/fd/{}", place.as_raw_fd());
        self.group.watch_file_system(Path::new(&path))?;
        Ok(device)
    }
}

/// Mount namespaces and devices where the watcher has just been.
#[derive(Default)]
struct Visited {
    places: HashSet<(u32, u32)>,
    since: Option<Instant>,
}

impl Visited {
    fn is_new(&mut self, program: &UnwatchedProgram) -> bool {
        if self.places.len() >= MAX_VISITED || self.since.is_none_or(|since| since.elapsed() > VISITS) {
            self.places.clear();
            self.since = Some(Instant::now());
        }
        !program.in_memory && self.places.insert((program.mount_namespace, program.executable.device))
    }
}
