//! The feed: a thread that reads the daemon's live socket. It does not depend on the terminal, and connects again when the
//! daemon is back.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::SyncSender},
    thread,
    time::{Duration, Instant},
};

use serde::Deserialize;
use thiserror::Error;

use live::protocol::{ConnectionLine, ContextLine, Kind, SubscribeRequest, Text, TickLine, TrafficLine};
use model::text::time;

use super::{
    alert::{Alert, AlertLine},
    live_state::{FeedStatus, LiveState},
};
use crate::term::{events::Event, text};

/// Bytes of one line.
const MAX_LINE: u64 = 1 << 20;
/// How long the daemon may take for its first line.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause before the next attempt to connect.
const RETRY: Duration = Duration::from_millis(500);

/// Why there are no lines of the daemon.
#[derive(Debug, Error)]
pub enum FeedError {
    /// No daemon listens at the socket.
    #[error(
        "picosnitch is not running: start it (`sudo systemctl start picosnitch`, or `sudo picosnitch start-no-daemon`)"
    )]
    NotRunning,
    /// The socket may be used by root and its group only.
    #[error("asking picosnitch needs root, or membership in the group picosnitch: run `sudo picosnitch top`")]
    NotAllowed,
    /// The first line is not a `hello` line.
    #[error("the answer at {0} is not that of picosnitch")]
    NotUnderstood(PathBuf),
    /// The daemon closed the connection before its first line.
    #[error("picosnitch closed the connection: it is ending, or has as many listeners as it serves")]
    TurnedAway,
    /// The daemon has ended, or has dropped this client because it was too slow.
    #[error("picosnitch does not answer any more")]
    Ended,
    /// The socket cannot be read or written.
    #[error("picosnitch does not answer at {0}")]
    Io(PathBuf, #[source] io::Error),
}

/// The message to the screen that [`LiveState`] has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed;

/// A connection to the daemon, on which it sends lines about traffic.
pub type Lines = BufReader<UnixStream>;

/// Subscribes to the traffic of the daemon. Returns the connection and its first line.
///
/// # Errors
/// The daemon does not run, this user may not subscribe, or the answer is not that of picosnitch.
pub fn connect(socket: &Path) -> Result<(Lines, String), FeedError> {
    let fail = |error: io::Error| match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => FeedError::TurnedAway,
        _ => FeedError::Io(socket.to_owned(), error),
    };
    let mut stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => FeedError::NotRunning,
        io::ErrorKind::PermissionDenied => FeedError::NotAllowed,
        _ => fail(error),
    })?;
    let wish = serde_json::to_string(&SubscribeRequest { traffic: true }).unwrap_or_default() + "\n";
    stream.write_all(wish.as_bytes()).map_err(fail)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(fail)?;
    let mut lines = BufReader::with_capacity(64 * 1024, stream);
    let mut line = Vec::new();
    next(&mut lines, &mut line).map_err(fail)?;
    if line.is_empty() {
        return Err(FeedError::TurnedAway);
    }
    let kind: Kind = serde_json::from_slice(&line).unwrap_or_default();
    if kind.event != "hello" {
        return Err(FeedError::NotUnderstood(socket.to_owned()));
    }
    lines.get_ref().set_read_timeout(None).map_err(fail)?;
    Ok((lines, String::from_utf8_lossy(&line).into_owned()))
}

/// Reads the next line with its line end; `line` is empty at the end of the connection.
pub fn next(lines: &mut Lines, line: &mut Vec<u8>) -> io::Result<()> {
    line.clear();
    lines.by_ref().take(MAX_LINE).read_until(b'\n', line)?;
    match line.last() {
        None | Some(b'\n') => Ok(()),
        // The daemon ended within a line.
        Some(_) if (line.len() as u64) < MAX_LINE => {
            line.clear();
            Ok(())
        }
        Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "a line is too long")),
    }
}

/// The live state, which the feed thread changes and the screen reads.
pub(super) type SharedLiveState = Arc<Mutex<LiveState>>;

/// Locks the live state, also after a panic of another thread.
pub(super) fn lock(live: &SharedLiveState) -> MutexGuard<'_, LiveState> {
    live.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the thread with a connection and its first line, as [`connect`] returns them. It sends a message whenever there is
/// something new to draw.
///
/// # Errors
/// The system refuses a thread.
pub(super) fn start(
    socket: &Path,
    connection: (Lines, String),
    live: SharedLiveState,
    changes: SyncSender<Event<Changed>>,
) -> io::Result<()> {
    let socket = socket.to_owned();
    thread::Builder::new().name("feed".to_owned()).spawn(move || {
        let notify = || drop(changes.try_send(Event::Message(Changed)));
        let mut connection = Ok(connection);
        loop {
            let error = match connection {
                Ok((mut lines, hello)) => {
                    lock(&live).connected(describe(&hello));
                    notify();
                    match read_lines(&mut lines, &live, notify) {
                        Ok(()) => FeedError::Ended,
                        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => FeedError::Ended,
                        Err(error) => FeedError::Io(socket.clone(), error),
                    }
                }
                Err(error) => error,
            };
            let text = text::safe(model::error_chain(&error).as_bytes(), lock(&live).ascii);
            lock(&live).status = FeedStatus::Lost(text);
            notify();
            thread::sleep(RETRY);
            connection = connect(&socket);
        }
    })?;
    Ok(())
}

/// Describes the daemon by its `hello` line.
fn describe(hello: &str) -> String {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct HelloLine {
        version: Text,
        monitor: u32,
        since: i64,
    }
    let HelloLine { version, monitor, since } = serde_json::from_str(hello).unwrap_or_default();
    let version = text::safe(&version.0, true);
    format!("picosnitch {version} (process {monitor}) is recording since {}", time::local(since))
}

/// Reads lines until the daemon closes the connection.
fn read_lines(lines: &mut Lines, live: &SharedLiveState, notify: impl Fn()) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        next(lines, &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        if apply_line(&line, &mut lock(live), Instant::now()) {
            notify();
        }
    }
}

/// Applies a line to the live state. Returns whether there is something new to draw.
pub(super) fn apply_line(line: &[u8], live: &mut LiveState, now: Instant) -> bool {
    let Ok(kind) = serde_json::from_slice::<Kind>(line) else {
        live.unreadable += 1;
        return false;
    };
    let result = match &*kind.event {
        "context" => serde_json::from_slice::<ContextLine>(line).map(|line| live.context(&line)),
        "connection" | "listening" => {
            serde_json::from_slice::<ConnectionLine>(line).map(|line| live.connection(&line))
        }
        "traffic" => serde_json::from_slice::<TrafficLine>(line).map(|line| live.traffic(&line, now)),
        "tick" => serde_json::from_slice::<TickLine>(line).map(|line| live.tick(&line, now)),
        "alert" | "error" | "loss" => {
            serde_json::from_slice::<AlertLine>(line).map(|line| apply_alert(&kind.event, line, live))
        }
        // An event of a later version.
        _ => return false,
    };
    match result {
        Ok(()) => matches!(&*kind.event, "tick" | "alert" | "error" | "loss"),
        Err(_) => {
            live.unreadable += 1;
            false
        }
    }
}

fn apply_alert(event: &str, line: AlertLine, live: &mut LiveState) {
    match event {
        // A loss that matters is reported as an error, too.
        "loss" => live.add_loss(),
        "error" => live.add_alert(Alert::from_error(&line, live.ascii)),
        _ => {
            if let Some(alert) = Alert::from_alert(&line, live.ascii) {
                live.highlight(line.path.0, alert.highlight);
                live.add_alert(alert);
            }
        }
    }
}
