//! Maps and links that stay in the kernel without a process, because a file in a BPF file system stands for each
//! (bpf(2), `BPF_OBJ_PIN`).

use std::{
    fs::{self, DirBuilder},
    hash::{DefaultHasher, Hash, Hasher},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use libbpf_rs::OpenObject;
use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{FsType, statfs},
};

use crate::{hook_id::HookId, load::Settings};

/// `BPF_FS_MAGIC`, include/uapi/linux/magic.h.
const BPF_FS_MAGIC: FsType = FsType(0xcafe_4a11);
/// Where distributions mount the BPF file system.
const MOUNT_POINT: &str = "/sys/fs/bpf";
/// Counted up when what the journal says changes (`change.rs`), or what a slot of a map means to user space.
const JOURNAL_FORMAT: u32 = 1;
/// Only root may look at what is pinned.
const DIRECTORY_MODE: u32 = 0o700;

/// The directory of the pins of one loaded object.
#[derive(Debug)]
pub(crate) struct Pins {
    directory: PathBuf,
}

impl Pins {
    /// Makes the directory, in a BPF file system that is mounted if need be.
    ///
    /// # Errors
    /// The errors of the file system: there is none, or it is read-only.
    pub fn make(directory: &Path) -> io::Result<Self> {
        if directory.starts_with(MOUNT_POINT) {
            mount_bpf_file_system()?;
        }
        DirBuilder::new().mode(DIRECTORY_MODE).recursive(true).create(directory)?;
        let found = fs::symlink_metadata(directory)?;
        if !found.is_dir() || found.uid() != 0 {
            return Err(io::Error::other("the directory for the pins is not root's"));
        }
        Ok(Self { directory: directory.to_owned() })
    }

    /// The file of a map. A BPF file system takes no dots (`bpf_lookup`, kernel/bpf/inode.c).
    pub fn map(&self, name: &str) -> PathBuf {
        self.directory.join(format!("map_{}", name.replace('.', "_")))
    }

    /// The file of the link of a hook.
    pub fn link(&self, hook: HookId) -> PathBuf {
        self.directory.join(format!("link_{}", hook.program()))
    }

    /// Removes all pins. What no process holds open leaves the kernel with them.
    pub fn remove(&self) {
        let _ = remove_pins(&self.directory);
    }
}

/// Mounts the BPF file system if there is none where it belongs. A monitor calls it before it gives up the right to mount.
///
/// # Errors
/// The errors of mount(2).
pub fn mount_bpf_file_system() -> io::Result<()> {
    if statfs(MOUNT_POINT)?.filesystem_type() != BPF_FS_MAGIC {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("bpf"), MOUNT_POINT, Some("bpf"), flags, Some("mode=0700"))?;
    }
    Ok(())
}

/// Removes the pins of a run that has ended: its hooks leave the kernel. Returns whether there were any.
///
/// # Errors
/// The errors of the file system.
pub fn remove_pins(directory: &Path) -> io::Result<bool> {
    match fs::remove_dir_all(directory) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A number that another object or other settings would not have: only a run with the same one can take over the maps and the
/// journal.
pub(crate) fn object_number(settings: &Settings) -> u64 {
    let mut hasher = DefaultHasher::new();
    (env!("BPF_OBJECT"), JOURNAL_FORMAT, settings.ring_buffer_pages).hash(&mut hasher);
    hasher.finish()
}

/// Lets the maps of an object be those that are pinned, and pins those that are not.
pub(crate) fn pin_maps(open: &mut OpenObject, pins: &Pins) -> libbpf_rs::Result<()> {
    for mut map in open.maps_mut() {
        let path = pins.map(&map.name().to_string_lossy());
        map.set_pin_path(path)?;
    }
    Ok(())
}
