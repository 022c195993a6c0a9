//! Opening executables of living processes, checked against what the kernel said about them.

use std::{
    fs::File,
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
};

use super::Running;

/// What identifies the content of a file as long as nothing modifies it behind the clock's back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Opens the executable of a living process.
///
/// # Errors
/// The process is gone, or runs another file by now (`NotFound`), or the file cannot be read.
pub fn open(running: &Running) -> io::Result<(File, FileIdentity)> {
    if running.inode == 0 {
        return Err(io::ErrorKind::NotFound.into());
    }
    let path = format!("/proc/{}/exe", running.id.tgid);
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)?;
    let found = file.metadata()?;
    // The device is compared too, but for file systems whose sub-volumes have device numbers of their own in stat(2):
    // there the kernel's super block has none of them.
    let device_differs = encode(found.dev()) != running.device && major(found.dev()) != 0;
    if found.ino() != running.inode || device_differs || !found.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let identity = FileIdentity {
        device: found.dev(),
        inode: found.ino(),
        size: found.size(),
        modified: (found.mtime(), found.mtime_nsec()),
        changed: (found.ctime(), found.ctime_nsec()),
    };
    Ok((file, identity))
}

fn major(device: u64) -> u32 {
    libc::major(device)
}

/// The kernel's own encoding of a device number, `MKDEV` in include/linux/kdev_t.h.
fn encode(device: u64) -> u32 {
    (libc::major(device) << 20) | libc::minor(device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::ProcessId;

    fn myself() -> Running {
        let found = std::fs::metadata("/proc/self/exe").unwrap();
        Running {
            id: ProcessId { tgid: std::process::id(), ..ProcessId::default() },
            inode: found.ino(),
            device: encode(found.dev()),
            ..Running::default()
        }
    }

    #[test]
    fn the_right_file_is_opened() {
        assert!(open(&myself()).is_ok());
    }

    #[test]
    fn another_file_is_not() {
        let other = Running { inode: myself().inode + 1, ..myself() };
        assert_eq!(open(&other).unwrap_err().kind(), io::ErrorKind::NotFound);
        let unknown = Running { inode: 0, ..myself() };
        assert_eq!(open(&unknown).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
