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
        mpsc::{Receiver, SyncSender},
    },
    thread,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::EventFd,
};

use super::{
    executables::Seen,
    fanotify::{FileEvent, Group},
    known::Known,
    mounts::Mounts,
};
use crate::capture::{FileProbe, Found};

/// A file that was executed and is not known.
#[derive(Debug)]
pub struct Arrival {
    /// Its new id.
    pub id: u32,
    /// Who executed it: thread-group id.
    pub tgid: u32,
    /// Which file it is.
    pub found: Found,
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
    /// Thread-group ids of processes that executed something on a file system that is not watched.
    pub unwatched: Receiver<u32>,
    /// Rung by who sends one.
    pub call: Arc<EventFd>,
}

impl Watcher {
    /// Starts the thread, after the file systems that are there are watched.
    ///
    /// # Errors
    /// When the mounts cannot be read, or no thread can be started.
    pub fn start(self) -> io::Result<()> {
        let mut mounts = Mounts::of_this_process()?;
        self.watch_mounts(&mut mounts)?;
        thread::Builder::new().name("executables".into()).spawn(move || self.run(mounts))?;
        Ok(())
    }

    fn run(self, mut mounts: Mounts) {
        loop {
            let mut ready = [
                PollFd::new(self.group.as_fd(), PollFlags::POLLIN),
                PollFd::new(mounts.file().as_fd(), PollFlags::POLLPRI),
                PollFd::new(self.call.as_fd(), PollFlags::POLLIN),
            ];
            if let Err(error) = poll(&mut ready, PollTimeout::NONE)
                && error != nix::errno::Errno::EINTR
            {
                self.tell(Seen::Failed(format!("waiting for executables failed: {error}")));
                return;
            }
            let [files, changed, called] =
                ready.map(|ready| ready.revents().is_some_and(|events| !events.is_empty()));
            // First of all the mounts: a program may be run right after.
            if changed && let Err(error) = self.watch_mounts(&mut mounts) {
                self.tell(Seen::Failed(format!("the mounted file systems cannot be read: {error}")));
            }
            if called {
                let _ = self.call.read();
                while let Ok(tgid) = self.unwatched.try_recv() {
                    self.watch_namespace_of(tgid);
                }
            }
            if files && !self.take_files() {
                return;
            }
        }
    }

    /// Tells the main thread; false when there is none any more.
    fn tell(&self, seen: Seen) -> bool {
        let told = self.seen.send(seen).is_ok();
        let _ = self.bell.write(1);
        told
    }

    fn take_files(&self) -> bool {
        let events = match self.group.read() {
            Ok(events) => events,
            Err(error) => {
                self.tell(Seen::Failed(format!("executed files cannot be read: {error}")));
                return false;
            }
        };
        if events.overflow {
            self.known.clear();
            self.tell(Seen::Overflow);
        }
        events.events.into_iter().all(|event| self.take_file(event))
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
        self.probe.set_watched(device);
        Ok(device)
    }
}
