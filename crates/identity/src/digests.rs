//! SHA-256 digests of executables, computed by threads of their own.
//!
//! There are two queues: files that are large, or on a file system that a user or another machine serves, go into the slow
//! one, so that they delay only each other.

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

/// Files that wait in a queue; more get no digest.
const MAX_WAITING: usize = 16_384;
const READ_BYTES: usize = 128 * 1024;
/// Larger files go into the slow queue.
const MAX_QUICK_BYTES: u64 = 64 * 1024 * 1024;
/// Larger files are not hashed: most of such a file is a hole, which an attacker makes to keep the hasher busy.
const MAX_BYTES: u64 = 16 * 1024 * 1024 * 1024;
/// Threads of the slow queue. A file system that does not answer blocks one of them for ever.
const SLOW_THREADS: usize = 4;
/// How long a file in the slow queue may take, besides the time for its size at [`MIN_SLOW_BYTES_PER_SECOND`].
const SLOW_WAIT: Duration = Duration::from_secs(60);
/// A rate that every disk has.
const MIN_SLOW_BYTES_PER_SECOND: u64 = 20 * 1024 * 1024;

/// File systems that may not answer (include/uapi/linux/magic.h, fs/smb/client/cifsglob.h, fs/ceph/super.h).
pub(crate) const SLOW_FILE_SYSTEMS: [u64; 8] = [
    0x6573_5546, // FUSE
    0x6969,      // NFS
    0xff53_4d42, // CIFS
    0xfe53_4d42, // SMB 2
    0x517b,      // SMB
    0x0102_1997, // 9p
    0x00c3_6400, // Ceph
    0x5346_414f, // AFS
];

/// The state of a file when it was executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileState {
    /// Size of the file in bytes.
    pub size: u64,
    /// Time of the last modification (mtime): seconds, nanoseconds.
    pub modified: (i64, u32),
    /// Magic number of its file system.
    pub magic: u64,
}

/// Whether the digest of an executable is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DigestState {
    /// The executable is not hashed yet.
    Pending,
    /// The SHA-256 of the file.
    Known(Sha256),
    /// There will be no digest, for this reason.
    Unreadable(String),
}

/// The digests of executables, by the ids that the monitor gave them.
pub struct Digests {
    states: Arc<SharedStates>,
    quick: HashQueue,
    slow: HashQueue,
}

/// The way to some hasher threads. A bounded channel would allocate all of its memory at the start, so the queue counts its
/// files itself.
struct HashQueue {
    files: Sender<HashRequest>,
    waiting: Arc<AtomicUsize>,
}

impl HashQueue {
    /// Adds a file. Returns false when too many wait.
    fn push(&self, request: HashRequest) -> bool {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        self.files.send(request).is_ok()
    }
}

struct HashRequest {
    id: u32,
    file: File,
    executed: FileState,
}

/// The part of the digests that the hasher threads share.
struct SharedStates {
    states: Mutex<HashMap<u32, DigestState>>,
    /// When the files in the slow queue are given up.
    deadlines: Mutex<HashMap<u32, Instant>>,
    /// Ids with a final state that [`Digests::take_settled`] has not returned yet.
    settled: Mutex<Vec<u32>>,
    /// Readable while there are settled ids.
    has_settled: EventFd,
}

impl SharedStates {
    /// Sets the final state of an id that has none yet.
    fn settle(&self, id: u32, state: DigestState) {
        lock(&self.deadlines).remove(&id);
        match lock(&self.states).get_mut(&id) {
            Some(known) if *known == DigestState::Pending => *known = state,
            // The file was given up meanwhile, or the id is forgotten.
            _ => return,
        }
        lock(&self.settled).push(id);
        // It fails only when the owner has not read it 2^64 times.
        let _ = self.has_settled.write(1);
    }
}

