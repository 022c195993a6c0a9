//! `/api/v1/live`: the lines of the live socket as a stream.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use live::{
    client::{ClientError, LiveClient},
    protocol::SOCKET_NAME,
};
use serde_json::json;
use tokio::sync::mpsc;

use super::{Api, body_of};
use crate::error::{ApiError, ErrorKind, with_sources};

/// Streams at the same time. The tabs of a browser share one, and the daemon serves 16 clients of a user.
const MAX_STREAMS: usize = 12;
/// Parts of a stream that wait for a slow client; then the daemon waits, and drops the stream if that takes too long.
const MAX_WAITING: usize = 64;
/// Bytes of lines that are sent together.
const PART_BYTES: usize = 32 * 1024;
/// How long to wait before the daemon is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// How long a daemon may write nothing. It writes twice a second.
const MAX_SILENCE: Duration = Duration::from_secs(10);
/// Memory for the stack of a thread: it reads lines.
const STACK_BYTES: usize = 128 * 1024;

/// The number of streams.
#[derive(Default)]
pub(crate) struct Streams(AtomicUsize);

impl Streams {
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// One of the streams, which is counted until it is dropped.
struct Place(Arc<Api>);

impl Place {
    fn take(api: &Arc<Api>) -> Option<Self> {
        let taken = api.streams.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
            (count < MAX_STREAMS).then_some(count + 1)
        });
        taken.ok().map(|_| Self(Arc::clone(api)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.streams.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What happens now, as JSON lines: those of the live socket (docs/live.md), and `dash` lines about the daemon itself.
#[utoipa::path(
    get, path = "/api/v1/live",
    responses(
        (status = 200, description = "Lines of JSON without an end", content_type = "application/x-ndjson"),
        (status = 503, description = "Too many streams", body = crate::error::ErrorBody),
    ),
    security(("token" = [])),
)]
pub(crate) async fn live(State(api): State<Arc<Api>>) -> Result<Response, ApiError> {
    api.source.only_of_own_log("live traffic")?;
    let busy = || {
        ApiError::new(
            ErrorKind::Busy,
            "too many pages watch the live traffic; close some of them and try again",
        )
    };
    let place = Place::take(&api).ok_or_else(busy)?;
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    let socket = api.layout.run_dir.join(SOCKET_NAME);
    thread::Builder::new()
        .name("live".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            let _place = place;
            pass_on(&socket, &sender);
        })
        .map_err(|_| busy())?;
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(([kind], body_of(receiver)).into_response())
}

/// Passes the lines of the daemon on until the client goes.
fn pass_on(socket: &Path, sender: &mpsc::Sender<Bytes>) {
    let mut said = None;
    while !sender.is_closed() {
        let problem = match LiveClient::subscribe(socket) {
            Ok(client) => {
                said = None;
                match pass_on_lines(client, sender) {
                    Some(error) => with_sources(&error),
                    None => return,
                }
            }
            Err(error) => with_sources(&error),
        };
        // It is said once. The empty lines after it show whether the client is still there.
        let line = match said.as_ref() == Some(&problem) {
            true => Bytes::from_static(b"\n"),
            false => state_line("stopped", &problem),
        };
        said = Some(problem);
        if sender.blocking_send(line).is_err() {
            return;
        }
        thread::sleep(RETRY_PAUSE);
    }
}

/// Passes lines on until the daemon ends, or is silent, and returns why; `None` if the client has gone.
fn pass_on_lines(mut daemon: LiveClient, sender: &mpsc::Sender<Bytes>) -> Option<ClientError> {
    if let Err(error) = daemon.set_silence_limit(MAX_SILENCE) {
        return Some(error);
    }
    let mut part = state_line("connected", "").to_vec();
    part.extend_from_slice(daemon.hello());
    let mut line = Vec::new();
    let mut is_news = true;
    loop {
        if (is_news || part.len() >= PART_BYTES)
            && sender.blocking_send(std::mem::take(&mut part).into()).is_err()
        {
            return None;
        }
        if let Err(error) = daemon.read_line(&mut line) {
            return Some(error);
        }
        // These describe traffic up to the next tick, and are of no use before it.
        is_news = ![
            &b"{\"event\":\"context\""[..],
            b"{\"event\":\"connection\"",
            b"{\"event\":\"listening\"",
            b"{\"event\":\"traffic\"",
        ]
        .iter()
        .any(|start| line.starts_with(start));
        part.extend_from_slice(&line);
    }
}

/// A line about the daemon.
fn state_line(state: &str, text: &str) -> Bytes {
    format!("{}\n", json!({"event": "dash", "state": state, "text": text})).into()
}
