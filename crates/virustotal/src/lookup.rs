//! Asks VirusTotal about new programs, in a thread of its own: one request at a time, with a pause between two, from a
//! process that is not root.

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

use super::client::{Answer, Client, Stats};
use model::Sha256;

/// The largest file that is sent: the API's limit for its simple way.
const MAX_UPLOAD: u64 = 32 * 1024 * 1024;
/// Pause after a failure, twice as long each time.
const SHORTEST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(3600);
/// Tries of one digest whose answer makes no sense.
const MAX_TRIES: u32 = 3;

/// How VirusTotal is asked (section `[virustotal]` of the configuration).
#[derive(Clone, Serialize, Deserialize)]
pub struct Settings {
    /// The API, such as `https://www.virustotal.com/api/v3`.
    pub url: String,
    /// Its key.
    pub key: String,
    /// Send files that VirusTotal does not know.
    pub upload: bool,
    /// Seconds between two requests.
    pub request_limit_seconds: u32,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("url", &self.url).finish_non_exhaustive()
    }
}

/// What is known about a digest: the text of it is the one in record.json.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Engines call it malicious or suspicious.
    Suspicious(Stats),
    /// No engine does.
    Clean(Stats),
    /// VirusTotal does not know it.
    Unknown,
    /// It does not, and the file was not sent: why.
    NotSent(String),
    /// It was sent; the analysis is awaited.
    Uploaded,
}

impl Verdict {
    /// The text for record.json.
    pub fn text(&self) -> String {
        match self {
            Self::Suspicious(Stats { malicious, suspicious, total }) => {
                format!("suspicious: {malicious} malicious, {suspicious} suspicious of {total}")
            }
            Self::Clean(Stats { total, .. }) => format!("clean: 0 of {total}"),
            Self::Unknown => "unknown".into(),
            Self::NotSent(why) => format!("unknown, not sent: {why}"),
            Self::Uploaded => "uploaded".into(),
        }
    }
}

/// Whether a text of record.json still waits for a verdict. The last two are the original's.
pub fn is_pending(text: &str) -> bool {
    text.is_empty()
        || text == "uploaded"
        || text.starts_with("VT Pending")
        || text.starts_with("File not analyzed")
}

/// A digest to ask about.
#[derive(Debug)]
pub struct Job {
    /// The digest.
    pub digest: Sha256,
    /// The file that has it, to be sent if need be.
    pub file: Option<File>,
    /// It was sent already.
    pub uploaded: bool,
}

/// What came of a job.
#[derive(Debug)]
pub struct Outcome {
    /// The digest.
    pub digest: Sha256,
    /// The verdict, or why there is none now.
    pub verdict: Result<Verdict, String>,
}

/// How it goes.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Verdicts that came.
    pub looked_up: u64,
    /// What it waits for.
    pub waits: Option<String>,
    /// When the next request is made.
    pub next: Option<Instant>,
    /// Trouble that was not told yet.
    trouble: Option<String>,
    /// Refused: no more requests.
    stopped: bool,
}

/// The way to the thread.
pub struct VirusTotal {
    jobs: SyncSender<Job>,
    outcomes: Receiver<Outcome>,
    progress: Arc<Mutex<Progress>>,
    bell: Arc<EventFd>,
}

impl VirusTotal {
    /// Starts the thread.
    ///
    /// # Errors
    /// Why VirusTotal cannot be asked.
    pub fn start(settings: &Settings) -> Result<Self, String> {
        // Who answers is a stranger: what reads the answer shall not be able to do much.
        if nix::unistd::geteuid().is_root() {
            return Err("VirusTotal is never asked by a process of root's".into());
        }
        Self::start_unchecked(settings)
    }

    fn start_unchecked(settings: &Settings) -> Result<Self, String> {
        let client = Client::new(&settings.url, &settings.key)?;
        let (jobs, theirs) = mpsc::sync_channel::<Job>(1);
        let (ours, outcomes) = mpsc::channel();
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let bell = Arc::new(EventFd::from_flags(flags).map_err(|error| error.to_string())?);
        let progress = Arc::new(Mutex::new(Progress::default()));
        let mut worker = Worker {
            client,
            upload: settings.upload,
            pause: Duration::from_secs(settings.request_limit_seconds.into()),
            progress: Arc::clone(&progress),
            bell: Arc::clone(&bell),
            requested: None,
            backoff: Duration::ZERO,
        };
        let work = move || {
            for job in theirs {
                let outcome = Outcome { digest: job.digest, verdict: worker.work(job) };
                if ours.send(outcome).is_err() {
                    return;
                }
                worker.ring();
            }
        };
        thread::Builder::new().name("virustotal".into()).spawn(work).map_err(|error| error.to_string())?;
        Ok(Self { jobs, outcomes, progress, bell })
    }