impl Digests {
    /// Starts the hasher threads.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start() -> io::Result<Self> {
        let states = Arc::new(SharedStates {
            states: Mutex::default(),
            deadlines: Mutex::default(),
            settled: Mutex::default(),
            has_settled: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
        });
        let start_queue = |name: &str, threads: usize| {
            let (sender, files) = mpsc::channel();
            let (files, waiting) = (Arc::new(Mutex::new(files)), Arc::new(AtomicUsize::new(0)));
            for _ in 0..threads {
                let (files, waiting, into) = (Arc::clone(&files), Arc::clone(&waiting), Arc::clone(&states));
                thread::Builder::new().name(name.into()).spawn(move || hash_all(&files, &waiting, &into))?;
            }
            io::Result::Ok(HashQueue { files: sender, waiting })
        };
        let (quick, slow) = (start_queue("hasher", 1)?, start_queue("slow hasher", SLOW_THREADS)?);
        Ok(Self { states, quick, slow })
    }

    /// Has an executable hashed. `executed` is the state of the file when it was executed.
    pub fn add(&self, id: u32, file: File, executed: FileState) {
        let FileState { size, magic, .. } = executed;
        // Before the file is in a queue, because the hasher may be quick.
        lock(&self.states.states).insert(id, DigestState::Pending);
        if size > MAX_BYTES {
            return self.fail(id, format!("it is larger than {} GiB", MAX_BYTES >> 30));
        }
        let slow = size > MAX_QUICK_BYTES || SLOW_FILE_SYSTEMS.contains(&magic);
        let queue = if slow {
            let wait = SLOW_WAIT + Duration::from_secs(size / MIN_SLOW_BYTES_PER_SECOND);
            lock(&self.states.deadlines).insert(id, Instant::now() + wait);
            &self.slow
        } else {
            &self.quick
        };
        if !queue.push(HashRequest { id, file, executed }) {
            self.fail(id, "too many executables wait to be hashed".into());
        }
    }

    /// Gives up the digest of an executable, for this reason. Its file may never have been added.
    pub fn fail(&self, id: u32, why: String) {
        lock(&self.states.states).entry(id).or_insert(DigestState::Pending);
        self.states.settle(id, DigestState::Unreadable(why));
    }

    /// The state of a digest. The executable of an unknown id is on its way.
    pub fn state(&self, id: u32) -> DigestState {
        lock(&self.states.states).get(&id).cloned().unwrap_or(DigestState::Pending)
    }

    /// Number of executables that wait to be hashed.
    fn pending(&self) -> usize {
        lock(&self.states.states).values().filter(|state| **state == DigestState::Pending).count()
    }

    /// The ids whose state has become final since the last call: a digest, or a reason why there is none. The descriptor of
    /// [`AsFd`] is readable when there are any.
    pub fn take_settled(&self) -> Vec<(u32, DigestState)> {
        let now = Instant::now();
        let late: Vec<u32> = lock(&self.states.deadlines)
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
        let _ = self.states.has_settled.read();
        let settled = std::mem::take(&mut *lock(&self.states.settled));
        settled.into_iter().map(|id| (id, self.state(id))).collect()
    }

    /// Waits until no digest is pending, but not longer than `max_wait`.
    pub fn settle(&self, max_wait: Duration) {
        let until = Instant::now() + max_wait;
        while Instant::now() < until && self.pending() > 0 {
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Removes the digests of all ids before this one.
    pub fn forget_before(&self, id: u32) {
        lock(&self.states.states).retain(|known, _| *known >= id);
        lock(&self.states.deadlines).retain(|known, _| *known >= id);
    }
}

impl AsFd for Digests {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.states.has_settled.as_fd()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hash_all(files: &Mutex<Receiver<HashRequest>>, waiting: &AtomicUsize, states: &SharedStates) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        // One thread holds the lock while it waits for a file, and the others wait for the lock.
        let Ok(HashRequest { id, file, executed }) = lock(files).recv() else { return };
        waiting.fetch_sub(1, Ordering::Relaxed);
        let state = match hash_unchanged(&file, &executed, &mut buffer) {
            Ok(digest) => DigestState::Known(digest),
            Err(error) => DigestState::Unreadable(error.to_string()),
        };
        states.settle(id, state);
    }
}

