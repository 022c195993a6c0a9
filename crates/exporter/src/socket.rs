//! The socket on which the recorder listens for the exporter.

use std::{
    fs, io,
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
        unix::fs::{FileTypeExt, PermissionsExt, chown},
    },
    path::Path,
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, connect as connect_socket,
        getsockopt, listen, socket, sockopt::PeerCredentials,
    },
    unistd::Uid,
};
use sandbox::User;

/// Name of the socket in the run directory.
pub const NAME: &str = "exporter.sock";
/// Connections that wait; there is one exporter.
const BACKLOG: i32 = 4;

/// Makes the listening socket at `path` for the service user, and replaces one that an earlier daemon left there. The caller must be
/// root, since the run directory belongs to root.
///
/// # Errors
/// The errors of the file system; and an error if the file at `path` is not a socket.
pub fn listen_at(path: &Path, user: User) -> io::Result<OwnedFd> {
    remove(path)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    // bind(2) gives the file the mode of the socket, so that it never has more rights than it should.
    fs::File::from(listener.try_clone()?).set_permissions(fs::Permissions::from_mode(0o600))?;
    bind(listener.as_raw_fd(), &UnixAddr::new(path)?)?;
    chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    listen(&listener, Backlog::new(BACKLOG)?)?;
    Ok(listener)
}

/// Removes the socket at a path, if there is one.
///
/// # Errors
/// The errors of the file system; and an error if the file at `path` is not a socket.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path),
        Ok(_) => Err(io::Error::other("there is something else of that name; move it away")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Accepts a connection of the service user, which is that of this process, or of root; `None` if none waits. Others are turned
/// away.
pub fn accept(listener: &OwnedFd) -> Option<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    loop {
        let accepted = accept4(listener.as_raw_fd(), flags).ok()?;
        // SAFETY: the kernel has just made it for this process, and no other owner exists.
        let accepted = unsafe { OwnedFd::from_raw_fd(accepted) };
        let peer = getsockopt(&accepted, PeerCredentials).map(|credentials| Uid::from_raw(credentials.uid()));
        if peer.is_ok_and(|peer| peer.is_root() || peer == Uid::effective()) {
            return Some(accepted);
        }
    }
}

/// Connects to the recorder.
///
/// # Errors
/// The errors of connect(2): `NotFound` or `ConnectionRefused` while no recorder listens.
pub fn connect(path: &Path) -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    connect_socket(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    fcntl(socket.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{FromExporter, VERSION};
    use ipc::{Channel, Received};

    #[test]
    fn a_connection_of_the_same_user_is_a_channel() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NAME);
        let user = User { uid: Uid::current(), gid: nix::unistd::Gid::current() };
        assert!(connect(&path).is_err());
        drop(listen_at(&path, user).unwrap());
        // The socket of an earlier daemon is replaced; no process listens on it.
        assert_eq!(connect(&path).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let listener = listen_at(&path, user).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(accept(&listener).is_none());
        let theirs = Channel::new(connect(&path).unwrap());
        let mut ours = Channel::new(accept(&listener).unwrap());
        let hello = FromExporter::Hello { version: VERSION.into(), virustotal: true, reverse_dns: false };
        assert!(theirs.send(&Channel::encode(&hello).unwrap(), None).unwrap());
        assert!(matches!(ours.receive().unwrap(), Received::Message(FromExporter::Hello { .. }, None)));
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert!(listen_at(&path, user).is_err(), "a file is not replaced");
    }
}
