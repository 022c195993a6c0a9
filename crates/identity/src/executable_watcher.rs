//! The thread that takes executed files from fanotify, and has every file system watched.

use std::{
    collections::HashSet,
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::OpenOptionsExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{
    executable_messages::{ExecutedFile, FileReport, MAX_EVENT_WAIT, ReportSender, UrgentRequests},
    executable_opener::open_executable,
    fanotify::{FanotifyGroup, FileEvent},
    file_writers::{WriteReport, writer_in_proc},
    hash_cache::{HashCache, changed_within, is_same_content},
    mounts::Mounts,
};
use capture::{FdInfo, FileProbe, UnwatchedProgram, UnwatchedRing};

/// How long executed files may gather in the kernel's queue: a wake-up for each of them would slow down every start of a
/// program. The queue holds the open files, so none is missed.
const GATHER_TIME: Duration = Duration::from_millis(2);
/// How long a file system that could not be watched is not tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Namespaces with devices that are remembered as tried.
const MAX_TRIED: usize = 1024;

/// The thread, before and after its start.
pub(crate) struct ExecutableWatcher {
    pub group: Arc<FanotifyGroup>,
    pub probe: Arc<FileProbe>,
    pub cache: Arc<HashCache>,
    pub sender: ReportSender,
    pub urgent: UrgentRequests,
}

impl ExecutableWatcher {
    /// Watches the file systems that are mounted, and starts the thread.
    ///
    /// # Errors
    /// When the mounts cannot be read, or the thread cannot be started.
    pub(crate) fn start(self, unwatched: UnwatchedRing) -> io::Result<()> {
        let mut mounts = Mounts::of_this_process()?;
        self.watch_mounts(&mut mounts)?;
        thread::Builder::new().name("executables".into()).spawn(move || {
            if let Err(error) = self.run(mounts, unwatched) {
                self.sender.send(FileReport::WatcherFailed(error.to_string()));
            }
        })?;
        Ok(())
    }

    fn run(&self, mut mounts: Mounts, unwatched: UnwatchedRing) -> io::Result<()> {
        let unwatched = unwatched.open()?;
        let mut tried = TriedNamespaces::default();
        let mut gather_until = Instant::now();
        loop {
            let mut ready = [
                PollFd::new(mounts.file().as_fd(), PollFlags::POLLPRI),
                PollFd::new(unwatched.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.group.as_fd(), PollFlags::POLLIN),
            ];
            // While files gather, the group is not among the polled descriptors.
            let (polled, timeout) = match Instant::now() < gather_until {
                true => (2, PollTimeout::try_from(GATHER_TIME).unwrap_or(PollTimeout::ZERO)),
                false => (3, PollTimeout::NONE),
            };
            match poll(&mut ready[..polled], timeout) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let [are_mounts_changed, has_unwatched, has_files] =
                ready.map(|ready| ready.revents().is_some_and(|events| !events.is_empty()));
            if has_unwatched {
                let programs = unwatched.take()?;
                // All files first: their processes may end any moment.
                if !programs.iter().all(|program| self.take_unwatched(program)) {
                    return Ok(());
                }
                programs.iter().filter(|program| tried.insert(program)).for_each(|program| {
                    self.watch_namespace_of(program.tgid);
                });
            }
            if are_mounts_changed {
                self.watch_mounts(&mut mounts)?;
            }
            if has_files {
                if !self.take_files()? {
                    return Ok(());
                }
                gather_until = Instant::now() + GATHER_TIME;
            }
        }
    }

    /// Opens the file of a program that fanotify does not deliver. Returns false when the main thread is gone.
    fn take_unwatched(&self, program: &UnwatchedProgram) -> bool {
        if self.cache.id(&program.executable).is_some() {
            return true;
        }
        let file = match open_executable(program.tgid) {
            Ok(file) => file,
            Err(error) => {
                if error.kind() == io::ErrorKind::PermissionDenied {
                    self.urgent.send(program.tgid, program.executable);
                }
                // The main thread requests a missing file when it has the event of the process.
                return true;
            }
        };
        let Ok(info) = self.probe.identify(file.as_fd()) else { return true };
        match is_same_content(&program.executable, &info.file) {
            true => self.report(program.tgid, info, file),
            false => true,
        }
    }

    /// Takes the events of fanotify. Returns false when the main thread is gone.
    fn take_files(&self) -> io::Result<bool> {
        let events = self.group.read()?;
        if events.overflow {
            self.cache.clear();
            self.sender.send(FileReport::Overflow);
        }
        Ok(events.events.into_iter().all(|event| self.take_file(event)))
    }

    fn take_file(&self, event: FileEvent) -> bool {
        let FileEvent { tgid, executed, modified, file } = event;
        let Ok(info) = self.probe.identify(file.as_fd()) else {
            // The main thread requests the file through /proc, or reports that there is none.
            return true;
        };
        if modified {
            self.cache.remove(&info.file);
            // The first modification is enough, and further events would slow down a program that writes much.
            let _ = self.group.watch_modifications(file.as_fd(), false);
            let writer = writer_in_proc(tgid);
            if !self.sender.send(FileReport::Written(WriteReport { file: info.file, tgid, writer })) {
                return false;
            }
        }
        if !executed {
            return true;
        }
        match self.cache.id(&info.file) {
            // The process may have executed it before this change (its deletion, for example), so that the main thread does
            // not find it in the cache.
            Some(id) if changed_within(&info.file, MAX_EVENT_WAIT) => {
                let executed = ExecutedFile { id, tgid, info, file, is_announced: false };
                self.sender.send(FileReport::Executed(executed))
            }
            Some(_) => true,
            None => self.report(tgid, info, file),
        }
    }

    fn report(&self, tgid: u32, info: FdInfo, file: File) -> bool {
        // Before the file is read. A file without a name cannot be opened for writing by another process.
        if info.links > 0 {
            let _ = self.group.watch_modifications(file.as_fd(), true);
        }
        let id = self.cache.announce(&info);
        self.cache.app_images.look_at(&info, &file);
        self.sender.send(FileReport::Executed(ExecutedFile { id, tgid, info, file, is_announced: true }))
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

    /// Watches all file systems that a process sees, and the one that its executable is on.
    fn watch_namespace_of(&self, tgid: u32) {
        let _ = self.watch(&PathBuf::from(format!("/proc/{tgid}/exe")));
        if let Ok(mut mounts) = Mounts::of_process(tgid) {
            let _ = self.watch_mounts(&mut mounts);
        }
    }

    /// Watches the file system that a path is on, and returns its device.
    fn watch(&self, path: &Path) -> io::Result<u32> {
        let flags = libc::O_PATH | libc::O_CLOEXEC;
        let opened = File::options().read(true).custom_flags(flags).open(path)?;
        let device = self.probe.identify(opened.as_fd())?.file.device;
        // Exactly what was opened, even if another file system is mounted over the path by now.
        let path = format!("/proc/self/fd/{}", opened.as_raw_fd());
        self.group.watch_file_system(Path::new(&path))?;
        Ok(device)
    }
}

/// Mount namespaces and devices that the watcher has just tried to watch.
#[derive(Default)]
struct TriedNamespaces {
    tried: HashSet<(u32, u32)>,
    since: Option<Instant>,
}

impl TriedNamespaces {
    /// Adds the namespace and the device of a program. Returns whether the watcher should try them.
    fn insert(&mut self, program: &UnwatchedProgram) -> bool {
        let is_over = self.since.is_none_or(|since| since.elapsed() > RETRY_INTERVAL);
        if is_over || self.tried.len() >= MAX_TRIED {
            self.tried.clear();
            self.since = Some(Instant::now());
        }
        !program.in_memory && self.tried.insert((program.mount_namespace, program.executable.device))
    }
}
