//! The live socket: JSON lines for whoever listens (docs/live.md).

use std::{
    fs, io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{
            fs::{FileTypeExt, PermissionsExt, chown},
            net::{UnixListener, UnixStream},
        },
    },
    path::Path,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags},
    sys::socket::{
        AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, bind, listen, send, socket,
    },
};

use crate::ui::format;

/// The name of the socket in the run directory.
pub const NAME: &str = "live.sock";
/// Who may listen besides root.
const GROUP: &str = "picosnitch";
const MODE: u32 = 0o660;
/// Listeners at a time; more are turned away.
const MOST_SUBSCRIBERS: usize = 32;
/// Bytes that wait for one of them; who is slower is dropped.
const MOST_WAITING: usize = 256 * 1024;

/// Binds the socket (root does it: the run directory is root's). One that was left behind is replaced.
///
/// # Errors
/// Those of the file system; what is there is no socket.
pub fn listen_at(path: &Path) -> io::Result<OwnedFd> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::other("there is something else of that name; move it away")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let listener = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    // The file gets the mode of the socket: it is never wider than it should be.
    fs::File::from(listener.try_clone()?).set_permissions(fs::Permissions::from_mode(0o600))?;
    bind(listener.as_raw_fd(), &UnixAddr::new(path)?)?;
    if let Some(group) = group_id(GROUP) {
        chown(path, None, Some(group))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
    listen(&listener, Backlog::new(i32::try_from(MOST_SUBSCRIBERS).unwrap_or(32))?)?;
    Ok(listener)
}

/// The number of a group of this machine. (The C library would ask directories in the network, too.)
fn group_id(name: &str) -> Option<u32> {
    let groups = fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

/// Who listens.
pub struct Live {
    listener: UnixListener,
    subscribers: Vec<Subscriber>,
    dropped: u64,
}

struct Subscriber {
    stream: UnixStream,
    waiting: Vec<u8>,
}

impl Live {
    /// Serves a socket that [`listen_at`] has made.
    pub fn new(listener: OwnedFd) -> Self {
        Self { listener: listener.into(), subscribers: Vec::new(), dropped: 0 }
    }

    /// Listeners now, and listeners that were dropped because they were too slow or too many.
    pub fn counts(&self) -> (usize, u64) {
        (self.subscribers.len(), self.dropped)
    }

    /// What to wait for.
    pub fn interests(&self) -> impl Iterator<Item = PollFd<'_>> {
        let listener = PollFd::new(self.listener.as_fd(), PollFlags::POLLIN);
        std::iter::once(listener).chain(self.subscribers.iter().map(|subscriber| {
            let mut flags = PollFlags::POLLIN;
            flags.set(PollFlags::POLLOUT, !subscriber.waiting.is_empty());
            PollFd::new(subscriber.stream.as_fd(), flags)
        }))
    }

    /// Takes new listeners, who get `hello` first, and sends what waits. Never waits.
    pub fn serve(&mut self, hello: impl Fn(&Self) -> serde_json::Value) {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.subscribers.len() >= MOST_SUBSCRIBERS || stream.set_nonblocking(true).is_err() {
                self.dropped += 1;
                continue;
            }
            let mut subscriber = Subscriber { stream, waiting: Vec::new() };
            if subscriber.push(&line(&hello(self))) {
                self.subscribers.push(subscriber);
            }
        }
        // A listener says nothing; if its end is closed, it has left.
        self.subscribers.retain_mut(|subscriber| subscriber.flush() && !has_left(&subscriber.stream));
    }

    /// Sends an event to everybody.
    pub fn publish(&mut self, event: &serde_json::Value) {
        if self.subscribers.is_empty() {
            return;
        }
        let line = line(event);
        let before = self.subscribers.len();
        self.subscribers.retain_mut(|subscriber| subscriber.push(&line));
        self.dropped += (before - self.subscribers.len()) as u64;
    }
}

impl Subscriber {
    /// Sends a line, or lets it wait; false when it has waited for too long.
    fn push(&mut self, line: &[u8]) -> bool {
        if self.waiting.len() + line.len() > MOST_WAITING {
            return false;
        }
        self.waiting.extend_from_slice(line);
        self.flush()
    }

    /// Sends what waits; false when the listener is gone.
    fn flush(&mut self) -> bool {
        while !self.waiting.is_empty() {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(self.stream.as_raw_fd(), &self.waiting, flags) {
                Ok(bytes) => drop(self.waiting.drain(..bytes)),
                Err(Errno::EAGAIN) => return true,
                Err(Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
        true
    }
}

fn has_left(stream: &UnixStream) -> bool {
    match io::Read::read(&mut &*stream, &mut [0; 256]) {
        Ok(bytes) => bytes == 0,
        Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
    }
}

/// A line that may be printed as it is.
fn line(event: &serde_json::Value) -> Vec<u8> {
    let mut line = format::json_document(&event.to_string()).into_bytes();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use serde_json::json;

    use super::*;

    fn hello(live: &Live) -> serde_json::Value {
        json!({"event": "hello", "subscribers": live.counts().0})
    }

    #[test]
    fn listeners_get_whole_lines_and_the_slow_are_dropped() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(NAME);
        let listener = listen_at(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        let mut live = Live::new(listener);
        let slow = UnixStream::connect(&path).unwrap();
        let quick = UnixStream::connect(&path).unwrap();
        quick.set_nonblocking(true).unwrap();
        live.serve(hello);
        assert_eq!(live.counts(), (2, 0));
        let mut lines = BufReader::new(quick);
        let mut received = 0;
        let mut line = String::new();
        for number in 0..10_000 {
            live.publish(&json!({"event": "alert", "number": number, "name": "\u{202e}\n".repeat(10)}));
            while lines.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                serde_json::from_str::<serde_json::Value>(&line).unwrap();
                received += 1;
                line.clear();
            }
        }
        assert_eq!(received, 10_001);
        assert_eq!(live.counts(), (1, 1));
        drop(lines);
        live.serve(hello);
        assert_eq!(live.counts(), (0, 1));
        let _crowd: Vec<_> = (0..MOST_SUBSCRIBERS + 3)
            .map(|_| {
                let stream = UnixStream::connect(&path).unwrap();
                live.serve(hello);
                stream
            })
            .collect();
        assert_eq!(live.counts(), (MOST_SUBSCRIBERS, 4));
        drop(slow);
    }

    #[test]
    fn only_a_socket_is_replaced() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(NAME);
        drop(listen_at(&path).unwrap());
        drop(listen_at(&path).unwrap());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        assert!(listen_at(&path).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
