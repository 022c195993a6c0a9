//! The clients' side of the live socket: connects to the daemon, subscribes to traffic, reads lines.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use thiserror::Error;

use crate::protocol::{ErrorLine, HelloLine, SubscribeRequest};
use model::text::sanitize;

/// Upper bound for the bytes of one line.
const MAX_LINE_BYTES: u64 = 1 << 20;
/// How long the daemon may take for its first line.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// The reasons why a client cannot read from the daemon.
#[derive(Debug, Error)]
pub enum ClientError {
    /// There is no socket, or no process that serves it.
    #[error("picosnitch is not running: start it (`{}`)", model::service::command("start"))]
    NotRunning,
    /// Only root and the group of the socket may connect to it.
    #[error(
        "reading from picosnitch needs root, or membership in the group picosnitch: run the command with sudo (`sudo \
         picosnitch top`, `sudo picosnitch status`)"
    )]
    NotAllowed,
    /// The first line is not the daemon's `hello`.
    #[error(
        "the answer at {0} is not that of this picosnitch: another program or another version serves this socket"
    )]
    NotUnderstood(PathBuf),
    /// The daemon closed the connection before its first line.
    #[error("picosnitch closed the connection: it is ending, or already serves as many clients as it can")]
    TurnedAway,
    /// The daemon says why it does not serve this client.
    #[error("picosnitch does not serve this client: {0}")]
    Refused(String),
    /// The connection was closed later: the daemon has ended, or dropped a client that read too slowly.
    #[error("picosnitch does not answer any more")]
    Ended,
    /// A system call on the socket failed.
    #[error("picosnitch does not answer at {0}")]
    Io(PathBuf, #[source] io::Error),
}

/// A connection to the daemon whose first line, `hello`, has arrived.
#[derive(Debug)]
pub struct LiveClient {
    path: PathBuf,
    lines: BufReader<UnixStream>,
    hello: Vec<u8>,
    status: HelloLine,
}

