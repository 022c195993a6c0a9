//! SHA-256 digests of executables, computed away from everything that must not wait.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    thread,
    time::{Duration, Instant},
};

use nix::sys::eventfd::{EfdFlags, EventFd};
use sha2::{Digest, Sha256 as Hasher};

use crate::model::Sha256;

/// Files that wait for the hasher; more are left without a digest and reported.
const WAITING: usize = 1024;
const READ_BYTES: usize = 128 * 1024;

/// What is known about an executable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The hasher has not come to it.
    Pending,
    /// Its digest.
    Known(Sha256),
    /// There will be none: why.
    Unreadable(String),
}

/// Executables by the ids that the monitor gave them.
pub struct Digests {
    found: Arc<Found>,
    hasher: SyncSender<(u32, File)>,
}

/// What the hasher found out.
struct Found {
    states: Mutex<HashMap<u32, State>>,
    /// Ids whose state is final and was not told by [`Digests::take_settled`] yet.
    settled: Mutex<Vec<u32>>,
    /// Readable while there are any.
    bell: EventFd,
}

impl Found {
    fn settle(&self, id: u32, state: State) {
        lock(&self.states).insert(id, state);
        lock(&self.settled).push(id);
        // It fails only when nobody has listened 2^64 times.
        let _ = self.bell.write(1);
    }
}

impl Digests {
    /// Starts the hasher.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start() -> io::Result<Self> {
        let (hasher, files) = mpsc::sync_channel(WAITING);
        let found = Arc::new(Found {
            states: Mutex::default(),
            settled: Mutex::default(),
            bell: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
        });
        let into = Arc::clone(&found);
        thread::Builder::new().name("hasher".into()).spawn(move || hash_all(&files, &into))?;
        Ok(Self { found, hasher })
    }

    /// Takes an executable to hash. When too many wait already, it stays without a digest.
    pub fn add(&self, id: u32, file: File) {
        // First: the hasher may be quick.
        lock(&self.found.states).insert(id, State::Pending);
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.hasher.try_send((id, file)) {
            self.fail(id, "too many new programs at once".into());
        }
    }

    /// There will be no digest for this executable.
    pub fn fail(&self, id: u32, why: String) {
        self.found.settle(id, State::Unreadable(why));
    }

    /// What is known about an executable; one that was never added is unreadable.
    pub fn state(&self, id: u32) -> State {
        let unknown = || State::Unreadable("it was never seen".into());
        lock(&self.found.states).get(&id).cloned().unwrap_or_else(unknown)
    }

    /// The executables whose state has become final since the last call: a digest, or a reason why there is none. The
    /// descriptor of [`AsFd`] is readable when there are any.
    pub fn take_settled(&self) -> Vec<(u32, State)> {
        let _ = self.found.bell.read();
        let settled = std::mem::take(&mut *lock(&self.found.settled));
        settled.into_iter().map(|id| (id, self.state(id))).collect()
    }

    /// Waits until the hasher has nothing left to do, but not longer than `most`.
    pub fn settle(&self, most: Duration) {
        let until = Instant::now() + most;
        while Instant::now() < until
            && lock(&self.found.states).values().any(|state| *state == State::Pending)
        {
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Forgets all executables before this one.
    pub fn forget_before(&self, id: u32) {
        lock(&self.found.states).retain(|known, _| *known >= id);
    }
}

impl AsFd for Digests {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.found.bell.as_fd()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hash_all(files: &Receiver<(u32, File)>, found: &Found) {
    let mut buffer = vec![0; READ_BYTES];
    for (id, file) in files {
        let state =
            hash(file, &mut buffer).map_or_else(|error| State::Unreadable(error.to_string()), State::Known);
        found.settle(id, state);
    }
}

/// The digest of what is left to read.
///
/// # Errors
/// Those of reading.
pub fn hash(mut file: impl Read, buffer: &mut [u8]) -> io::Result<Sha256> {
    let mut hasher = Hasher::new();
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok(Sha256(hasher.finalize().into())),
            Ok(bytes) => hasher.update(&buffer[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_that_of_the_standard() {
        // FIPS 180-2, appendix B.1.
        let digest = hash(&b"abc"[..], &mut [0; 2]).unwrap();
        assert_eq!(digest.to_hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn the_hasher_tells_what_it_found() {
        let digests = Digests::start().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, b"abc").unwrap();
        digests.add(1, File::open(&path).unwrap());
        digests.add(2, File::open(directory.path()).unwrap());
        digests.settle(Duration::from_secs(5));
        assert!(matches!(digests.state(1), State::Known(_)));
        assert!(matches!(digests.state(2), State::Unreadable(_)), "a directory has no bytes");
        assert!(matches!(digests.state(3), State::Unreadable(_)));
        assert_eq!(digests.take_settled().len(), 2);
        assert!(digests.take_settled().is_empty());
    }
}
