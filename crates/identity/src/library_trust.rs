//! Whether a C library may be looked into and probed: probes act on all programs that use it, so that only root may have written it.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
};

use nix::sys::statfs::{FsType, fstatfs};

/// Bits of the mode with which others than the owner may write.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// ioctl(2) that opens the user namespace that owns a namespace (ioctl_ns(2)).
const NS_GET_USERNS: libc::c_ulong = 0xb701;
/// File systems whose files come from a program or from another machine (statfs(2)): FUSE, NFS, SMB (three versions), 9P, Coda, AFS
/// (two), Ceph and Lustre.
const FOREIGN: [i64; 11] = [
    0x6573_5546,
    0x6969,
    0x517b,
    0xff53_4d42,
    0xfe53_4d42,
    0x0102_1997,
    0x7375_7245,
    0x5346_414f,
    0x6b41_4653,
    0x00c3_6400,
    0x0bd0_0bd0,
];

/// Why a C library is not looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LibraryRefusal {
    /// It does not belong to root, or others may write to it.
    NotOfRoot,
    /// It comes from a FUSE program or from another machine.
    ForeignFileSystem,
    /// Its file system was mounted in a user namespace.
    UserNamespace,
    /// Looking into it failed.
    Failed,
}

impl LibraryRefusal {
    /// A sentence about what is not seen.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NotOfRoot => {
                "names that programs resolve with a C library that does not belong to root, or that others may write to: it is \
                 not probed"
            }
            Self::ForeignFileSystem => {
                "names that programs resolve with a C library on a file system of FUSE or of another machine: it is not probed"
            }
            Self::UserNamespace => {
                "names that programs resolve with the C library of a rootless container (its files are mounted in a user \
                 namespace): it is not probed"
            }
            Self::Failed => {
                "names that programs resolve with a C library that could not be looked into: it is not probed"
            }
        }
    }
}

/// Checks a library that a process has mapped, opened with `O_PATH`. Returns why it must not be used, if it must not.
///
/// # Errors
/// The process is gone.
pub(crate) fn check(library: &File, tgid: u32) -> io::Result<Option<LibraryRefusal>> {
    if FOREIGN.map(|number| FsType(number as _)).contains(&fstatfs(library)?.filesystem_type()) {
        return Ok(Some(LibraryRefusal::ForeignFileSystem));
    }
    let found = library.metadata()?;
    if !found.is_file() || found.uid() != 0 || found.mode() & WRITABLE_BY_OTHERS != 0 {
        return Ok(Some(LibraryRefusal::NotOfRoot));
    }
    let is_trusted = is_of_our_user_namespace(tgid)? && is_mounted_for(library, tgid)?;
    Ok((!is_trusted).then_some(LibraryRefusal::UserNamespace))
}

/// Whether the mount namespace of a process was made with rights in our user namespace: in others every user can mount file
/// systems whose files seem to be root's.
fn is_of_our_user_namespace(tgid: u32) -> io::Result<bool> {
    let namespace = File::open(format!("/proc/{tgid}/ns/mnt"))?;
    // SAFETY: the call has no argument.
    let owner = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_USERNS) };
    if owner < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened it, and nobody else owns it.
    let owner = File::from(unsafe { OwnedFd::from_raw_fd(owner) }).metadata()?;
    let ours = fs::metadata("/proc/self/ns/user")?;
    Ok((owner.dev(), owner.ino()) == (ours.dev(), ours.ino()))
}

/// Whether the file is on a mount of the mount namespace of a process, which may have got it from another one (SCM_RIGHTS).
fn is_mounted_for(file: &File, tgid: u32) -> io::Result<bool> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    let Some(id) = info.lines().find_map(|line| line.strip_prefix("mnt_id:")) else { return Ok(false) };
    // Bytes, because mount points may have any name.
    let mounts = fs::read(format!("/proc/{tgid}/mountinfo"))?;
    let first = |line: &[u8]| line.split(|byte| *byte == b' ').next() == Some(id.trim().as_bytes());
    Ok(mounts.split(|byte| *byte == b'\n').any(first))
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::{OpenOptionsExt, PermissionsExt, chown},
        path::Path,
        process::{Command, Stdio},
    };

    use super::*;

    fn checked(path: &Path, tgid: u32) -> Option<LibraryRefusal> {
        check(&File::options().read(true).custom_flags(libc::O_PATH).open(path).unwrap(), tgid).unwrap()
    }

    #[test]
    fn only_files_that_root_alone_may_write_are_taken() {
        if !nix::unistd::Uid::effective().is_root() {
            return;
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        let mode = |mode| fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        let own = std::process::id();
        mode(0o755);
        assert_eq!(checked(file.path(), own), None);
        for others in [0o775, 0o757] {
            mode(others);
            assert_eq!(checked(file.path(), own), Some(LibraryRefusal::NotOfRoot));
        }
        mode(0o755);
        chown(file.path(), Some(4242), None).unwrap();
        assert_eq!(checked(file.path(), own), Some(LibraryRefusal::NotOfRoot));
        assert_eq!(checked(Path::new("/proc"), own), Some(LibraryRefusal::NotOfRoot));
    }

    #[test]
    fn files_of_a_user_namespace_are_refused() {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", "echo; read _"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let ready = io::Read::read(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        if ready == 0 {
            eprintln!("skipped: no user namespaces here");
        } else {
            assert!(!is_of_our_user_namespace(child.id()).unwrap());
            assert!(is_of_our_user_namespace(std::process::id()).unwrap());
            let file = File::open("/proc/self/status").unwrap();
            assert!(is_mounted_for(&file, std::process::id()).unwrap());
            // Each mount namespace has mounts of its own.
            assert!(!is_mounted_for(&file, child.id()).unwrap());
        }
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
