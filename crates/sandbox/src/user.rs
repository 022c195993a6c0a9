//! The users that roles run as. None of them is root, but for a web server of a log that only root can read.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use nix::unistd::{self, Gid, Uid};

/// The user that packages and `make run` create.
const SERVICE_USER: &str = "picosnitch";
/// `nobody` and its group on every distribution that reserves one (`overflowuid` of the kernel).
pub(crate) const NOBODY: u32 = 65_534;

/// A user and its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// The user id, real, effective and saved.
    pub uid: Uid,
    /// The group id. A role has no supplementary groups.
    pub gid: Gid,
}

impl User {
    /// The user who owns nothing.
    pub fn nobody() -> Self {
        Self { uid: Uid::from_raw(NOBODY), gid: Gid::from_raw(NOBODY) }
    }

    /// Takes the group of this user and no other one, as far as this process has the right to. Makes system calls only.
    ///
    /// # Errors
    /// See setgroups(2) and setresgid(2).
    pub(crate) fn take_group(&self) -> io::Result<()> {
        let gid = self.gid.as_raw();
        // SAFETY: numbers only, and an empty list.
        let changed = unsafe {
            libc::geteuid() != 0
                || libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()) == 0
                    && libc::syscall(libc::SYS_setresgid, gid, gid, gid) == 0
        };
        if changed { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// The service user, which owns the log at `database`: the owner of its directory if that is not root, else the user
    /// picosnitch, else nobody. A directory that is not there yet will belong to root.
    ///
    /// # Errors
    /// The directory or the list of users cannot be read.
    pub fn of_log(database: &Path) -> io::Result<Self> {
        let directory = database.parent().ok_or(io::ErrorKind::NotFound)?;
        let owner = match directory.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Uid::from_raw(0),
            found => Uid::from_raw(found?.uid()),
        };
        let user = match owner.is_root() {
            true => unistd::User::from_name(SERVICE_USER)?.filter(|user| !user.uid.is_root()),
            false => unistd::User::from_uid(owner)?,
        };
        Ok(match user {
            Some(user) => Self { uid: user.uid, gid: user.gid },
            None if owner.is_root() => Self::nobody(),
            None => Self { uid: owner, gid: Gid::from_raw(NOBODY) },
        })
    }

    /// The real user and group of a process.
    ///
    /// # Errors
    /// `NotFound` when the process has ended.
    pub fn of_process(tgid: u32) -> io::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{tgid}/status"))?;
        Ok(Self::in_status(&status).ok_or(io::ErrorKind::NotFound)?)
    }

    /// The real ids in a status file (proc_pid_status(5)).
    fn in_status(status: &str) -> Option<Self> {
        let first = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_ascii_whitespace().next()?.parse().ok()
        };
        Some(Self { uid: Uid::from_raw(first("Uid:")?), gid: Gid::from_raw(first("Gid:")?) })
    }

    /// The name of the user and that of the group, or their numbers where they have none.
    pub fn names(&self) -> (String, String) {
        let user = unistd::User::from_uid(self.uid).ok().flatten().map(|user| user.name);
        let group = unistd::Group::from_gid(self.gid).ok().flatten().map(|group| group.name);
        (user.unwrap_or_else(|| self.uid.to_string()), group.unwrap_or_else(|| self.gid.to_string()))
    }

    /// A sentence about the consequences when the recorder runs as nobody, and how to avoid them.
    pub fn advice(&self) -> Option<&'static str> {
        (self.uid.as_raw() == NOBODY).then_some(
            "There is no user picosnitch: the recorder runs as nobody, whose other processes could change the log. Make \
             one with: useradd --system --no-create-home --shell /usr/sbin/nologin picosnitch",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_ids_of_a_process_count() {
        let status = "Name:\tx\nUid:\t1000\t0\t0\t0\nGid:\t100\t5\t5\t5\n";
        let user = User { uid: Uid::from_raw(1000), gid: Gid::from_raw(100) };
        assert_eq!(User::in_status(status), Some(user));
        assert_eq!(User::in_status("Name:\tUid:\n"), None);
        assert_eq!(User::of_process(std::process::id()).unwrap().uid, Uid::current());
    }

    #[test]
    fn the_service_user_is_the_owner_of_the_directory_but_never_root() {
        let directory = tempfile::tempdir().unwrap();
        let user = User::of_log(&directory.path().join("snitch.db")).unwrap();
        assert!(!user.uid.is_root());
        if !Uid::current().is_root() {
            assert_eq!((user.uid, user.advice()), (Uid::current(), None));
        }
        assert!(!User::of_log(&directory.path().join("missing/snitch.db")).unwrap().uid.is_root());
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(User::of_log(&file.join("below/snitch.db")).is_err());
    }
}
