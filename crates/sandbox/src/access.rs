//! Tries, as another user, whether files and directories can be used.

use std::{
    ffi::CString,
    fs,
    io::{self, Read},
    os::{fd::AsRawFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

use nix::{
    sys::wait::waitpid,
    unistd::{ForkResult, Uid, fork},
};

use crate::user::User;

/// What a user wants to do with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessWanted {
    /// Read a file.
    Read,
    /// Read and write a file.
    File,
    /// List a directory, make and remove files in it.
    Directory,
    /// Pass through a directory.
    Pass,
}

/// The first path that a user may not use as wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The file or directory that stops the user.
    pub path: PathBuf,
    /// The user only wants to pass through this directory, on the way to another one.
    pub is_on_the_way: bool,
    /// The error number of access(2).
    pub errno: i32,
}

impl User {
    /// Tries as this user whether an existing path can be used, and whether the directories on the way to it let the user
    /// pass. Returns the first that does not. The kernel decides, so that groups, ACLs and read-only file systems count.
    ///
    /// # Errors
    /// The errors of resolving the path, fork(2) and of changing the user.
    pub fn find_denied(&self, path: &Path, wanted: AccessWanted) -> io::Result<Option<Denied>> {
        let mut steps: Vec<(PathBuf, libc::c_int)> = Vec::new();
        for prefix in path.ancestors().collect::<Vec<_>>().into_iter().rev() {
            // A symbolic link has directories of its own on the way to its target.
            let target = fs::canonicalize(prefix)?;
            for directory in target.ancestors().collect::<Vec<_>>().into_iter().rev() {
                if directory.is_dir() && !steps.iter().any(|(step, _)| step == directory) {
                    steps.push((directory.to_owned(), libc::X_OK));
                }
            }
        }
        let mode = match wanted {
            AccessWanted::Read => libc::R_OK,
            AccessWanted::File => libc::R_OK | libc::W_OK,
            AccessWanted::Directory => libc::R_OK | libc::W_OK | libc::X_OK,
            AccessWanted::Pass => libc::X_OK,
        };
        let last = steps.len();
        steps.push((path.to_owned(), mode));
        let denied = self.first_denied(&steps)?;
        Ok(denied.map(|(at, errno)| Denied {
            path: fs::canonicalize(&steps[at].0).unwrap_or_else(|_| steps[at].0.clone()),
            is_on_the_way: wanted == AccessWanted::Pass
                || (at != last && fs::canonicalize(path).ok().as_ref() != Some(&steps[at].0)),
            errno,
        }))
    }

    /// Returns the first step that access(2) refuses to this user, and the error number.
    fn first_denied(&self, steps: &[(PathBuf, libc::c_int)]) -> io::Result<Option<(usize, i32)>> {
        let steps: Vec<(CString, libc::c_int)> = steps
            .iter()
            .map(|(path, mode)| Ok((CString::new(path.as_os_str().as_bytes())?, *mode)))
            .collect::<io::Result<_>>()?;
        let (mut answers, answer) = io::pipe()?;
        // SAFETY: the child makes system calls only, none of which needs memory or a lock.
        match unsafe { fork() }? {
            ForkResult::Child => {
                let (at, errno) = match self.become_in_child() {
                    Ok(()) => denied_in_child(&steps),
                    Err(errno) => (u32::MAX, errno),
                };
                let words = [at.to_ne_bytes(), errno.to_ne_bytes()];
                // SAFETY: the words are valid for the call, and the end of the child runs no code of the parent.
                unsafe {
                    libc::write(answer.as_raw_fd(), words.as_ptr().cast(), size_of_val(&words));
                    libc::_exit(0)
                }
            }
            ForkResult::Parent { child } => {
                drop(answer);
                let mut words = [0; 8];
                let read = answers.read_exact(&mut words);
                waitpid(child, None)?;
                read?;
                let [a, b, c, d, e, f, g, h] = words;
                let (at, errno) = (u32::from_ne_bytes([a, b, c, d]), i32::from_ne_bytes([e, f, g, h]));
                match (at, errno) {
                    (_, 0) => Ok(None),
                    (u32::MAX, errno) => Err(io::Error::from_raw_os_error(errno)),
                    (at, errno) => Ok(Some((at as usize, errno))),
                }
            }
        }
    }

    /// Becomes this user in a child of one thread, with plain system calls: those of the C library take locks.
    fn become_in_child(&self) -> Result<(), i32> {
        if self.uid == Uid::effective() {
            return Ok(());
        }
        let (uid, gid) = (self.uid.as_raw(), self.gid.as_raw());
        // SAFETY: numbers only, and an empty list.
        let changed = unsafe {
            libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()) == 0
                && libc::syscall(libc::SYS_setresgid, gid, gid, gid) == 0
                && libc::syscall(libc::SYS_setresuid, uid, uid, uid) == 0
        };
        if changed { Ok(()) } else { Err(nix::errno::Errno::last_raw()) }
    }
}

/// The first step that is refused, and the error number, which is 0 if none is.
fn denied_in_child(steps: &[(CString, libc::c_int)]) -> (u32, i32) {
    for (at, (path, mode)) in steps.iter().enumerate() {
        // SAFETY: the string ends with a zero, and the call only reads it.
        if unsafe { libc::access(path.as_ptr(), *mode) } != 0 {
            return (at as u32, nix::errno::Errno::last_raw());
        }
    }
    (0, 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use nix::unistd::Gid;

    use super::*;

    #[test]
    fn a_path_that_can_be_used_is_not_denied() {
        let user = User { uid: Uid::current(), gid: Gid::current() };
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(user.find_denied(place.path(), AccessWanted::Directory).unwrap(), None);
        assert_eq!(user.find_denied(&file, AccessWanted::File).unwrap(), None);
        assert!(user.find_denied(&place.path().join("missing"), AccessWanted::File).is_err());
    }

    #[test]
    fn the_directory_that_stops_a_user_is_named() {
        if !Uid::current().is_root() {
            return;
        }
        let user = User { uid: Uid::from_raw(4242), gid: Gid::from_raw(4243) };
        let place = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(place.path()).unwrap();
        let (closed, link) = (path.join("closed"), path.join("link"));
        let inner = closed.join("inner");
        fs::create_dir_all(&inner).unwrap();
        symlink(&inner, &link).unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        mode(&path, 0o755);
        mode(&closed, 0o700);
        mode(&inner, 0o777);
        let denied = Denied { path: closed.clone(), is_on_the_way: true, errno: libc::EACCES };
        for target in [&inner, &link] {
            assert_eq!(user.find_denied(target, AccessWanted::Directory).unwrap(), Some(denied.clone()));
        }
        mode(&closed, 0o711);
        assert_eq!(user.find_denied(&link, AccessWanted::Directory).unwrap(), None);
        let denied = Denied { path: closed.clone(), is_on_the_way: false, errno: libc::EACCES };
        assert_eq!(user.find_denied(&closed, AccessWanted::Directory).unwrap(), Some(denied));
        // The group of the user counts.
        std::os::unix::fs::chown(&closed, None, Some(4243)).unwrap();
        mode(&closed, 0o1770);
        assert_eq!(user.find_denied(&closed, AccessWanted::Directory).unwrap(), None);
    }
}
