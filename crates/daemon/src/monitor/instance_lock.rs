//! The locks that keep a second monitor from starting on the same files: on the pid file, and on the directories of the log,
//! whatever path leads there and whatever was removed from them.

use std::{
    fs::{self, File, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use nix::unistd::Uid;

use crate::error::MonitorError;
use config::layout::Layout;
use sandbox::User;

/// Mode of the pid file, which every user may read.
const PID_FILE_MODE: u32 = 0o644;

/// The locks of this monitor. They last as long as the files are open, so that nothing that a crash leaves behind keeps the
/// next monitor from starting.
pub(super) struct InstanceLock {
    _pid_file: File,
    _directories: Vec<File>,
}

/// Takes the locks, and writes the id of this process to the pid file.
pub(super) fn lock_instance(layout: &Layout) -> Result<InstanceLock, MonitorError> {
    let mut directories = Vec::new();
    for path in layout.log_directories() {
        directories.push(lock_directory(path)?);
    }
    Ok(InstanceLock { _directories: directories, _pid_file: lock_pid_file(layout)? })
}

/// Locks a directory of the log with flock(2). Anybody who may list the directory could lock it, too: such a lock does not
/// count.
fn lock_directory(path: &Path) -> Result<File, MonitorError> {
    let fail = |source| MonitorError::Lock { path: path.display().to_string(), source };
    let flags = libc::O_DIRECTORY | libc::O_CLOEXEC;
    let directory = File::options().read(true).custom_flags(flags).open(path).map_err(fail)?;
    match directory.try_lock() {
        Ok(()) => Ok(directory),
        Err(TryLockError::WouldBlock) => {
            let inode = directory.metadata().map_err(fail)?.ino();
            let holders = lock_holders(&fs::read_to_string("/proc/locks").unwrap_or_default(), inode);
            let is_strangers = |pid: &u32| {
                User::of_process(*pid).is_ok_and(|user| !user.uid.is_root() && user.uid != Uid::effective())
            };
            match holders.iter().find(|pid| !is_strangers(pid)) {
                None if !holders.is_empty() => Ok(directory),
                holder => Err(MonitorError::AlreadyRunning(holder.map_or("unknown".into(), u32::to_string))),
            }
        }
        Err(TryLockError::Error(error)) => Err(fail(error)),
    }
}

/// The processes that hold a lock of flock(2) on an inode, from /proc/locks (proc_locks(5)). The device is not compared: on
/// some file systems it is another one than that of stat(2).
fn lock_holders(locks: &str, inode: u64) -> Vec<u32> {
    let holder = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, "FLOCK", _, _, pid, file, ..] = fields[..] else { return None };
        let (_, number) = file.rsplit_once(':')?;
        (number.parse() == Ok(inode)).then(|| pid.parse().ok())?
    };
    locks.lines().filter_map(holder).collect()
}

/// Locks the pid file and writes the id of this process to it.
fn lock_pid_file(layout: &Layout) -> Result<File, MonitorError> {
    let path = layout.run_dir.join("picosnitch.pid");
    let fail = |source| MonitorError::PidFile { path: path.display().to_string(), source };
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(PID_FILE_MODE)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(&path)
        .map_err(fail)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = Vec::new();
            file.take(16).read_to_end(&mut pid).map_err(fail)?;
            let digits: String =
                pid.iter().take_while(|byte| byte.is_ascii_digit()).map(|byte| char::from(*byte)).collect();
            return Err(MonitorError::AlreadyRunning(if digits.is_empty() {
                "unknown".into()
            } else {
                digits
            }));
        }
        Err(TryLockError::Error(error)) => return Err(fail(error)),
    }
    // Whatever the umask was when the file was made.
    file.set_permissions(fs::Permissions::from_mode(PID_FILE_MODE)).map_err(fail)?;
    file.set_len(0).and_then(|()| file.rewind()).map_err(fail)?;
    writeln!(file, "{}", std::process::id()).map_err(fail)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holders_are_those_of_the_inode() {
        let locks = "1: POSIX  ADVISORY  WRITE 7 08:01:42 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 8 08:01:42 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 9 08:01:42 0 EOF\n\
                     3: FLOCK  ADVISORY  READ 10 00:2d:42 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 11 08:01:421 0 EOF\n\
                     garbage\n\n";
        assert_eq!(lock_holders(locks, 42), [8, 10]);
        assert!(lock_holders(locks, 2).is_empty());
    }

    #[test]
    fn a_second_instance_is_refused_whatever_was_removed() {
        let place = tempfile::tempdir().unwrap();
        let (base, link) = (place.path().join("base"), place.path().join("link"));
        fs::create_dir_all(base.join("run")).unwrap();
        std::os::unix::fs::symlink(&base, &link).unwrap();
        let lock = lock_instance(&Layout::new(Some(&base), None)).unwrap();
        for path in [&base, &link] {
            fs::remove_dir_all(base.join("run")).unwrap();
            fs::create_dir(base.join("run")).unwrap();
            let refused = lock_instance(&Layout::new(Some(path), None)).err();
            assert!(
                matches!(&refused, Some(MonitorError::AlreadyRunning(pid)) if *pid == std::process::id().to_string()),
                "{refused:?}"
            );
        }
        drop(lock);
        lock_instance(&Layout::new(Some(&link), None)).unwrap();
    }
}
