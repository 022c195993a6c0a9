//! The thread that looks up digests at VirusTotal: one request at a time, with a pause between two, in a process that is not
//! root.

use std::{
    fs::File,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt,
    },
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use nix::sys::eventfd::{EfdFlags, EventFd};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256 as Hasher};

use super::{
    api::{ApiClient, ApiResponse, Settings},
    start_error::StartError,
    verdict::Verdict,
};
use model::Sha256;

/// Upper bound for an uploaded file: the limit of the API's simple upload.
const MAX_UPLOAD_BYTES: u64 = 32 * 1024 * 1024;
/// Pause after the first failure; each further failure doubles it.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(3600);
/// Requests for one digest whose responses are unusable.
const MAX_ATTEMPTS: u32 = 3;

/// A digest to look up.
#[derive(Debug)]
pub struct LookupRequest {
    /// The digest itself.
    pub digest: Sha256,
    /// The file with this digest; it is uploaded if VirusTotal does not know it.
    pub file: Option<File>,
    /// The file was uploaded before.
    pub is_uploaded: bool,
}

/// The result of a [`LookupRequest`].
#[derive(Debug, Serialize, Deserialize)]
pub struct LookupResult {
    /// The digest that was looked up.
    pub digest: Sha256,
    /// The verdict, or why there is none now.
    pub verdict: Result<Verdict, String>,
}

/// The state of the worker.
#[derive(Clone, Debug, Default)]
pub struct WorkerStatus {
    /// Number of verdicts so far.
    pub looked_up: u64,
    /// The reason why no request succeeds now.
    pub waiting_reason: Option<String>,
    /// Time of the next request.
    pub next_request: Option<Instant>,
    /// A sentence about a problem that the user does not know of yet.
    problem: Option<String>,
}

/// The caller's side of the worker thread.
pub struct LookupWorker {
    requests: SyncSender<LookupRequest>,
    results: Receiver<LookupResult>,
    status: Arc<Mutex<WorkerStatus>>,
    event_fd: Arc<EventFd>,
}

impl LookupWorker {
    /// Starts the thread.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(settings: &Settings) -> Result<Self, StartError> {
        if nix::unistd::geteuid().is_root() {
            return Err(StartError::RunsAsRoot);
        }
        Self::start_unchecked(settings)
    }

    fn start_unchecked(settings: &Settings) -> Result<Self, StartError> {
        let client = ApiClient::new(&settings.url, &settings.key)?;
        let (requests, incoming) = mpsc::sync_channel::<LookupRequest>(1);
        let (outgoing, results) = mpsc::channel();
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event_fd = Arc::new(EventFd::from_flags(flags)?);
        let status = Arc::new(Mutex::new(WorkerStatus::default()));
        let mut worker = Worker {
            client,
            upload: settings.upload,
            pause: Duration::from_secs(settings.request_limit_seconds.into()),
            status: Arc::clone(&status),
            event_fd: Arc::clone(&event_fd),
            last_request: None,
            backoff: Duration::ZERO,
        };
        let run = move || {
            for request in incoming {
                let result = LookupResult { digest: request.digest, verdict: worker.look_up(request) };
                if outgoing.send(result).is_err() {
                    return;
                }
                worker.wake_caller();
            }
        };
        thread::Builder::new().name("virustotal".into()).spawn(run)?;
        Ok(Self { requests, results, status, event_fd })
    }

    /// Hands over a request; gives it back while the worker still has another one. Never waits.
    ///
    /// # Errors
    /// The request itself.
    pub fn offer(&self, request: LookupRequest) -> Result<(), LookupRequest> {
        self.requests.try_send(request).map_err(|refused| match refused {
            mpsc::TrySendError::Full(request) | mpsc::TrySendError::Disconnected(request) => request,
        })
    }

    /// The results since the last call, and a sentence about a new problem. The descriptor of [`AsFd`] is readable when
    /// there is either.
    pub fn take_results(&self) -> (Vec<LookupResult>, Option<String>) {
        let _ = self.event_fd.read();
        (self.results.try_iter().collect(), lock(&self.status).problem.take())
    }

    /// The state of the worker now.
    pub fn status(&self) -> WorkerStatus {
        lock(&self.status).clone()
    }
}

impl AsFd for LookupWorker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event_fd.as_fd()
    }
}

