//! `/api/v1/health`: whether picosnitch records, what it could not see, what it costs, and how large its log is.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use axum::{body::Bytes, extract::State, response::Response};
use live::protocol::{FilePaths, HelloLine, LastError, ServerCopy};
use model::{Consequence, Loss, LossKind, Losses, text::sanitize};
use question::json;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use server_query::SourceReader;
use store::{Range, Source};
use utoipa::ToSchema;

use super::{Api, json_response, to_json};
use crate::{
    error::{ApiError, ErrorBody, ErrorKind},
    process::{ProcessUse, usage},
    readers::LogFile,
};

/// How long a number of records is told, and after which time it is counted again.
const KNOWN_FOR: Duration = Duration::from_secs(180);
const COUNTED_FOR: Duration = Duration::from_secs(60);
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// The state of picosnitch on this machine.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// The present, unix seconds.
    now: i64,
    /// Name of this machine.
    hostname: String,
    /// Version of this server.
    version: &'static str,
    /// Release of the kernel.
    kernel: String,
    /// The daemon; null if it does not answer.
    daemon: Option<Daemon>,
    /// Why there is no `daemon`.
    daemon_problem: Option<String>,
    /// The log; null if it cannot be read.
    log: Option<Log>,
    /// Why there is no `log`.
    log_problem: Option<String>,
    /// How long records are kept; null if the configuration may not be read.
    retention: Option<Retention>,
    /// What was lost in the last day: objects with kind, count, consequence and text.
    #[schema(value_type = Vec<Object>)]
    losses_24h: Vec<Json>,
    /// What was lost in the last thirty days.
    #[schema(value_type = Vec<Object>)]
    losses_30d: Vec<Json>,
    /// This server.
    dash: Dash,
}

/// The daemon, as it describes itself.
#[derive(Serialize, ToSchema)]
pub(crate) struct Daemon {
    /// Version of the daemon.
    version: String,
    /// When it was started, unix seconds.
    since: i64,
    /// Process id of the monitor.
    monitor: u32,
    /// Process id of the recorder.
    recorder: u32,
    /// Programs that have ever used the network.
    programs: usize,
    /// Executables that wait to be hashed.
    digests_pending: usize,
    /// Alerts since the start.
    alerts: u64,
    /// Errors since the start.
    errors: u64,
    /// The last of them.
    last_error: Option<Problem>,
    /// Progress of the look-ups at VirusTotal; null without a key.
    #[schema(value_type = Object)]
    virustotal: serde_json::Value,
    /// The copies of the log on servers, as the line `hello` of the live socket has them, and `text`, all of it in words.
    #[schema(value_type = Vec<Object>)]
    servers: Vec<Json>,
    /// What was lost since the start.
    #[schema(value_type = Vec<Object>)]
    losses: Vec<Json>,
    /// Clients of the live socket.
    subscribers: usize,
    /// Clients that were dropped because they were too slow or too many.
    subscribers_dropped: u64,
    /// Sentences about what this kernel does not show.
    unseen: Vec<String>,
    /// The files that are written.
    files: Files,
    /// What its processes use.
    processes: Vec<ProcessUse>,
}

/// An error of the daemon.
#[derive(Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Unix seconds.
    time: i64,
    /// The sentence.
    text: String,
}

/// The files that the daemon writes; null for those that it does not.
#[derive(Serialize, ToSchema)]
pub(crate) struct Files {
    database: Option<String>,
    record: String,
    exe_log: String,
    conn_log: Option<String>,
}

/// The log.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Log {
    /// Identity of the file; a log that was replaced has another one.
    id: String,
    /// Its path.
    path: String,
    /// Bytes that are in use.
    bytes: u64,
    /// Records, as many as there were some minutes ago at most; null until they are counted.
    records: Option<u64>,
    /// End of the first window, unix seconds; null in an empty log.
    first: Option<i64>,
    /// End of the last window, unix seconds; null in an empty log.
    last: Option<i64>,
    /// Before it there are sums of quarters of an hour only, unix seconds; null if every record is there.
    detail_since: Option<i64>,
    /// Bytes per day, on the average of its length; null in a log of less than an hour.
    bytes_per_day: Option<u64>,
    /// Version of its schema.
    schema: usize,
}

