//! The schedule of look-ups: which digests of record.json are looked up, and when. Those without a verdict come first, the
//! most recently seen ones before the others.

use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    api::Settings,
    start_error::StartError,
    verdict::{Verdict, is_pending},
    worker::{LookupRequest, LookupWorker},
};
use known_programs::KnownPrograms;
use model::Sha256;

/// Upper bound for the files that are kept open for an upload.
const MAX_FILES: usize = 64;
/// Upper bound for the files that are kept open while they are being hashed.
const MAX_CANDIDATES: usize = 256;
/// Pause before a digest is looked up again whose responses were unusable.
const PAUSE_AFTER_UNUSABLE: Duration = Duration::from_secs(3600);

/// Looks up digests one after the other.
pub struct LookupSchedule {
    worker: LookupWorker,
    upload: bool,
    /// Pause before the verdict of an uploaded file is looked up.
    pause_after_upload: Duration,
    /// The digest that the worker looks up now.
    current: Option<Sha256>,
    /// Digests that are not looked up before a point in time.
    not_before: HashMap<Sha256, Instant>,
    /// Executables that are being hashed, by id.
    candidates: HashMap<u32, File>,
    /// Executables that may have to be uploaded, the oldest first.
    files: VecDeque<(Sha256, File)>,
    /// Number of digests without a verdict.
    pending: usize,
    /// When to look for the next digest.
    check_at: Option<Instant>,
}

impl LookupSchedule {
    /// Starts the worker thread.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(settings: &Settings) -> Result<Self, StartError> {
        let pause = Duration::from_secs(settings.request_limit_seconds.into());
        Ok(Self {
            worker: LookupWorker::start(settings)?,
            upload: settings.upload,
            pause_after_upload: (pause * 20).clamp(Duration::from_secs(1), Duration::from_secs(3600)),
            current: None,
            not_before: HashMap::new(),
            candidates: HashMap::new(),
            files: VecDeque::new(),
            pending: 0,
            check_at: Some(Instant::now()),
        })
    }

    /// Keeps the file of an executable that is being hashed, since it may have to be uploaded.
    pub fn add_candidate(&mut self, id: u32, file: &File) {
        if self.upload
            && self.candidates.len() < MAX_CANDIDATES
            && let Ok(file) = file.try_clone()
        {
            self.candidates.insert(id, file);
        }
    }

    /// Takes the digest of an executable; `None` if it could not be hashed.
    pub fn set_digest(&mut self, id: u32, digest: Option<Sha256>, known: &KnownPrograms) {
        let (Some(file), Some(digest)) = (self.candidates.remove(&id), digest) else { return };
        self.files.retain(|(other, _)| *other != digest);
        self.files.push_back((digest, file));
        if self.files.len() > MAX_FILES {
            // Files of programs without any traffic are given up first.
            let victim = self.files.iter().position(|(digest, _)| !known.has_digest(*digest)).unwrap_or(0);
            self.files.remove(victim);
        }
    }

    /// Forgets the executables with smaller ids: these ids are not used again.
    pub fn forget_candidates_before(&mut self, id: u32) {
        self.candidates.retain(|candidate, _| *candidate >= id);
    }

    /// Makes the next [`LookupSchedule::serve`] look for new digests.
    pub fn check_soon(&mut self) {
        self.check_at = Some(Instant::now());
    }

    /// A descriptor that is readable when the worker has a result or a problem.
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.worker.as_fd()
    }

    /// When [`LookupSchedule::serve`] has something to do even if the worker has nothing.
    pub fn due(&self) -> Option<Instant> {
        self.check_at.filter(|_| self.current.is_none())
    }

    /// Returns new verdicts, gives a sentence about each problem to `report`, and hands the worker the next digest. Never
    /// waits.
    pub fn serve(&mut self, known: &KnownPrograms, report: impl Fn(&str)) -> Vec<(Sha256, Verdict)> {
        let now = Instant::now();
        let (results, problem) = self.worker.take_results();
        if let Some(problem) = problem {
            report(&problem);
        }
        let mut verdicts = Vec::new();
        for result in results {
            self.current = None;
            self.check_at = Some(now);
            match result.verdict {
                Ok(verdict) => {
                    if verdict == Verdict::Uploaded {
                        self.not_before.insert(result.digest, now + self.pause_after_upload);
                    } else {
                        self.files.retain(|(digest, _)| *digest != result.digest);
                    }
                    verdicts.push((result.digest, verdict));
                }
                Err(why) => {
                    self.not_before.insert(result.digest, now + PAUSE_AFTER_UNUSABLE);
                    report(&format!(
                        "VirusTotal gave no usable answer about {}: {why}. It is asked again in an hour.",
                        result.digest.to_hex()
                    ));
                }
            }
        }
        // The caller stores new verdicts in `known` first, so the next digest is chosen by the next call.
        if verdicts.is_empty() && self.due().is_some_and(|at| at <= now) {
            self.request_next(known, now);
        }
        verdicts
    }

    fn request_next(&mut self, known: &KnownPrograms, now: Instant) {
        self.not_before.retain(|_, at| *at > now);
        self.check_at = self.not_before.values().min().copied();
        let verdicts = known.verdicts();
        self.pending = verdicts.iter().filter(|(_, text)| is_pending(text)).count();
        let next = verdicts.into_iter().find(|(digest, text)| {
            let can_upload = || self.upload && *text == "unknown" && self.file(*digest).is_some();
            !self.not_before.contains_key(digest) && (is_pending(text) || can_upload())
        });
        let Some((digest, text)) = next else { return };
        let file = self.file(digest).and_then(|file| file.try_clone().ok());
        let request = LookupRequest { digest, file, is_uploaded: text == "uploaded" };
        if self.worker.offer(request).is_ok() {
            self.current = Some(digest);
        }
    }

    fn file(&self, digest: Sha256) -> Option<&File> {
        self.files.iter().find(|(found, _)| *found == digest).map(|(_, file)| file)
    }

    /// The state of the look-ups as the live socket shows it (docs/live.md).
    pub fn status(&self) -> serde_json::Value {
        let status = self.worker.status();
        let next = status.next_request.map(|next| next.saturating_duration_since(Instant::now()).as_secs());
        let mut text = format!("{} looked up, {} pending", status.looked_up, self.pending);
        if let Some(why) = &status.waiting_reason {
            text += &format!("; waits: {why}");
        }
        if let Some(seconds) = next.filter(|seconds| *seconds > 0) {
            text += &format!("; next request in {seconds} s");
        }
        json!({
            "text": text,
            "looked_up": status.looked_up,
            "pending": self.pending,
            "next_request_seconds": next,
            "waiting_reason": status.waiting_reason,
        })
    }
}
