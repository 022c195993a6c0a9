//! The daemon's live socket, read by a thread of its own: it goes on reading whatever the terminal does, and comes back
//! when the daemon does.

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

use super::model::{Mark, Model, Notice, Source};
use crate::term::{events::Event, text};
use live::protocol::{ConnectionLine, ContextLine, Kind, SubscribeRequest, Text, TickLine, TrafficLine};
use model::text::time;

/// Bytes of one line at most.
const MAX_LINE: u64 = 1 << 20;
/// How long a daemon may take for its first line.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause before it is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// The daemon cannot be heard.
#[derive(Debug, Error)]
pub enum FeedError {
    /// Nobody listens there.
    #[error(
        "picosnitch is not running: start it (`sudo systemctl start picosnitch`, or `sudo picosnitch start-no-daemon`)"
    )]
    NotRunning,
    /// The socket belongs to root and a group.
    #[error("asking picosnitch needs root, or membership in the group picosnitch: run `sudo picosnitch top`")]
    NotAllowed,
    /// What is there is no picosnitch.
    #[error("the answer at {0} is not that of picosnitch")]
    NotUnderstood(PathBuf),
    /// It closed the connection at once.
    #[error("picosnitch closed the connection: it is ending, or has as many listeners as it serves")]
    TurnedAway,
    /// The daemon has ended, or found this listener too slow.
    #[error("picosnitch does not answer any more")]
    Ended,
    /// The system refused.
    #[error("picosnitch does not answer at {0}")]
    Io(PathBuf, #[source] io::Error),
}

/// Something has changed in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed;

/// The lines of a daemon that was asked for traffic.
pub type Lines = BufReader<UnixStream>;

/// Asks a daemon for traffic; its first line was heard, and what it said.
///
/// # Errors
/// It does not run, may not be asked, or does not answer as it should.
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

/// The next line, with its end; nothing when there will be none.
pub fn next(lines: &mut Lines, line: &mut Vec<u8>) -> io::Result<()> {
    line.clear();
    lines.by_ref().take(MAX_LINE).read_until(b'\n', line)?;
    match line.last() {
        None | Some(b'\n') => Ok(()),
        // Half of a line: of a daemon that has ended.
        Some(_) if (line.len() as u64) < MAX_LINE => {
            line.clear();
            Ok(())
        }
        Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "a line is too long")),
    }
}

/// The model, which the reading thread changes.
pub type Shared = Arc<Mutex<Model>>;

/// Locks it, also after a panic elsewhere.
pub fn lock(model: &Shared) -> MutexGuard<'_, Model> {
    model.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads from now on, and tells of each moment in which there is something new to see.
///
/// # Errors
/// The system has no thread.
pub fn start(
    socket: &Path,
    answer: (Lines, String),
    model: Shared,
    changes: SyncSender<Event<Changed>>,
) -> io::Result<()> {
    let socket = socket.to_owned();
    thread::Builder::new().name("feed".to_owned()).spawn(move || {
        let tell = || drop(changes.try_send(Event::Message(Changed)));
        let mut answer = Ok(answer);
        loop {
            let error = match answer {
                Ok((mut lines, hello)) => {
                    lock(&model).connected(describe(&hello));
                    tell();
                    match hear(&mut lines, &model, tell) {
                        Ok(()) => FeedError::Ended,
                        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => FeedError::Ended,
                        Err(error) => FeedError::Io(socket.clone(), error),
                    }
                }
                Err(error) => error,
            };
            let text = text::safe(model::error_chain(&error).as_bytes(), lock(&model).ascii);
            lock(&model).source = Source::Lost(text);
            tell();
            thread::sleep(RETRY);
            answer = connect(&socket);
        }
    })?;
    Ok(())
}

/// Which daemon answers, in a few words.
fn describe(hello: &str) -> String {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Hello {
        version: Text,
        monitor: u32,
        since: i64,
    }
    let Hello { version, monitor, since } = serde_json::from_str(hello).unwrap_or_default();
    let version = text::safe(&version.0, true);
    format!("picosnitch {version} (process {monitor}) is recording since {}", time::local(since))
}

/// Reads until there is no more.
fn hear(lines: &mut Lines, model: &Shared, tell: impl Fn()) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        next(lines, &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        if take(&line, &mut lock(model), Instant::now()) {
            tell();
        }
    }
}

/// Events that are for people.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Told {
    time: i64,
    tag: String,
    rank: String,
    path: Text,
    name: Text,
    text: Text,
    virustotal: Text,
}

/// Takes a line; whether there is something new to see.
pub fn take(line: &[u8], model: &mut Model, now: Instant) -> bool {
    let Ok(kind) = serde_json::from_slice::<Kind>(line) else {
        model.unreadable += 1;
        return false;
    };
    let understood = match &*kind.event {
        "context" => serde_json::from_slice::<ContextLine>(line).map(|line| model.context(line)),
        "connection" | "listening" => {
            serde_json::from_slice::<ConnectionLine>(line).map(|line| model.connection(&line))
        }
        "traffic" => serde_json::from_slice::<TrafficLine>(line).map(|line| model.traffic(&line, now)),
        "tick" => serde_json::from_slice::<TickLine>(line).map(|line| model.tick(&line, now)),
        "alert" | "error" | "loss" => {
            serde_json::from_slice::<Told>(line).map(|told| notice(&kind.event, told, model))
        }
        // What a later version adds.
        _ => return false,
    };
    match understood {
        Ok(()) => matches!(&*kind.event, "tick" | "alert" | "error" | "loss"),
        Err(_) => {
            model.unreadable += 1;
            false
        }
    }
}

fn notice(event: &str, told: Told, model: &mut Model) {
    let safe = |text: &Text, model: &Model| text::safe(&text.0, model.ascii);
    if event == "loss" {
        // What was lost comes as an error, too, if it matters.
        return model.lose();
    }
    if event == "error" {
        let text = safe(&told.text, model);
        return model.notice(Notice { time: told.time, mark: Mark::Wrong, text });
    }
    let (mark, what) = match &*told.tag {
        "new name" => (Mark::New, "new name"),
        "new exe" => (Mark::New, "new program"),
        "new name, exe" => (Mark::New, "new program"),
        "new hash" => (Mark::Wrong, "changed on disk"),
        "suspicious" => (Mark::Wrong, "suspicious"),
        _ => return,
    };
    let rank = match &*told.rank {
        "program" => String::new(),
        rank => format!(" ({})", text::safe(rank.as_bytes(), true)),
    };
    let path = safe(&told.path, model);
    let detail = match (told.virustotal.0.is_empty(), told.tag.as_str()) {
        (false, _) => format!(", {}", safe(&told.virustotal, model)),
        (true, "new name") => format!(" as {}", safe(&told.name, model)),
        _ => String::new(),
    };
    model.mark(told.path.0, mark);
    model.notice(Notice { time: told.time, mark, text: format!("{what}{rank}: {path}{detail}") });
}
