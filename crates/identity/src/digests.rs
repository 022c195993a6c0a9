//! SHA-256 digests of executables, computed away from everything that must not wait.
//!
//! There are two lanes: what is large, or on a file system that a stranger or another machine serves, goes into the
//! slow one, so that it holds up nobody but its like.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{FileExt, MetadataExt},
    },
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use nix::sys::eventfd::{EfdFlags, EventFd};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256 as Hasher};

use model::Sha256;

/// Files that wait in a lane; more are left without a digest.
const WAITING: usize = 16_384;
const READ_BYTES: usize = 128 * 1024;
/// Larger files go into the slow lane.
const QUICK_BYTES: u64 = 64 * 1024 * 1024;
/// Larger files are not hashed: most of such a file is a hole, made to keep somebody busy.
const MAX_BYTES: u64 = 16 * 1024 * 1024 * 1024;
/// A file system that does not answer keeps its thread for ever.
const SLOW_THREADS: usize = 4;
/// How long a file in the slow lane may take: this, and its size at a rate that any disk has.
const SLOW_PATIENCE: Duration = Duration::from_secs(60);
const SLOW_BYTES_PER_SECOND: u64 = 20 * 1024 * 1024;

/// File systems that may not answer (include/uapi/linux/magic.h, fs/smb/client/cifsglob.h, fs/ceph/super.h).
const SLOW_FILE_SYSTEMS: [u64; 8] = [
    0x6573_5546, // FUSE
    0x6969,      // NFS
    0xff53_4d42, // CIFS
    0xfe53_4d42, // SMB 2
    0x517b,      // SMB
    0x0102_1997, // 9p
    0x00c3_6400, // Ceph
    0x5346_414f, // AFS
];

/// What a file was when it was executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileState {
    /// Bytes.
    pub size: u64,
    /// Last modification (mtime): seconds, nanoseconds.
    pub modified: (i64, u32),
    /// Magic number of its file system.
    pub magic: u64,
}

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
    quick: Lane,
    slow: Lane,
}

/// The way to some hashers. A channel with a bound of its own would have all of its room in memory from the start.
struct Lane {
    files: Sender<Job>,
    waiting: Arc<AtomicUsize>,
}

impl Lane {
    /// Hands a file over; false when too many wait.
    fn take(&self, job: Job) -> bool {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        self.files.send(job).is_ok()
    }
}

struct Job {
    id: u32,
    file: File,
    file_is: FileState,
}

/// What the hashers found out.
struct Found {
    states: Mutex<HashMap<u32, State>>,
    /// When those in the slow lane are given up.
    deadlines: Mutex<HashMap<u32, Instant>>,
    /// Ids whose state is final and was not told by [`Digests::take_settled`] yet.
    settled: Mutex<Vec<u32>>,
    /// Readable while there are any.
    bell: EventFd,
}

impl Found {
    fn settle(&self, id: u32, state: State) {
        lock(&self.deadlines).remove(&id);
        match lock(&self.states).entry(id) {
            // It was given up meanwhile.
            std::collections::hash_map::Entry::Occupied(known) if *known.get() != State::Pending => return,
            entry => drop(entry.insert_entry(state)),
        }
        lock(&self.settled).push(id);
        // It fails only when nobody has listened 2^64 times.
        let _ = self.bell.write(1);
    }
}

impl Digests {
    /// Starts the hashers.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start() -> io::Result<Self> {
        let found = Arc::new(Found {
            states: Mutex::default(),
            deadlines: Mutex::default(),
            settled: Mutex::default(),
            bell: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
        });
        let lane = |name: &str, threads: usize| {
            let (sender, files) = mpsc::channel();
            let (files, waiting) = (Arc::new(Mutex::new(files)), Arc::new(AtomicUsize::new(0)));
            for _ in 0..threads {
                let (files, waiting, into) = (Arc::clone(&files), Arc::clone(&waiting), Arc::clone(&found));
                thread::Builder::new().name(name.into()).spawn(move || hash_all(&files, &waiting, &into))?;
            }
            io::Result::Ok(Lane { files: sender, waiting })
        };
        let (quick, slow) = (lane("hasher", 1)?, lane("slow hasher", SLOW_THREADS)?);
        Ok(Self { found, quick, slow })
    }

    /// Takes an executable to hash.
    pub fn add(&self, id: u32, file: File, file_is: FileState) {
        let FileState { size, magic, .. } = file_is;
        // First: the hasher may be quick.
        lock(&self.found.states).insert(id, State::Pending);
        if size > MAX_BYTES {
            return self.fail(id, format!("it is larger than {} GiB", MAX_BYTES >> 30));
        }
        let slow = size > QUICK_BYTES || SLOW_FILE_SYSTEMS.contains(&magic);
        let lane = if slow {
            let patience = SLOW_PATIENCE + Duration::from_secs(size / SLOW_BYTES_PER_SECOND);
            lock(&self.found.deadlines).insert(id, Instant::now() + patience);
            &self.slow
        } else {
            &self.quick
        };
        if !lane.take(Job { id, file, file_is }) {
            self.fail(id, "too many executables wait to be hashed".into());
        }
    }

    /// There will be no digest for this executable.
    pub fn fail(&self, id: u32, why: String) {
        self.found.settle(id, State::Unreadable(why));
    }

    /// What is known about an executable. One that is not here yet is on its way.
    pub fn state(&self, id: u32) -> State {
        lock(&self.found.states).get(&id).cloned().unwrap_or(State::Pending)
    }

    /// Executables that wait to be hashed.
    pub fn pending(&self) -> usize {
        lock(&self.found.states).values().filter(|state| **state == State::Pending).count()
    }

    /// The executables whose state has become final since the last call: a digest, or a reason why there is none. The
    /// descriptor of [`AsFd`] is readable when there are any.
    pub fn take_settled(&self) -> Vec<(u32, State)> {
        let now = Instant::now();
        let late: Vec<u32> = lock(&self.found.deadlines)
            .iter()
            .filter(|(_, deadline)| **deadline < now)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            self.fail(
                id,
                "it could not be read in time: its file system is too slow, or does not answer".into(),
            );
        }
        let _ = self.found.bell.read();
        let settled = std::mem::take(&mut *lock(&self.found.settled));
        settled.into_iter().map(|id| (id, self.state(id))).collect()
    }

    /// Waits until the hasher has nothing left to do, but not longer than `most`.
    pub fn settle(&self, most: Duration) {
        let until = Instant::now() + most;
        while Instant::now() < until && self.pending() > 0 {
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hash_all(files: &Mutex<Receiver<Job>>, waiting: &AtomicUsize, found: &Found) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        // The lock is held while waiting: one waits for a file, the others for the lock.
        let Ok(Job { id, file, file_is }) = lock(files).recv() else { return };
        waiting.fetch_sub(1, Ordering::Relaxed);
        let state = match hash_unchanged(&file, &file_is, &mut buffer) {
            Ok(digest) => State::Known(digest),
            Err(error) => State::Unreadable(error.to_string()),
        };
        found.settle(id, state);
    }
}

