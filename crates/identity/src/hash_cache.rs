//! Which executables have an id, and so a digest, already: found by the state of their file, without reading it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::app_image_files::AppImageFiles;
use capture::FdInfo;
use model::FileIdentity;

/// A file that was changed less than this ago may be changed again without a new time: the times of files move in steps
/// of up to 10 ms (a tick of the kernel).
const MIN_AGE: Duration = Duration::from_millis(100);
/// The same for a file system without inode generations, where another file may take over the inode number, and whose
/// times may be as coarse as two seconds (FAT).
const MIN_AGE_WITHOUT_GENERATION: Duration = Duration::from_secs(3);

/// The ids of executables, shared by the threads that look at files. An id is never used again.
#[derive(Debug, Default)]
pub(crate) struct HashCache {
    files: Mutex<HashMap<FileIdentity, u32>>,
    next: AtomicU32,
    /// The ids of files whose report is on its way to the main thread.
    announced: Mutex<BTreeSet<u32>>,
    /// Executed files that are AppImages.
    pub(crate) app_images: AppImageFiles,
}

impl HashCache {
    pub(crate) fn new_id(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The id that [`HashCache::new_id`] will return next.
    pub(crate) fn next_id(&self) -> u32 {
        self.next.load(Ordering::Relaxed)
    }

    /// The id of a file in exactly this state.
    pub(crate) fn id(&self, file: &FileIdentity) -> Option<u32> {
        self.files().get(file).copied()
    }

    /// Adds an executed file that is reported to the main thread next, and returns its new id. From now on the main thread may give
    /// this id to processes, although it does not have the file.
    pub(crate) fn announce(&self, info: &FdInfo) -> u32 {
        let id = {
            // An id that the counter has passed is in the set.
            let mut announced = lock(&self.announced);
            let id = self.new_id();
            announced.insert(id);
            id
        };
        self.insert(info, id);
        id
    }

    /// Takes the ids of announced files that have not arrived.
    pub(crate) fn take_announced(&self) -> BTreeSet<u32> {
        std::mem::take(&mut lock(&self.announced))
    }

    /// Takes note that the report of an announced file has arrived.
    pub(crate) fn set_arrived(&self, id: u32) {
        lock(&self.announced).remove(&id);
    }

    /// Whether the report of an announced file with an id before this one has not arrived.
    pub(crate) fn awaits_before(&self, id: u32) -> bool {
        lock(&self.announced).first().is_some_and(|first| *first < id)
    }

    /// Adds a file, if every later change of it will change its identity. Returns whether it was added.
    pub(crate) fn insert(&self, info: &FdInfo, id: u32) -> bool {
        let is_settled = is_settled(info, SystemTime::now());
        if is_settled {
            self.files().insert(info.file, id);
        }
        is_settled
    }

    /// Removes a file that was modified, in all its states.
    pub(crate) fn remove(&self, file: &FileIdentity) {
        self.files().retain(|known, _| !is_same_file(known, file));
    }

    pub(crate) fn clear(&self) {
        self.files().clear();
    }

    fn files(&self) -> MutexGuard<'_, HashMap<FileIdentity, u32>> {
        lock(&self.files)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_same_file(one: &FileIdentity, other: &FileIdentity) -> bool {
    (one.device, one.inode, one.generation) == (other.device, other.inode, other.generation)
}

/// Whether the file that was opened has the content that was executed. The change times may differ, because the deletion
/// of a program right after its start changes its number of links.
pub(crate) fn is_same_content(executed: &FileIdentity, opened: &FileIdentity) -> bool {
    is_same_file(executed, opened) && (executed.size, executed.modified) == (opened.size, opened.modified)
}

fn is_settled(info: &FdInfo, now: SystemTime) -> bool {
    let file = &info.file;
    if file.generation == 0 && info.links == 0 {
        return false;
    }
    let min_age = if file.generation == 0 { MIN_AGE_WITHOUT_GENERATION } else { MIN_AGE };
    age(file.changed, now) >= min_age && age(file.modified, now) >= min_age
}

/// Whether anything about a file was changed less than `duration` ago. Its owner chooses its modification time, the kernel the
/// change time.
pub(crate) fn changed_within(file: &FileIdentity, duration: Duration) -> bool {
    age(file.changed, SystemTime::now()) < duration
}

/// The time since a time of a file: seconds, nanoseconds.
fn age((seconds, nanoseconds): (i64, u32), now: SystemTime) -> Duration {
    let changed = Duration::new(u64::try_from(seconds).unwrap_or_default(), nanoseconds);
    // After the clock was set back, a file may have a change time in the future; its next change gets a different time.
    now.duration_since(UNIX_EPOCH).unwrap_or_default().abs_diff(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(generation: u32, links: u32, changed: (i64, u32)) -> FdInfo {
        let file = FileIdentity { inode: 7, device: 1, generation, changed, ..FileIdentity::default() };
        FdInfo { file, magic: 0, links }
    }

    #[test]
    fn young_and_nameless_files_are_not_added() {
        let now = UNIX_EPOCH + Duration::new(1000, 50_000_000);
        assert!(is_settled(&info(3, 1, (999, 0)), now));
        assert!(is_settled(&info(3, 0, (999, 0)), now));
        assert!(!is_settled(&info(3, 1, (1000, 0)), now), "changed 50 ms ago");
        assert!(!is_settled(&info(0, 1, (998, 0)), now), "the number may be another file's soon");
        assert!(is_settled(&info(0, 1, (990, 0)), now));
        assert!(!is_settled(&info(0, 0, (990, 0)), now));
        assert!(is_settled(&info(3, 1, (5000, 0)), now), "from the future");
        // A modification time that its owner has set makes no file old.
        let mut touched = info(3, 1, (1000, 0));
        for modified in [(5000, 0), (10, 0)] {
            touched.file.modified = modified;
            assert!(!is_settled(&touched, now));
        }
        touched.file.modified = (1000, 0);
        touched.file.changed = (10, 0);
        assert!(!is_settled(&touched, now), "a change time that was not kept");
        let recent = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
        touched.file = FileIdentity { changed: (recent - 5, 0), modified: (recent * 2, 0), ..touched.file };
        assert!(changed_within(&touched.file, Duration::from_secs(10)));
        assert!(!changed_within(&touched.file, Duration::from_secs(2)));
    }

    #[test]
    fn a_deleted_program_is_the_one_that_ran_and_a_modified_one_is_not() {
        let ran = info(3, 1, (900, 0)).file;
        let deleted = FileIdentity { changed: (901, 0), ..ran };
        assert!(is_same_content(&ran, &deleted));
        assert!(is_same_content(&deleted, &ran));
        assert!(!is_same_content(&ran, &FileIdentity { modified: (1, 0), ..deleted }));
        assert!(!is_same_content(&ran, &FileIdentity { generation: 4, ..ran }));
        assert!(!is_same_content(&ran, &FileIdentity { size: 1, ..ran }));
    }

    #[test]
    fn a_modification_removes_every_state_of_a_file() {
        let cache = HashCache::default();
        let old = info(3, 1, (900, 0));
        let newer = info(3, 1, (901, 0));
        let other = info(4, 1, (900, 0));
        for (info, id) in [(&old, 1), (&newer, 2), (&other, 3)] {
            assert!(cache.insert(info, id));
        }
        cache.remove(&FileIdentity { changed: (950, 0), size: 9, ..old.file });
        assert_eq!(cache.id(&old.file), None);
        assert_eq!(cache.id(&newer.file), None);
        assert_eq!(cache.id(&other.file), Some(3));
    }
}