/// How long records are kept.
#[derive(Serialize, ToSchema)]
pub(crate) struct Retention {
    /// Days after which a record is deleted.
    days: u32,
    /// Megabytes above which the oldest detail is deleted; null: the default, 0: never.
    megabytes: Option<u32>,
}

/// This server.
#[derive(Serialize, ToSchema)]
pub(crate) struct Dash {
    /// What it uses.
    #[serde(flatten)]
    process: Option<ProcessUse>,
    /// When it was started, unix seconds.
    since: i64,
    /// Requests since then.
    requests: u64,
    /// Answers that were given without work, because the same was asked at the same time.
    answers_from_cache: u64,
    /// Streams of live traffic that are open.
    streams: usize,
}

/// Whether picosnitch records, what it could not see, what it costs, and how large its log is.
#[utoipa::path(
    get, path = "/api/v1/health",
    responses((status = 200, body = Health), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody)),
    security(("token" = [])),
)]
pub(crate) async fn health(State(api): State<Arc<Api>>) -> Result<Response, ApiError> {
    api.source.only_of_own_log("Health")?;
    let (layout, at_start) = (api.layout.clone(), api.log.clone());
    let retention = tokio::task::spawn_blocking(move || {
        let log = config::Config::load(&layout).ok().map(|loaded| loaded.config.log).or(at_start);
        log.map(|log| Retention { days: log.retention_days, megabytes: log.retention_megabytes })
    });
    let path = sanitize::terminal(api.layout.database.as_os_str().as_encoded_bytes());
    api.record_count.renew(&api);
    let shared = Arc::clone(&api);
    let log = api.readers.answer("health".to_owned(), move |file| log_json(&shared, file, path)).await;
    let retention = retention.await.unwrap_or_default();
    let (daemon, daemon_problem) = match api.daemon.now().await {
        // The processes are looked at now.
        Ok(status) => (Some(Daemon::new(&status)), None),
        Err(problem) => (None, Some(problem)),
    };
    let (log, log_problem) = match log {
        Ok(bytes) => match serde_json::from_slice::<LogState>(&bytes) {
            Ok(state) => (Some(state), None),
            Err(error) => (None, Some(error.to_string())),
        },
        Err(error) => (None, Some(error.text)),
    };
    let (log, losses_24h, losses_30d) = match log {
        Some(state) => (Some(state.log), state.losses_24h, state.losses_30d),
        None => (None, Vec::new(), Vec::new()),
    };
    let health = Health {
        now: model::text::time::now(),
        hostname: nix::unistd::gethostname()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
        version: env!("CARGO_PKG_VERSION"),
        kernel: kernel(),
        daemon,
        daemon_problem,
        log,
        log_problem,
        retention,
        losses_24h,
        losses_30d,
        dash: Dash {
            process: usage("dash", std::process::id()),
            since: api.since,
            requests: api.requests.load(Ordering::Relaxed),
            answers_from_cache: api.readers.shared_answers.load(Ordering::Relaxed),
            streams: api.streams.count(),
        },
    };
    Ok(json_response(to_json(&health)?))
}

fn kernel() -> String {
    let name = nix::sys::utsname::uname();
    name.map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default()
}

impl Daemon {
    fn new(status: &HelloLine) -> Self {
        let FilePaths { database, record, exe_log, conn_log } = status.files.clone();
        let losses = status.losses.iter().filter(|(_, count)| **count > 0);
        let processes = [("monitor", status.monitor), ("recorder", status.recorder)];
        Self {
            version: status.version.clone(),
            since: status.since,
            monitor: status.monitor,
            recorder: status.recorder,
            programs: status.programs,
            digests_pending: status.digests_pending,
            alerts: status.alerts,
            errors: status.errors,
            last_error: status.last_error.clone().map(|LastError { time, text }| Problem { time, text }),
            virustotal: status.virustotal.clone(),
            servers: status.servers.iter().map(server).collect(),
            losses: losses.map(|(name, count)| named_loss(name, *count)).collect(),
            subscribers: status.subscribers,
            subscribers_dropped: status.subscribers_dropped,
            unseen: status.unseen.clone(),
            files: Files { database, record, exe_log, conn_log },
            processes: processes.into_iter().filter_map(|(name, pid)| usage(name, pid)).collect(),
        }
    }
}