/// The digest of a file that was not modified since it was executed.
fn hash_unchanged(file: &File, executed: &FileState, buffer: &mut [u8]) -> io::Result<Sha256> {
    let digest = hash(file, buffer)?;
    // Only the user of a FUSE file system may read the metadata.
    let Ok(metadata) = file.metadata() else { return Ok(digest) };
    let modified = (metadata.mtime(), u32::try_from(metadata.mtime_nsec()).unwrap_or_default());
    match (metadata.size(), modified) == (executed.size, executed.modified) {
        true => Ok(digest),
        false => Err(io::Error::other("it was modified between its execution and its reading")),
    }
}

/// The digest of a whole file, read from its start. `buffer` is for the caller to reuse.
///
/// # Errors
/// When the file cannot be read, or has more than 16 GiB.
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

    fn state(file: &File) -> FileState {
        let found = file.metadata().unwrap();
        let modified = (found.mtime(), found.mtime_nsec() as u32);
        FileState { size: found.size(), modified, magic: 0 }
    }

    fn add(digests: &Digests, id: u32, file: File) {
        let executed = state(&file);
        digests.add(id, file, executed);
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
    fn the_hasher_settles_each_file() {
        let digests = Digests::start().unwrap();
        add(&digests, 1, file(b"abc"));
        add(&digests, 2, unreadable());
        digests.settle(Duration::from_secs(5));
        assert!(matches!(digests.state(1), DigestState::Known(_)));
        assert!(matches!(digests.state(2), DigestState::Unreadable(_)), "a directory has no bytes");
        assert_eq!(digests.state(3), DigestState::Pending);
        assert_eq!(digests.take_settled().len(), 2);
        assert!(digests.take_settled().is_empty());
    }

    #[test]
    fn a_stuck_file_system_and_a_giant_delay_no_other_file() {
        let digests = Digests::start().unwrap();
        digests.add(1, unreadable(), FileState { size: MAX_BYTES + 1, ..FileState::default() });
        assert!(matches!(digests.state(1), DigestState::Unreadable(_)));
        // A sparse file takes seconds.
        let giant = tempfile::tempfile().unwrap();
        giant.set_len(4 << 30).unwrap();
        add(&digests, 2, giant);
        add(&digests, 3, file(b"abc"));
        let begun = Instant::now();
        while digests.state(3) == DigestState::Pending {
            assert!(begun.elapsed() < Duration::from_secs(5));
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(digests.state(2), DigestState::Pending);
    }

    #[test]
    fn a_file_that_was_modified_since_its_execution_has_no_digest() {
        let digests = Digests::start().unwrap();
        let modified = file(b"abc");
        let executed = state(&modified);
        modified.write_all_at(b"abcd", 0).unwrap();
        digests.add(1, modified, executed);
        digests.settle(Duration::from_secs(5));
        assert!(matches!(digests.state(1), DigestState::Unreadable(_)));
    }

    #[test]
    fn a_digest_that_is_given_up_stays_so() {
        let digests = Digests::start().unwrap();
        add(&digests, 1, unreadable());
        digests.settle(Duration::from_secs(5));
        assert!(matches!(digests.state(1), DigestState::Unreadable(_)));
        digests.fail(1, "late".into());
        assert_ne!(digests.state(1), DigestState::Unreadable("late".into()));
    }
    #[test]
    fn a_forgotten_executable_stays_forgotten() {
        let digests = Digests::start().unwrap();
        digests.fail(1, "no file".into());
        assert_eq!(digests.state(1), DigestState::Unreadable("no file".into()));
        digests.forget_before(2);
        // Its hasher is slower than the monitor.
        digests.states.settle(1, DigestState::Known(Sha256([0; 32])));
        assert!(lock(&digests.states.states).is_empty());

        lock(&digests.states.deadlines).insert(2, Instant::now());
        digests.forget_before(3);
        assert!(digests.take_settled().iter().all(|(id, _)| *id == 1), "nothing is late");
        assert!(lock(&digests.states.states).is_empty());
    }
}