    /// Hands over a job; it comes back while another one is being worked on. Never waits.
    pub fn offer(&self, job: Job) -> Result<(), Job> {
        self.jobs.try_send(job).map_err(|refused| match refused {
            mpsc::TrySendError::Full(job) | mpsc::TrySendError::Disconnected(job) => job,
        })
    }

    /// What came since the last call, and trouble that the user should know of. The descriptor of [`AsFd`] is readable
    /// when there is something.
    pub fn take(&self) -> (Vec<Outcome>, Option<String>) {
        let _ = self.bell.read();
        (self.outcomes.try_iter().collect(), lock(&self.progress).trouble.take())
    }

    /// How it goes.
    pub fn progress(&self) -> Progress {
        lock(&self.progress).clone()
    }
}

impl AsFd for VirusTotal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Worker {
    client: Client,
    upload: bool,
    pause: Duration,
    progress: Arc<Mutex<Progress>>,
    bell: Arc<EventFd>,
    /// When the last request was made.
    requested: Option<Instant>,
    backoff: Duration,
}

impl Worker {
    fn work(&mut self, job: Job) -> Result<Verdict, String> {
        let verdict = match self.ask(|client| client.look_up(job.digest))? {
            Answer::Known(stats) if stats.malicious + stats.suspicious > 0 => Verdict::Suspicious(stats),
            Answer::Known(stats) => Verdict::Clean(stats),
            _ if job.uploaded => Verdict::Uploaded,
            _ => self.send(&job)?,
        };
        lock(&self.progress).looked_up += 1;
        Ok(verdict)
    }

    fn send(&mut self, job: &Job) -> Result<Verdict, String> {
        let Some(file) = job.file.as_ref().filter(|_| self.upload) else { return Ok(Verdict::Unknown) };
        let bytes = match read_whole(file, job.digest) {
            Ok(bytes) => bytes,
            Err(why) => return Ok(Verdict::NotSent(why)),
        };
        match self.ask(|client| client.upload(job.digest, &bytes))? {
            Answer::Uploaded => Ok(Verdict::Uploaded),
            _ => Err("it was not taken".into()),
        }
    }

    /// Asks until there is an answer.
    fn ask(&mut self, request: impl Fn(&Client) -> Answer) -> Result<Answer, String> {
        let mut tries = 0;
        loop {
            self.wait();
            self.requested = Some(Instant::now());
            match request(&self.client) {
                Answer::Later(why) => {
                    self.backoff =
                        (self.backoff * 2).clamp(SHORTEST_BACKOFF.max(self.pause), LONGEST_BACKOFF);
                    self.tell(&why, format!(
                        "VirusTotal cannot be asked now: {why}. New programs are not checked meanwhile; it is tried again \
                         by itself."
                    ));
                }
                Answer::Refused(why) => {
                    self.tell(&why, format!(
                        "VirusTotal does not accept the key ({why}): no program is checked. Correct virustotal.api_key and \
                         restart picosnitch."
                    ));
                    lock(&self.progress).stopped = true;
                    // Whoever goes on asking with a bad key is locked out: nothing more is asked in this run.
                    loop {
                        thread::park();
                    }
                }
                Answer::Nonsense(why) => {
                    tries += 1;
                    if tries >= MAX_TRIES {
                        return Err(why);
                    }
                    self.backoff = (self.backoff * 2).clamp(SHORTEST_BACKOFF, LONGEST_BACKOFF);
                }
                answer => {
                    self.backoff = Duration::ZERO;
                    lock(&self.progress).waits = None;
                    return Ok(answer);
                }
            }
        }
    }

    fn wait(&mut self) {
        let next = self.requested.map(|last| last + self.pause.max(self.backoff));
        lock(&self.progress).next = next;
        if let Some(next) = next {
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }

    /// Tells trouble once, until it is over.
    fn tell(&self, why: &str, text: String) {
        let mut progress = lock(&self.progress);
        if progress.waits.is_none() {
            progress.trouble = Some(text);
        }
        progress.waits = Some(why.to_owned());
        drop(progress);
        self.ring();
    }

    fn ring(&self) {
        let _ = self.bell.write(1);
    }
}

/// The bytes that were hashed, and no others.
fn read_whole(file: &File, digest: Sha256) -> Result<Vec<u8>, String> {
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    if size > MAX_UPLOAD {
        return Err(format!("{size} bytes are more than 32 MiB"));
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0).map_err(|error| error.to_string())?;
    let found: [u8; 32] = Hasher::digest(&bytes).into();
    if found != digest.0 { Err("it has changed since".into()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests;