/// The digest of a file that nobody has modified since it was executed.
fn hash_unchanged(file: &File, file_is: &FileState, buffer: &mut [u8]) -> io::Result<Sha256> {
    let digest = hash(file, buffer)?;
    // A FUSE file system tells that to nobody but its user.
    let Ok(found) = file.metadata() else { return Ok(digest) };
    let modified = (found.mtime(), u32::try_from(found.mtime_nsec()).unwrap_or_default());
    match (found.size(), modified) == (file_is.size, file_is.modified) {
        true => Ok(digest),
        false => Err(io::Error::other("it was modified between its execution and its reading")),
    }
}

/// The digest of a whole file, wherever its position is; of the first [`MAX_BYTES`] bytes if it grows.
///
/// # Errors
/// Those of reading.
pub fn hash(file: &File, buffer: &mut [u8]) -> io::Result<Sha256> {
    let mut hasher = Hasher::new();
    let mut position = 0;
    while position <= MAX_BYTES {
        match file.read_at(buffer, position) {
            Ok(0) => return Ok(Sha256(hasher.finalize().into())),
            Ok(bytes) => {
                hasher.update(&buffer[..bytes]);
                position += bytes as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("it grows while it is read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file
    }

    /// What it is now.
    fn state(file: &File) -> FileState {
        let found = file.metadata().unwrap();
        let modified = (found.mtime(), found.mtime_nsec() as u32);
        FileState { size: found.size(), modified, magic: 0 }
    }

    fn add(digests: &Digests, id: u32, file: File) {
        let file_is = state(&file);
        digests.add(id, file, file_is);
    }

    fn unreadable() -> File {
        File::open(std::env::temp_dir()).unwrap()
    }

    #[test]
    fn a_digest_is_that_of_the_standard() {
        // FIPS 180-2, appendix B.1.
        let digest = hash(&file(b"abc"), &mut [0; 2]).unwrap();
        assert_eq!(digest.to_hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn the_hasher_tells_what_it_found() {
        let digests = Digests::start().unwrap();
        add(&digests, 1, file(b"abc"));
        add(&digests, 2, unreadable());
        digests.settle(Duration::from_secs(5));
        assert!(matches!(digests.state(1), State::Known(_)));
        assert!(matches!(digests.state(2), State::Unreadable(_)), "a directory has no bytes");
        assert_eq!(digests.state(3), State::Pending);
        assert_eq!(digests.take_settled().len(), 2);
        assert!(digests.take_settled().is_empty());
    }

    #[test]
    fn a_stuck_file_system_and_a_giant_hold_up_nobody() {
        let digests = Digests::start().unwrap();
        digests.add(1, unreadable(), FileState { size: MAX_BYTES + 1, ..FileState::default() });
        assert!(matches!(digests.state(1), State::Unreadable(_)));
        // A sparse file takes seconds.
        let giant = tempfile::tempfile().unwrap();
        giant.set_len(4 << 30).unwrap();
        add(&digests, 2, giant);
        add(&digests, 3, file(b"abc"));
        let begun = Instant::now();
        while digests.state(3) == State::Pending {
            assert!(begun.elapsed() < Duration::from_secs(5));
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(digests.state(2), State::Pending);
    }

    #[test]
    fn what_was_modified_since_its_execution_has_no_digest() {
        let digests = Digests::start().unwrap();
        let modified = file(b"abc");
        let executed = state(&modified);
        modified.write_all_at(b"abcd", 0).unwrap();
        digests.add(1, modified, executed);
        digests.settle(Duration::from_secs(5));
        assert!(matches!(digests.state(1), State::Unreadable(_)));
    }

    #[test]
    fn what_is_given_up_stays_so() {
        let digests = Digests::start().unwrap();
        add(&digests, 1, unreadable());
        digests.settle(Duration::from_secs(5));
        assert!(matches!(digests.state(1), State::Unreadable(_)));
        digests.fail(1, "late".into());
        assert_ne!(digests.state(1), State::Unreadable("late".into()));
    }
}
