//! SHA-256 digests of executables, computed away from everything that must not wait.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    thread,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256 as Hasher};

use crate::model::Sha256;

/// Files that wait for the hasher; more are left without a digest and reported.
const WAITING: usize = 1024;
const READ_BYTES: usize = 128 * 1024;

/// What is known about an executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The hasher has not come to it.
    Pending,
    /// Its digest.
    Known(Sha256),
    /// It could not be read.
    Unreadable,
}

/// Executables by the ids that the monitor gave them.
pub struct Digests {
    states: Arc<Mutex<HashMap<u32, State>>>,
    hasher: SyncSender<(u32, File)>,
}

impl Digests {
    /// Starts the hasher.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start() -> io::Result<Self> {
        let (hasher, files) = mpsc::sync_channel(WAITING);
        let states = Arc::new(Mutex::new(HashMap::new()));
        let into = Arc::clone(&states);
        thread::Builder::new().name("hasher".into()).spawn(move || hash_all(&files, &into))?;
        Ok(Self { states, hasher })
    }

    /// Takes an executable to hash. Returns false when too many wait already: then it stays without a digest.
    pub fn add(&self, id: u32, file: File) -> bool {
        let taken = match self.hasher.try_send((id, file)) {
            Ok(()) => State::Pending,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => State::Unreadable,
        };
        // The hasher may have been quicker.
        lock(&self.states).entry(id).or_insert(taken);
        taken == State::Pending
    }

    /// What is known about an executable; one that was never added is unreadable.
    pub fn state(&self, id: u32) -> State {
        lock(&self.states).get(&id).copied().unwrap_or(State::Unreadable)
    }

    /// Waits until the hasher has nothing left to do, but not longer than `most`.
    pub fn settle(&self, most: Duration) {
        let until = Instant::now() + most;
        while Instant::now() < until && lock(&self.states).values().any(|state| *state == State::Pending) {
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Forgets all executables before this one.
    pub fn forget_before(&self, id: u32) {
        lock(&self.states).retain(|known, _| *known >= id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hash_all(files: &Receiver<(u32, File)>, states: &Mutex<HashMap<u32, State>>) {
    let mut buffer = vec![0; READ_BYTES];
    for (id, file) in files {
        let state = hash(file, &mut buffer).map_or(State::Unreadable, State::Known);
        lock(states).insert(id, state);
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
        assert!(digests.add(1, File::open(&path).unwrap()));
        assert!(digests.add(2, File::open(directory.path()).unwrap()));
        digests.settle(Duration::from_secs(5));
        assert!(matches!(digests.state(1), State::Known(_)));
        assert_eq!(digests.state(2), State::Unreadable, "a directory has no bytes");
        assert_eq!(digests.state(3), State::Unreadable);
    }
}
