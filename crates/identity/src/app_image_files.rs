//! Which executed files are AppImages: their header says so.

use std::{
    collections::HashMap,
    fs::File,
    os::unix::fs::{FileExt, MetadataExt},
    sync::{Mutex, PoisonError},
};

use crate::digests::SLOW_FILE_SYSTEMS;
use capture::FdInfo;
use model::FileIdentity;

/// AppImages that are remembered.
const MAX_FILES: usize = 4096;

/// The files that are AppImages, by the state of their content.
#[derive(Debug, Default)]
pub(crate) struct AppImageFiles(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The owner of each file, and when it was added.
    files: HashMap<FileIdentity, (u32, u64)>,
    added: u64,
}

impl AppImageFiles {
    /// Looks at an executed file. Files of file systems that may not answer are not read.
    pub(crate) fn look_at(&self, info: &FdInfo, file: &File) {
        if SLOW_FILE_SYSTEMS.contains(&info.magic) || !is_app_image(file) {
            return;
        }
        let Ok(metadata) = file.metadata() else { return };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).add(content_key(&info.file), metadata.uid());
    }

    pub(crate) fn contains(&self, file: &FileIdentity) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).files.contains_key(&content_key(file))
    }
}

impl Known {
    /// Adds a file. If there are too many, the oldest of the user who owns most of them goes.
    fn add(&mut self, file: FileIdentity, owner: u32) {
        if self.files.len() >= MAX_FILES && !self.files.contains_key(&file) {
            let mut owned = HashMap::<u32, usize>::new();
            for (owner, _) in self.files.values() {
                *owned.entry(*owner).or_default() += 1;
            }
            let most = owned.into_iter().max_by_key(|(_, count)| *count).map(|(owner, _)| owner);
            let of_most = self.files.iter().filter(|(_, (owner, _))| Some(*owner) == most);
            if let Some(oldest) = of_most.min_by_key(|(_, (_, added))| *added).map(|(file, _)| *file) {
                self.files.remove(&oldest);
            }
        }
        self.added += 1;
        self.files.insert(file, (owner, self.added));
    }
}

/// The identity without the time of change, which differs once the file has another name.
fn content_key(file: &FileIdentity) -> FileIdentity {
    FileIdentity { changed: (0, 0), ..*file }
}

/// Whether the header of a file is that of an AppImage: "AI" and its version in the padding of the ELF identification.
fn is_app_image(file: &File) -> bool {
    let mut head = [0; 11];
    file.read_exact_at(&mut head, 0).is_ok()
        && head.starts_with(b"\x7fELF")
        && matches!(head[8..], [b'A', b'I', 1 | 2])
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn identity(inode: u64) -> FileIdentity {
        FileIdentity { inode, device: 44, ..FileIdentity::default() }
    }

    #[test]
    fn the_header_shows_an_app_image() {
        for (head, expected) in [
            (&b"\x7fELF\x02\x01\x01\0AI\x02\0\0"[..], true),
            (b"\x7fELF\x02\x01\x01\0AI\x01\0\0", true),
            (b"\x7fELF\x02\x01\x01\0AI\x03\0\0", false),
            (b"\x7fELF\x02\x01\x01\0\0\0\0\0\0", false),
            (b"#!AppIm\0AI\x02\0\0", false),
            (b"\x7fELF", false),
        ] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(head).unwrap();
            assert_eq!(is_app_image(&file), expected, "{head:?}");
            let files = AppImageFiles::default();
            let info = FdInfo { file: identity(7), magic: 0xef53, links: 1 };
            files.look_at(&info, &file);
            assert_eq!(files.contains(&FileIdentity { changed: (1, 1), ..info.file }), expected);
            files.look_at(&FdInfo { file: identity(8), magic: SLOW_FILE_SYSTEMS[0], links: 1 }, &file);
            assert!(!files.contains(&identity(8)));
        }
    }

    #[test]
    fn the_files_of_one_user_do_not_displace_those_of_others() {
        let mut known = Known::default();
        known.add(identity(1), 0);
        for inode in 2..=MAX_FILES as u64 + 9 {
            known.add(identity(inode), 1000);
        }
        assert_eq!(known.files.len(), MAX_FILES);
        assert!(known.files.contains_key(&identity(1)));
        assert!(!known.files.contains_key(&identity(2)), "the oldest");
        assert!(known.files.contains_key(&identity(MAX_FILES as u64 + 9)));
    }
}
