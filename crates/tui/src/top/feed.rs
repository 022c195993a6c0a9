//! The feed: a thread that reads the daemon's live socket. It does not depend on the terminal, and connects again when the
//! daemon is back.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::SyncSender},
    thread,
    time::{Duration, Instant},
};

use super::{
    alert::Alert,
    live_state::{FeedStatus, LiveState},
};
use crate::term::{events::Event, text};
use live::{
    client::{ClientError, LiveClient},
    protocol::{
        AlertLine, ConnectionLine, ContextLine, ErrorLine, HelloLine, LineKind, LossLine, TickLine,
        TrafficLine,
    },
};
use model::text::time;

/// Pause before the next attempt to connect.
const RETRY: Duration = Duration::from_millis(500);

/// The message to the screen that [`LiveState`] has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed;

/// The live state, which the feed thread changes and the screen reads.
pub type SharedLiveState = Arc<Mutex<LiveState>>;

/// Locks the live state, also after a panic of another thread.
pub fn lock(live: &SharedLiveState) -> MutexGuard<'_, LiveState> {
    live.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the thread with a connection to the daemon. It sends a message whenever there is something new to draw.
///
/// # Errors
/// The system refuses a thread.
pub fn start(
    socket: &Path,
    client: LiveClient,
    live: SharedLiveState,
    changes: SyncSender<Event<Changed>>,
) -> io::Result<()> {
    let socket = socket.to_owned();
    thread::Builder::new().name("feed".to_owned()).spawn(move || {
        let notify = || drop(changes.try_send(Event::Message(Changed)));
        let mut client = Ok(client);
        loop {
            let error = match client {
                Ok(mut client) => {
                    lock(&live).connected(describe(client.status()));
                    lock(&live).heard(Instant::now());
                    notify();
                    read_lines(&mut client, &live, notify)
                }
                Err(error) => error,
            };
            let text = text::sentence(&model::error_chain(&error), lock(&live).ascii);
            lock(&live).status = FeedStatus::Lost(text);
            notify();
            thread::sleep(RETRY);
            client = LiveClient::subscribe(&socket);
        }
    })?;
    Ok(())
}

fn describe(HelloLine { version, monitor, since, .. }: &HelloLine) -> String {
    let version = text::safe(version.as_bytes(), true);
    format!("picosnitch {version} (process {monitor}) is recording since {}", time::local(*since))
}

/// Reads lines until there are no more. Returns the reason.
fn read_lines(client: &mut LiveClient, live: &SharedLiveState, notify: impl Fn()) -> ClientError {
    let mut line = Vec::new();
    loop {
        if let Err(error) = client.read_line(&mut line) {
            return error;
        }
        if apply_line(&line, &mut lock(live), Instant::now()) {
            notify();
        }
    }
}

/// Applies a line to the live state. Returns whether there is something new to draw.
pub fn apply_line(line: &[u8], live: &mut LiveState, now: Instant) -> bool {
    let Ok(kind) = serde_json::from_slice::<LineKind>(line) else {
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
        "alert" => serde_json::from_slice::<AlertLine>(line).map(|line| apply_alert(line, live)),
        "error" => serde_json::from_slice::<ErrorLine>(line)
            .map(|line| live.add_alert(Alert::from_error(&line, live.ascii))),
        // A loss that matters is reported as an error, too.
        "loss" => serde_json::from_slice::<LossLine>(line).map(|line| live.add_loss(line)),
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

fn apply_alert(line: AlertLine, live: &mut LiveState) {
    if let Some(alert) = Alert::from_alert(&line, live.ascii) {
        live.highlight(line.path.0, alert.highlight);
        live.add_alert(alert);
    }
}