/// Locks the status, also after a panic of the other thread.
fn lock(status: &Mutex<WorkerStatus>) -> MutexGuard<'_, WorkerStatus> {
    status.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The state of the thread itself.
struct Worker {
    client: ApiClient,
    upload: bool,
    pause: Duration,
    status: Arc<Mutex<WorkerStatus>>,
    event_fd: Arc<EventFd>,
    last_request: Option<Instant>,
    /// Pause after the failures so far; zero after a success.
    backoff: Duration,
}

impl Worker {
    fn look_up(&mut self, request: LookupRequest) -> Result<Verdict, String> {
        let verdict = match self.request(|client| client.look_up(request.digest))? {
            ApiResponse::Known(counts) if counts.malicious + counts.suspicious > 0 => {
                Verdict::Suspicious(counts)
            }
            ApiResponse::Known(counts) => Verdict::Clean(counts),
            _ if request.is_uploaded => Verdict::Uploaded,
            _ => self.upload(&request)?,
        };
        lock(&self.status).looked_up += 1;
        Ok(verdict)
    }

    fn upload(&mut self, request: &LookupRequest) -> Result<Verdict, String> {
        let Some(file) = request.file.as_ref().filter(|_| self.upload) else { return Ok(Verdict::Unknown) };
        let bytes = match read_hashed(file, request.digest) {
            Ok(bytes) => bytes,
            Err(why) => return Ok(Verdict::NotSent(why)),
        };
        match self.request(|client| client.upload(request.digest, &bytes))? {
            ApiResponse::Uploaded => Ok(Verdict::Uploaded),
            _ => Err("it was not taken".into()),
        }
    }

    /// Makes a request, and repeats it until there is a usable response. Never returns after the key was refused, since
    /// VirusTotal locks out clients that go on with a bad key.
    fn request(&mut self, request: impl Fn(&ApiClient) -> ApiResponse) -> Result<ApiResponse, String> {
        let mut attempts = 0;
        loop {
            self.pause();
            self.last_request = Some(Instant::now());
            match request(&self.client) {
                ApiResponse::TryLater(why) => {
                    self.backoff = (self.backoff * 2).clamp(MIN_BACKOFF.max(self.pause), MAX_BACKOFF);
                    self.report(&why, format!(
                        "VirusTotal cannot be asked now: {why}. New programs are not checked meanwhile; it is tried again \
                         by itself."
                    ));
                }
                ApiResponse::KeyRefused(why) => {
                    self.report(&why, format!(
                        "VirusTotal does not accept the key ({why}): no program is checked. Correct virustotal.api_key and \
                         restart picosnitch."
                    ));
                    loop {
                        thread::park();
                    }
                }
                ApiResponse::Unusable(why) => {
                    attempts += 1;
                    if attempts >= MAX_ATTEMPTS {
                        return Err(why);
                    }
                    self.backoff = (self.backoff * 2).clamp(MIN_BACKOFF, MAX_BACKOFF);
                }
                response => {
                    self.backoff = Duration::ZERO;
                    lock(&self.status).waiting_reason = None;
                    return Ok(response);
                }
            }
        }
    }

    /// Sleeps until the next request is due.
    fn pause(&self) {
        let next = self.last_request.map(|last| last + self.pause.max(self.backoff));
        lock(&self.status).next_request = next;
        if let Some(next) = next {
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }

    /// Hands the caller the sentence `text` about a problem, once until a request succeeds.
    fn report(&self, why: &str, text: String) {
        let mut status = lock(&self.status);
        if status.waiting_reason.is_none() {
            status.problem = Some(text);
        }
        status.waiting_reason = Some(why.to_owned());
        drop(status);
        self.wake_caller();
    }

    fn wake_caller(&self) {
        let _ = self.event_fd.write(1);
    }
}

/// Reads a file if it still has this digest. The error says in words why it is not uploaded.
fn read_hashed(file: &File, digest: Sha256) -> Result<Vec<u8>, String> {
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    if size > MAX_UPLOAD_BYTES {
        return Err(format!("{size} bytes are more than 32 MiB"));
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0).map_err(|error| error.to_string())?;
    let found: [u8; 32] = Hasher::digest(&bytes).into();
    if found != digest.0 { Err("it has changed since".into()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests;
