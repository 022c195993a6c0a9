//! Makes the listening socket.

use std::{
    fs, io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{FileTypeExt, PermissionsExt, chown},
    },
    path::Path,
};

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use system_names::Groups;

/// Name of the group that may connect besides root.
const GROUP: &str = "picosnitch";
/// Mode of the socket file: root and the group may connect.
pub(super) const MODE: u32 = 0o660;
/// Clients that are served at a time; more are turned away.
pub(super) const MAX_SUBSCRIBERS: usize = 32;

/// Makes the listening socket at `path`, and replaces a socket that an earlier daemon left there. The caller must be root,
/// since the run directory belongs to root.
///
/// # Errors
/// The errors of the file system; and an error if the file at `path` is not a socket.
pub fn listen_at(path: &Path) -> io::Result<OwnedFd> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::other("there is something else of that name; move it away")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let listener = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    // bind(2) gives the file the mode of the socket, so that it never has more rights than it should.
    fs::File::from(listener.try_clone()?).set_permissions(fs::Permissions::from_mode(0o600))?;
    bind(listener.as_raw_fd(), &UnixAddr::new(path)?)?;
    if let Some(group) = Groups::load().id(GROUP) {
        chown(path, None, Some(group))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
    listen(&listener, Backlog::new(i32::try_from(MAX_SUBSCRIBERS).unwrap_or(32))?)?;
    Ok(listener)
}