impl LiveClient {
    /// Connects to the daemon whose socket is at `path` and waits for its `hello`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        Self::open(path)?.read_hello()
    }

    /// Connects as [`LiveClient::connect`] does, and subscribes to traffic.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn subscribe(path: &Path) -> Result<Self, ClientError> {
        Self::open(path)?.send_subscription()
    }

    fn send_subscription(mut self) -> Result<Self, ClientError> {
        let request = serde_json::to_string(&SubscribeRequest { traffic: true }).unwrap_or_default() + "\n";
        let written = self.lines.get_mut().write_all(request.as_bytes());
        match written {
            // The daemon has turned this client away already; it has written the reason before.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {}
            written => written.map_err(|error| self.connect_error(error))?,
        }
        self.read_hello()
    }

    /// The daemon's first line, with its line feed.
    pub fn hello(&self) -> &[u8] {
        &self.hello
    }

    /// The status that this line describes.
    pub fn status(&self) -> &HelloLine {
        &self.status
    }

    /// Bounds how long [`LiveClient::read_line`] waits: to a subscriber the daemon writes twice a second.
    ///
    /// # Errors
    /// See setsockopt(2).
    pub fn set_silence_limit(&self, limit: Duration) -> Result<(), ClientError> {
        self.set_read_timeout(Some(limit))
    }

    /// Waits for the next line and reads it, with its line feed, into `line`.
    ///
    /// # Errors
    /// [`ClientError::Ended`] at the end of the lines, [`ClientError::Io`] for a failed system call or a line that is too
    /// long.
    pub fn read_line(&mut self, line: &mut Vec<u8>) -> Result<(), ClientError> {
        match self.read_raw_line(line) {
            Ok(()) if line.is_empty() => Err(ClientError::Ended),
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(ClientError::Ended),
            Err(error) => Err(ClientError::Io(self.path.clone(), error)),
        }
    }

    fn open(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotRunning,
            io::ErrorKind::PermissionDenied => ClientError::NotAllowed,
            _ => ClientError::Io(path.to_owned(), error),
        })?;
        let lines = BufReader::with_capacity(64 * 1024, stream);
        Ok(Self { path: path.to_owned(), lines, hello: Vec::new(), status: HelloLine::default() })
    }

    fn read_hello(mut self) -> Result<Self, ClientError> {
        let mut hello = Vec::new();
        self.set_read_timeout(Some(HELLO_TIMEOUT))?;
        self.read_raw_line(&mut hello).map_err(|error| self.connect_error(error))?;
        if hello.is_empty() {
            return Err(ClientError::TurnedAway);
        }
        match serde_json::from_slice::<HelloLine>(&hello) {
            Ok(status) if status.event == "hello" => self.status = status,
            Ok(status) if status.event == "error" => {
                let line: ErrorLine = serde_json::from_slice(&hello).unwrap_or_default();
                return Err(ClientError::Refused(sanitize::message(&line.text)));
            }
            _ => return Err(ClientError::NotUnderstood(self.path)),
        }
        self.set_read_timeout(None)?;
        self.hello = hello;
        Ok(self)
    }

    fn set_read_timeout(&self, timeout: Option<Duration>) -> Result<(), ClientError> {
        self.lines.get_ref().set_read_timeout(timeout).map_err(|error| self.connect_error(error))
    }

    /// The error of a system call before `hello` has arrived.
    fn connect_error(&self, error: io::Error) -> ClientError {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => ClientError::TurnedAway,
            _ => ClientError::Io(self.path.clone(), error),
        }
    }

    /// Reads one line; leaves `line` empty at the end of the stream.
    fn read_raw_line(&mut self, line: &mut Vec<u8>) -> io::Result<()> {
        line.clear();
        self.lines.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', line)?;
        match line.last() {
            None | Some(b'\n') => Ok(()),
            // The daemon ended in the middle of a line.
            Some(_) if (line.len() as u64) < MAX_LINE_BYTES => {
                line.clear();
                Ok(())
            }
            Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "a line is too long")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, thread};

    use super::*;
    use crate::protocol::SOCKET_NAME;

    fn variant(error: &ClientError) -> &'static str {
        match error {
            ClientError::NotRunning => "not running",
            ClientError::NotAllowed => "not allowed",
            ClientError::NotUnderstood(_) => "not understood",
            ClientError::TurnedAway => "turned away",
            ClientError::Refused(_) => "refused",
            ClientError::Ended => "ended",
            ClientError::Io(..) => "io",
        }
    }

    #[test]
    fn a_daemon_that_answers_wrongly_or_not_at_all_is_an_error_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(SOCKET_NAME);
        assert_eq!(variant(&LiveClient::subscribe(&path).unwrap_err()), "not running");
        let listener = UnixListener::bind(&path).unwrap();
        let answer = |answer: &'static [u8]| {
            let listener = listener.try_clone().unwrap();
            let server = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = String::new();
                BufReader::new(&stream).read_line(&mut request).unwrap();
                assert_eq!(request, "{\"traffic\":true}\n");
                let _ = stream.write_all(answer);
            });
            let result = LiveClient::subscribe(&path);
            server.join().unwrap();
            result
        };
        for nonsense in [
            &b"HTTP/1.1 400\r\n"[..],
            b"{\"event\": \"tick\"}\n",
            b"7\n",
            b"{\"event\": \"hello\", \"since\": null}\n",
        ] {
            assert_eq!(variant(&answer(nonsense).unwrap_err()), "not understood");
        }
        for nothing in [&b""[..], b"{\"event\": \"hello\""] {
            assert_eq!(variant(&answer(nothing).unwrap_err()), "turned away");
        }
        let error = answer(b"{\"event\": \"error\", \"text\": \"too \\u001bmany\"}\n").unwrap_err();
        assert_eq!(error.to_string(), "picosnitch does not serve this client: too \\x1bmany");
        let long: &'static [u8] = vec![b'x'; 2 << 20].leak();
        assert_eq!(variant(&answer(long).unwrap_err()), "io");
        let mut client = answer(b"{\"event\": \"hello\", \"monitor\": 7}\n{\"half\": ").unwrap();
        assert_eq!(client.hello(), b"{\"event\": \"hello\", \"monitor\": 7}\n");
        assert_eq!(client.status().monitor, 7);
        let mut line = Vec::new();
        let error = client.read_line(&mut line).unwrap_err();
        assert_eq!((variant(&error), line.as_slice()), ("ended", &b""[..]), "half a line counts as none");
        drop(listener);
        assert_eq!(variant(&LiveClient::subscribe(&path).unwrap_err()), "not running");
    }

    #[test]
    fn the_reason_is_read_if_the_daemon_has_closed_the_connection_at_once() {
        let (daemon, client) = UnixStream::pair().unwrap();
        (&daemon).write_all(b"{\"event\": \"error\", \"text\": \"too many\"}\n").unwrap();
        drop(daemon);
        let lines = BufReader::new(client);
        let client =
            LiveClient { path: PathBuf::new(), lines, hello: Vec::new(), status: HelloLine::default() };
        assert_eq!(variant(&client.send_subscription().unwrap_err()), "refused");
    }

    #[test]
    fn a_client_without_a_subscription_writes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(SOCKET_NAME);
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"{\"event\": \"hello\"}\n").unwrap();
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).unwrap();
            rest
        });
        drop(LiveClient::connect(&path).unwrap());
        assert!(server.join().unwrap().is_empty());
    }
}