/// A copy of the log on a server, with a sentence about it.
fn server(copy: &ServerCopy) -> Json {
    let mut json = serde_json::to_value(copy).unwrap_or_default();
    json["text"] = copy.sentence(model::text::time::now()).into();
    json
}

fn losses_since(file: &LogFile, since: i64) -> Result<Vec<Json>, ApiError> {
    let losses = file.reader.losses(Range { since: Some(since), until: None }, &[])?;
    Ok(losses.iter().map(json::loss).collect())
}

/// A loss by its name, which may be that of another version of the daemon.
fn named_loss(name: &str, count: u64) -> Json {
    match LossKind::from_name(name) {
        Some(kind) => json::loss(&Loss { kind, count }),
        None => json!({
            "kind": name,
            "count": count,
            "consequence": Consequence::TrafficMissing,
            "text": Losses::from_names([(name, count)]).summary(),
        }),
    }
}

/// The number of records. It is counted once in a minute, and nobody waits for it: of ten million that takes 0.15 s.
#[derive(Default)]
pub(crate) struct RecordCount(Mutex<Option<Counted>>);

struct Counted {
    /// Identity of the log; empty while the first count is at work.
    id: String,
    /// When the last count began, and when the last one that succeeded ended.
    begin: Instant,
    end: Instant,
    count: u64,
}

impl RecordCount {
    fn lock(&self) -> MutexGuard<'_, Option<Counted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of records of a log, if it is known.
    pub fn known(&self, id: &str) -> Option<u64> {
        let counted = self.lock();
        let known = counted.as_ref().filter(|counted| counted.id == id && counted.end.elapsed() < KNOWN_FOR);
        known.map(|counted| counted.count)
    }

    /// Counts again in the background, if the last count began a minute ago.
    pub fn renew(&self, api: &Arc<Api>) {
        let now = Instant::now();
        let mut counted = self.lock();
        match &mut *counted {
            Some(counted) if counted.begin.elapsed() < COUNTED_FOR => return,
            Some(counted) => counted.begin = now,
            None => *counted = Some(Counted { id: String::new(), begin: now, end: now, count: 0 }),
        }
        drop(counted);
        let api = Arc::clone(api);
        tokio::spawn(async move {
            let shared = Arc::clone(&api);
            let work = move |file: &LogFile| {
                let SourceReader::Log(reader) = &file.reader else { return Ok(Bytes::new()) };
                let count = reader.record_count()?;
                let end = Instant::now();
                let counted = Counted { id: file.id.clone(), begin: end, end, count };
                *shared.record_count.lock() = Some(counted);
                Ok(Bytes::new())
            };
            // Without a log there is nothing to count.
            let _ = api.readers.answer("record count".to_owned(), work).await;
        });
    }
}

/// What the log says about itself, as the readers give it.
#[derive(Serialize, Deserialize)]
struct LogState {
    log: Log,
    losses_24h: Vec<Json>,
    losses_30d: Vec<Json>,
}

fn log_json(api: &Api, file: &LogFile, path: String) -> Result<Bytes, ApiError> {
    let SourceReader::Log(reader) = &file.reader else {
        return Err(ApiError::new(ErrorKind::NotFound, "a server has no log of its own"));
    };
    let (now, extent, bytes) = (model::text::time::now(), reader.extent()?, reader.used_bytes()?);
    let seconds = extent.map_or(0, |(first, last)| last.saturating_sub(first));
    let per_day = |bytes: u64| (u128::from(bytes) * 86_400 / u128::from(seconds.unsigned_abs())) as u64;
    let state = LogState {
        log: Log {
            id: file.id.clone(),
            path,
            bytes,
            records: api.record_count.known(&file.id),
            first: extent.map(|(first, _)| first),
            last: extent.map(|(_, last)| last),
            detail_since: reader.detail_since()?,
            bytes_per_day: (seconds >= HOUR).then(|| per_day(bytes)),
            schema: store::SCHEMA_VERSION,
        },
        losses_24h: losses_since(file, now - DAY)?,
        losses_30d: losses_since(file, now - 30 * DAY)?,
    };
    to_json(&state)
}
