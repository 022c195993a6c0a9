//! Executables by the state of their file: who is in here needs no second look.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use capture::FdInfo;
use model::FileIdentity;

/// A file that was changed less than this ago may be changed again without showing it: its times move in steps of up
/// to 10 ms (a tick of the kernel).
const UNSETTLED: Duration = Duration::from_millis(100);
/// The same for a file system without inode generations, where another file may take over the number, and whose
/// times may be as coarse as two seconds (FAT).
const UNSETTLED_WITHOUT_GENERATION: Duration = Duration::from_secs(3);

/// What the threads that look at executables share: which files are known under which id. Ids are never used again.
#[derive(Debug, Default)]
pub struct Known {
    files: Mutex<HashMap<FileIdentity, u32>>,
    next: AtomicU32,
}

impl Known {
    /// An id that nobody else has.
    pub fn new_id(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The id that will be the next new one.
    pub fn next_id(&self) -> u32 {
        self.next.load(Ordering::Relaxed)
    }

    /// The id of a file in this very state.
    pub fn id(&self, file: &FileIdentity) -> Option<u32> {
        self.files().get(file).copied()
    }

    /// Remembers a file, if whatever happens to it from now on will show.
    pub fn remember(&self, found: &FdInfo, id: u32) -> bool {
        let settled = is_settled(found, SystemTime::now());
        if settled {
            self.files().insert(found.file, id);
        }
        settled
    }

    /// Forgets a file in all its states: it was modified.
    pub fn forget(&self, file: &FileIdentity) {
        self.files().retain(|known, _| !is_same_file(known, file));
    }

    /// Forgets all files.
    pub fn clear(&self) {
        self.files().clear();
    }

    fn files(&self) -> MutexGuard<'_, HashMap<FileIdentity, u32>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_same_file(one: &FileIdentity, other: &FileIdentity) -> bool {
    (one.device, one.inode, one.generation) == (other.device, other.inode, other.generation)
}

/// Whether what was opened is what was executed. The change time may be another one, older or younger: a program that
/// is deleted right after its start has one name less.
pub fn is_same_content(executed: &FileIdentity, opened: &FileIdentity) -> bool {
    is_same_file(executed, opened) && (executed.size, executed.modified) == (opened.size, opened.modified)
}

fn is_settled(found: &FdInfo, now: SystemTime) -> bool {
    let file = &found.file;
    if file.generation == 0 && found.links == 0 {
        return false;
    }
    let unsettled = if file.generation == 0 { UNSETTLED_WITHOUT_GENERATION } else { UNSETTLED };
    let (seconds, nanoseconds) = file.changed.max(file.modified);
    let changed = Duration::new(u64::try_from(seconds).unwrap_or_default(), nanoseconds);
    // A clock that was set back leaves files of the future behind, whose next change will have another time.
    now.duration_since(UNIX_EPOCH).unwrap_or_default().abs_diff(changed) >= unsettled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(generation: u32, links: u32, changed: (i64, u32)) -> FdInfo {
        let file = FileIdentity { inode: 7, device: 1, generation, changed, ..FileIdentity::default() };
        FdInfo { file, magic: 0, links }
    }

    #[test]
    fn young_and_nameless_files_are_not_remembered() {
        let now = UNIX_EPOCH + Duration::new(1000, 50_000_000);
        assert!(is_settled(&found(3, 1, (999, 0)), now));
        assert!(is_settled(&found(3, 0, (999, 0)), now));
        assert!(!is_settled(&found(3, 1, (1000, 0)), now), "changed 50 ms ago");
        assert!(!is_settled(&found(0, 1, (998, 0)), now), "the number may be another file's soon");
        assert!(is_settled(&found(0, 1, (990, 0)), now));
        assert!(!is_settled(&found(0, 0, (990, 0)), now));
        assert!(is_settled(&found(3, 1, (5000, 0)), now), "from the future");
    }

    #[test]
    fn a_deleted_program_is_the_one_that_ran_and_a_modified_one_is_not() {
        let ran = found(3, 1, (900, 0)).file;
        let deleted = FileIdentity { changed: (901, 0), ..ran };
        assert!(is_same_content(&ran, &deleted));
        assert!(is_same_content(&deleted, &ran));
        assert!(!is_same_content(&ran, &FileIdentity { modified: (1, 0), ..deleted }));
        assert!(!is_same_content(&ran, &FileIdentity { generation: 4, ..ran }));
        assert!(!is_same_content(&ran, &FileIdentity { size: 1, ..ran }));
    }

    #[test]
    fn a_modification_forgets_every_state_of_a_file() {
        let known = Known::default();
        let old = found(3, 1, (900, 0));
        let newer = found(3, 1, (901, 0));
        let other = found(4, 1, (900, 0));
        for (found, id) in [(&old, 1), (&newer, 2), (&other, 3)] {
            assert!(known.remember(found, id));
        }
        known.forget(&FileIdentity { changed: (950, 0), size: 9, ..old.file });
        assert_eq!(known.id(&old.file), None);
        assert_eq!(known.id(&newer.file), None);
        assert_eq!(known.id(&other.file), Some(3));
    }
}
