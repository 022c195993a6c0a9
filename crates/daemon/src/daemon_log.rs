//! daemon.log: the standard error of a daemon in the background. All processes of the daemon append to the one open file, so it
//! is bounded by copying and emptying it, as logrotate does with `copytruncate`.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::AsFd,
        unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use nix::unistd::Uid;

/// Bytes above which it becomes daemon.log.1.
const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Only root reads what else root's processes print.
const MODE: u32 = 0o640;
/// How often it is tried to make a file of which others have taken the name.
const TRIES: u32 = 16;

/// Opens daemon.log for a daemon that is about to start, or makes it. A file that is not root's own, or a link, is removed: the
/// user that writes the log may make files in this directory.
///
/// # Errors
/// The errors of the file system; a directory has its name.
pub fn open_daemon_log(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options
        .read(true)
        .append(true)
        .mode(MODE)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC);
    for _ in 0..TRIES {
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_file() && is_own(&found) => {
                let file = options.open(path)?;
                if is_own(&file.metadata()?) {
                    bound(&file, path, MAX_BYTES)?;
                    return Ok(file);
                }
            }
            Ok(found) if found.is_dir() => {
                return Err(io::Error::other(format!("{} is a directory; remove it", path.display())));
            }
            Ok(_) => fs::remove_file(path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match options.clone().create_new(true).open(path) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    made => return made,
                }
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other(format!("other processes replace {} all the time", path.display())))
}

fn is_own(found: &fs::Metadata) -> bool {
    found.uid() == Uid::effective().as_raw() && found.nlink() == 1
}

/// Keeps daemon.log bounded, if it is the standard error of this process. Must be called from time to time; errors are ignored,
/// since it is tried again.
pub(crate) fn keep_bounded(path: &Path) {
    let Ok(descriptor) = io::stderr().as_fd().try_clone_to_owned() else { return };
    let file = File::from(descriptor);
    let (Ok(ours), Ok(named)) = (file.metadata(), fs::symlink_metadata(path)) else { return };
    if (ours.dev(), ours.ino()) == (named.dev(), named.ino()) && ours.is_file() {
        let _ = bound(&file, path, MAX_BYTES);
    }
}

/// Copies a file that is too long into an older one, and empties it.
fn bound(file: &File, path: &Path, max_bytes: u64) -> io::Result<()> {
    let length = file.metadata()?.len();
    if length <= max_bytes {
        return Ok(());
    }
    let mut older = path.as_os_str().to_owned();
    older.push(".1");
    let older = PathBuf::from(older);
    match fs::remove_file(&older) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let mut copy =
        File::options().write(true).create_new(true).mode(MODE).custom_flags(flags).open(&older)?;
    let (mut buffer, mut from) = (vec![0; 64 * 1024], length.saturating_sub(max_bytes));
    loop {
        match file.read_at(&mut buffer, from)? {
            0 => break,
            read => {
                io::Write::write_all(&mut copy, &buffer[..read])?;
                from += read as u64;
            }
        }
    }
    file.set_len(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn it_is_bounded_and_what_was_in_it_is_in_the_older_one() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("daemon.log");
        let mut file = open_daemon_log(&path).unwrap();
        file.write_all(b"one\n").unwrap();
        bound(&file, &path, 4).unwrap();
        assert!(!place.path().join("daemon.log.1").exists());
        file.write_all(b"two\n").unwrap();
        bound(&file, &path, 6).unwrap();
        file.write_all(b"three\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
        assert_eq!(fs::read_to_string(place.path().join("daemon.log.1")).unwrap(), "e\ntwo\n");
        drop(file);
        open_daemon_log(&path).unwrap().write_all(b"four\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\nfour\n");
    }

    #[test]
    fn what_a_stranger_has_put_in_its_place_is_replaced() {
        let place = tempfile::tempdir().unwrap();
        let (path, target) = (place.path().join("daemon.log"), place.path().join("target"));
        fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        open_daemon_log(&path).unwrap().write_all(b"x").unwrap();
        fs::remove_file(&path).unwrap();
        fs::hard_link(&target, &path).unwrap();
        open_daemon_log(&path).unwrap().write_all(b"x").unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
        assert_eq!(fs::read_to_string(&path).unwrap(), "x");
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        open_daemon_log(&path).unwrap().write_all(b"y").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "y");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(open_daemon_log(&path).unwrap_err().to_string().contains("is a directory"));
    }
}
