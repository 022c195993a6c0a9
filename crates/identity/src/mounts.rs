//! The mounted file systems of the mount namespaces that programs run in.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read, Seek},
    os::unix::ffi::OsStringExt,
    path::PathBuf,
};

use model::Mount;

/// Bytes that are read of one mountinfo file: about 10,000 mounts.
pub(crate) const MAX_MOUNTINFO_BYTES: u64 = 2 * 1024 * 1024;

/// File system types without programs. They must not be opened, because that has effects on some: `autofs` mounts.
const WITHOUT_PROGRAMS: [&str; 24] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "efivarfs",
    "fusectl",
    "mqueue",
    "nfsd",
    "nsfs",
    "pipefs",
    "proc",
    "pstore",
    "resctrl",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "smackfs",
    "sockfs",
    "sysfs",
    "tracefs",
];

/// The mount table of one namespace. While it is open, the namespace and all its mounts live on, so the table of another
/// namespace must not be kept.
pub(crate) struct Mounts {
    mountinfo: File,
    /// The directory that the mount points are below: `/proc/PID/root`.
    root: PathBuf,
}

impl Mounts {
    /// The mounts that a process sees.
    ///
    /// # Errors
    /// When the process is gone.
    pub(crate) fn of_process(tgid: u32) -> io::Result<Self> {
        Ok(Self {
            mountinfo: File::open(format!("/proc/{tgid}/mountinfo"))?,
            root: format!("/proc/{tgid}/root").into(),
        })
    }

    /// The mounts that picosnitch sees.
    ///
    /// # Errors
    /// When /proc is not mounted.
    pub(crate) fn of_this_process() -> io::Result<Self> {
        Ok(Self { mountinfo: File::open("/proc/self/mountinfo")?, root: PathBuf::from("/") })
    }

    /// The mountinfo file, which is ready for `POLLPRI` after a change.
    pub(crate) fn file(&self) -> &File {
        &self.mountinfo
    }

    /// The mounts of file systems that may have programs, newest first, each with its device.
    ///
    /// # Errors
    /// When the namespace is gone.
    pub(crate) fn read(&mut self) -> io::Result<Vec<(u32, PathBuf)>> {
        let mut text = Vec::new();
        self.mountinfo.rewind()?;
        (&self.mountinfo).take(MAX_MOUNTINFO_BYTES).read_to_end(&mut text)?;
        Ok(mounts(&text).into_iter().map(|(device, path)| (device, self.root.join(path))).collect())
    }
}

/// The device and the mount point, without its leading slash, of each mount of a file system that may have programs, from
/// the last line of a mountinfo file to the first.
fn mounts(mountinfo: &[u8]) -> Vec<(u32, PathBuf)> {
    let may_have_programs =
        |mount: &Mount<'_>| !WITHOUT_PROGRAMS.iter().any(|name| name.as_bytes() == mount.kind);
    let below_root = |mount: Mount<'_>| {
        let path = mount.point.strip_prefix(b"/").unwrap_or(&mount.point).to_vec();
        (mount.device, PathBuf::from(OsString::from_vec(path)))
    };
    Mount::parse_all(mountinfo).rev().filter(may_have_programs).map(below_root).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_with_programs_are_found() {
        let text = b"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
                     23 22 0:21 / /proc rw - proc proc rw\n\
                     24 22 8:1 /home /mnt/a\\040b rw master:3 propagate_from:2 - ext4 /dev/sda1 rw\n\
                     25 22 0:44 / /tmp\\011x rw - tmpfs tmpfs rw\n\
                     garbage\n\n";
        let found = mounts(text);
        assert_eq!(found, [(44, "tmp\tx".into()), (8 << 20 | 1, "mnt/a b".into()), (8 << 20 | 1, "".into())]);
    }

    #[test]
    fn this_machine_has_a_root() {
        let mounts = Mounts::of_this_process().unwrap().read().unwrap();
        assert!(mounts.iter().any(|(_, path)| path.as_os_str() == "/"), "{mounts:?}");
    }
}
