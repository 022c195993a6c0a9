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
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags},
    sys::socket::{
        AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, bind, listen, send, socket,
    },
};

use crate::connections::{OpenConnections, Sweep};
use crate::protocol::SubscribeRequest;
use model::text::format;

/// Who may listen besides root.
const GROUP: &str = "picosnitch";
const MODE: u32 = 0o660;
/// Listeners at a time; more are turned away.
const MAX_SUBSCRIBERS: usize = 32;
/// Bytes that wait for one of them; who is slower is dropped.
const MAX_WAITING: usize = 256 * 1024;
/// Bytes that wait when no more traffic is added: it waits in the table, where its newest state is.
const ENOUGH_WAITING: usize = 64 * 1024;
/// How long one may take nothing, though something waits, before it is dropped.
const MAX_STILLNESS: Duration = Duration::from_secs(10);
/// Bytes of a wish.
const MAX_WISH: usize = 1024;

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
    listen(&listener, Backlog::new(i32::try_from(MAX_SUBSCRIBERS).unwrap_or(32))?)?;
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
    /// What it has written, up to the end of a line.
    wish: Vec<u8>,
    /// How far it was told of traffic, if it wants to hear of it.
    sweep: Option<Sweep>,
    /// Since when it has taken nothing.
    still: Option<Instant>,
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
            if self.subscribers.len() >= MAX_SUBSCRIBERS || stream.set_nonblocking(true).is_err() {
                self.dropped += 1;
                continue;
            }
            let mut subscriber =
                Subscriber { stream, waiting: Vec::new(), wish: Vec::new(), sweep: None, still: None };
            if subscriber.push(&line(&hello(self))) {
                self.subscribers.push(subscriber);
            }
        }
        self.subscribers.retain_mut(|subscriber| subscriber.flush() && subscriber.hear());
        self.drop_if(|subscriber| subscriber.still.is_some_and(|since| since.elapsed() > MAX_STILLNESS));
    }

    /// Whether somebody wants to hear of traffic.
    pub fn wants_traffic(&self) -> bool {
        self.subscribers.iter().any(|subscriber| subscriber.sweep.is_some())
    }

    /// Tells of traffic those who want to hear of it, as much as they take. Never waits.
    pub fn tell(&mut self, open: &mut OpenConnections) {
        self.subscribers.retain_mut(|subscriber| subscriber.tell(open));
        let slowest = |live: &Self| live.subscribers.iter().filter_map(Subscriber::told).min();
        open.forget_told(slowest(self).unwrap_or(0));
        while open.is_crowded()
            && let Some(told) = slowest(self)
        {
            self.drop_if(|subscriber| subscriber.told() == Some(told));
            open.forget_told(slowest(self).unwrap_or(u64::MAX));
        }
    }

    /// Drops, and counts, those who are too slow.
    fn drop_if(&mut self, slow: impl Fn(&Subscriber) -> bool) {
        let before = self.subscribers.len();
        self.subscribers.retain(|subscriber| !slow(subscriber));
        self.dropped += (before - self.subscribers.len()) as u64;
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
        if self.waiting.len() + line.len() > MAX_WAITING {
            return false;
        }
        self.waiting.extend_from_slice(line);
        self.flush()
    }

    /// Sends what waits; false when the listener is gone.
    fn flush(&mut self) -> bool {
        let mut sent = 0;
        while sent < self.waiting.len() {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(self.stream.as_raw_fd(), &self.waiting[sent..], flags) {
                Ok(bytes) => sent += bytes,
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
        self.waiting.drain(..sent);
        if sent > 0 || self.waiting.is_empty() {
            self.still = None;
        }
        if !self.waiting.is_empty() {
            self.still.get_or_insert_with(Instant::now);
        }
        true
    }

    /// Reads what it wishes; false when it has left, or says too much.
    fn hear(&mut self) -> bool {
        loop {
            let mut bytes = [0; 256];
            match io::Read::read(&mut &self.stream, &mut bytes) {
                Ok(0) => return false,
                Ok(length) => self.wish.extend_from_slice(&bytes[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
            while let Some(end) = self.wish.iter().position(|byte| *byte == b'\n') {
                // What is not understood may be a wish that a later version fulfils.
                match serde_json::from_slice(&self.wish[..end]) {
                    Ok(SubscribeRequest { traffic: true }) => {
                        self.sweep.get_or_insert_default();
                    }
                    Ok(SubscribeRequest { traffic: false }) => self.sweep = None,
                    Err(_) => {}
                }
                self.wish.drain(..=end);
            }
            if self.wish.len() > MAX_WISH {
                return false;
            }
        }
    }

    /// The last round of traffic that it was told in full.
    fn told(&self) -> Option<u64> {
        self.sweep.as_ref().map(Sweep::told)
    }

    fn tell(&mut self, open: &OpenConnections) -> bool {
        loop {
            let Some(sweep) = &mut self.sweep else { return true };
            if self.waiting.len() >= ENOUGH_WAITING {
                return true;
            }
            let Some(text) = open.tell(sweep) else { return true };
            self.waiting.extend_from_slice(text.as_bytes());
            if !self.flush() {
                return false;
            }
        }
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
    use std::io::{BufRead, BufReader, Write};

    use serde_json::json;

    use super::*;
    use crate::{
        NAME,
        connections::{Contexts, Listed},
    };
    use config::log_rules::LogRules;
    use model::{Counters, Flow, FlowId, FlowTuple, ProcessContext};
    use std::sync::Arc;

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
        let _crowd: Vec<_> = (0..MAX_SUBSCRIBERS + 3)
            .map(|_| {
                let stream = UnixStream::connect(&path).unwrap();
                live.serve(hello);
                stream
            })
            .collect();
        assert_eq!(live.counts(), (MAX_SUBSCRIBERS, 4));
        drop(slow);
    }

    /// The same context behind every id.
    struct Same(Arc<ProcessContext>);

    impl Contexts for Same {
        fn context(&mut self, _: u32) -> Option<(Arc<ProcessContext>, bool)> {
            Some((Arc::clone(&self.0), true))
        }
    }

    /// A table with so many connections.
    fn table(connections: u64) -> OpenConnections {
        let rules = LogRules { bandwidth: true, ..LogRules::default() };
        let mut contexts = Same(Arc::default());
        let mut open = OpenConnections::new(rules);
        for socket in 1..=connections {
            let flow = Flow {
                context: 1,
                id: FlowId { socket, began: 1, ..FlowId::default() },
                tuple: FlowTuple::default(),
                counters: Counters { connections: 1, sent: socket, received: 0 },
            };
            open.list(&flow, false, &mut contexts);
        }
        open.list_ends(Listed::Busy);
        open.close_round(&mut contexts);
        open
    }

    #[test]
    fn traffic_is_for_those_who_ask_and_comes_as_it_is_taken() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(NAME);
        let mut live = Live::new(listen_at(&path).unwrap());
        let mut open = table(20_000);
        let mut asking = UnixStream::connect(&path).unwrap();
        let silent = UnixStream::connect(&path).unwrap();
        let mut odd = UnixStream::connect(&path).unwrap();
        let mut wordy = UnixStream::connect(&path).unwrap();
        live.serve(hello);
        assert!(!live.wants_traffic());
        // In two halves, after something that nobody understands.
        asking.write_all(b"GET / HTTP/1.1\n[]\n\xff\n{\"traffic\": tr").unwrap();
        odd.write_all(b"{\"traffic\": true, \"more\": {}}\n{\"traffic\": false}\n").unwrap();
        wordy.write_all(&[b'x'; 2000]).unwrap();
        live.serve(hello);
        assert!(!live.wants_traffic());
        assert_eq!(live.counts(), (3, 0), "who says too much has to leave");
        asking.write_all(b"ue}\n").unwrap();
        live.serve(hello);
        assert!(live.wants_traffic());
        live.tell(&mut open);
        // Nobody reads: no more waits than a bound.
        let waiting: Vec<usize> =
            live.subscribers.iter().map(|subscriber| subscriber.waiting.len()).collect();
        assert!(waiting[0] > 0 && waiting[0] < MAX_WAITING && waiting[1..] == [0, 0], "{waiting:?}");
        asking.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut lines = BufReader::new(asking);
        let (mut line, mut told) = (String::new(), 0);
        while !line.contains("\"tick\"") {
            live.serve(hello);
            live.tell(&mut open);
            line.clear();
            lines.read_line(&mut line).unwrap();
            told += usize::from(line.contains("\"connection\""));
        }
        assert_eq!(told, 20_000);
        drop(lines);
        silent.set_nonblocking(true).unwrap();
        let mut heard = String::new();
        BufReader::new(silent).read_line(&mut heard).unwrap();
        assert!(heard.contains("hello"));
        live.serve(hello);
        assert!(!live.wants_traffic());
    }

    #[test]
    fn who_takes_nothing_is_dropped() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(NAME);
        let mut live = Live::new(listen_at(&path).unwrap());
        let mut open = table(20_000);
        let mut still = UnixStream::connect(&path).unwrap();
        still.write_all(b"{\"traffic\": true}\n").unwrap();
        live.serve(hello);
        live.serve(hello);
        live.tell(&mut open);
        assert_eq!(live.counts(), (1, 0));
        // As if it were ten seconds later.
        live.subscribers[0].still = Instant::now().checked_sub(MAX_STILLNESS + Duration::from_secs(1));
        live.serve(hello);
        assert_eq!(live.counts(), (0, 1));
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
