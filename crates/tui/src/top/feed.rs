//! The daemon's live socket, read by a thread of its own: it goes on reading whatever the terminal does, and comes back
//! when the daemon does.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::SyncSender},
    thread,
    time::{Duration, Instant},
};

use serde::Deserialize;

use super::model::{Mark, Model, Notice, Source};
use crate::term::{events::Event, text};
use live::{
    client::{ClientError, LiveClient},
    protocol::{ConnectionLine, ContextLine, LineKind, Text, TickLine, TrafficLine},
};
use model::text::time;

/// Pause before it is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Something has changed in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed;

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
    client: LiveClient,
    model: Shared,
    changes: SyncSender<Event<Changed>>,
) -> io::Result<()> {
    let socket = socket.to_owned();
    thread::Builder::new().name("feed".to_owned()).spawn(move || {
        let tell = || drop(changes.try_send(Event::Message(Changed)));
        let mut client = Ok(client);
        loop {
            let error = match client {
                Ok(mut client) => {
                    lock(&model).connected(describe(client.hello()));
                    tell();
                    hear(&mut client, &model, tell)
                }
                Err(error) => error,
            };
            let text = text::safe(model::error_chain(&error).as_bytes(), lock(&model).ascii);
            lock(&model).source = Source::Lost(text);
            tell();
            thread::sleep(RETRY);
            client = LiveClient::subscribe(&socket);
        }
    })?;
    Ok(())
}

/// Which daemon answers, in a few words.
fn describe(hello: &[u8]) -> String {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Hello {
        version: Text,
        monitor: u32,
        since: i64,
    }
    let Hello { version, monitor, since } = serde_json::from_slice(hello).unwrap_or_default();
    let version = text::safe(&version.0, true);
    format!("picosnitch {version} (process {monitor}) is recording since {}", time::local(since))
}

/// Reads lines until there are no more; returns the reason.
fn hear(client: &mut LiveClient, model: &Shared, tell: impl Fn()) -> ClientError {
    let mut line = Vec::new();
    loop {
        if let Err(error) = client.read_line(&mut line) {
            return error;
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
    let Ok(kind) = serde_json::from_slice::<LineKind>(line) else {
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
