//! The schedule of look-ups: which digests of record.json are looked up, and when. Those without a verdict come first, the
//! most recently seen ones before the others.

use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    time::{Duration, Instant},
};

use serde_json::json;

use serde::{Deserialize, Serialize};

use super::{
    verdict::{Verdict, is_pending},
    worker::{LookupRequest, LookupResult},
};
use known_programs::KnownPrograms;
use model::Sha256;

/// Upper bound for the files that are kept open for an upload.
const MAX_FILES: usize = 64;
/// Upper bound for the files that are kept open while they are being hashed.
const MAX_CANDIDATES: usize = 256;
/// Pause before a digest is looked up again whose responses were unusable.
const PAUSE_AFTER_UNUSABLE: Duration = Duration::from_secs(3600);

/// What the exporter says about its look-ups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookupStatus {
    /// Number of verdicts so far.
    pub looked_up: u64,
    /// The reason why no request succeeds now.
    pub waiting_reason: Option<String>,
    /// Seconds until the next request.
    pub next_request_seconds: Option<u64>,
}

/// Chooses digests one after the other. The exporter, which has the key and the network, looks them up.
pub struct LookupSchedule {
    upload: bool,
    /// Pause before the verdict of an uploaded file is looked up.
    pause_after_upload: Duration,
    /// The exporter takes digests.
    is_connected: bool,
    /// The digest that is looked up now.
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
    /// The last status of the exporter, and when it came.
    status: (LookupStatus, Instant),
}

impl LookupSchedule {
    /// A schedule for an exporter that is not connected yet. `upload`: it uploads files that VirusTotal does not know.
    pub fn new(upload: bool, request_limit_seconds: u32) -> Self {
        let pause = Duration::from_secs(request_limit_seconds.into());
        Self {
            upload,
            pause_after_upload: (pause * 20).clamp(Duration::from_secs(1), Duration::from_secs(3600)),
            is_connected: false,
            current: None,
            not_before: HashMap::new(),
            candidates: HashMap::new(),
            files: VecDeque::new(),
            pending: 0,
            check_at: Some(Instant::now()),
            status: (LookupStatus::default(), Instant::now()),
        }
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

    /// Makes the next [`LookupSchedule::take_next`] look for new digests.
    pub fn check_soon(&mut self) {
        self.check_at = Some(Instant::now());
    }

    /// Takes note that the exporter takes digests, or that it is gone: what it was asked last is asked again.
    pub fn set_connected(&mut self, is_connected: bool) {
        self.is_connected = is_connected;
        self.current = None;
        self.check_soon();
    }

    /// When [`LookupSchedule::take_next`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        self.check_at.filter(|_| self.is_connected && self.current.is_none())
    }

    /// Takes the status of the exporter.
    pub fn set_status(&mut self, status: LookupStatus) {
        self.status = (status, Instant::now());
    }

    /// Takes the result of a look-up: returns the verdict, or a sentence about why there is none. What was not asked for is ignored.
    ///
    /// # Errors
    /// The sentence, for the user.
    pub fn add_result(&mut self, result: LookupResult) -> Result<Option<Verdict>, String> {
        let now = Instant::now();
        if self.current != Some(result.digest) {
            return Ok(None);
        }
        self.current = None;
        self.check_at = Some(now);
        match result.verdict {
            Ok(verdict) => {
                if verdict == Verdict::Uploaded {
                    self.not_before.insert(result.digest, now + self.pause_after_upload);
                } else {
                    self.files.retain(|(digest, _)| *digest != result.digest);
                }
                Ok(Some(verdict))
            }
            Err(why) => {
                self.not_before.insert(result.digest, now + PAUSE_AFTER_UNUSABLE);
                Err(format!(
                    "VirusTotal gave no usable answer about {}: {why}. It is asked again in an hour.",
                    result.digest.to_hex()
                ))
            }
        }
    }

    /// The next digest to look up, if it is due. The caller stores new verdicts in `known` first.
    pub fn take_next(&mut self, known: &KnownPrograms) -> Option<LookupRequest> {
        let now = Instant::now();
        if self.due().is_none_or(|at| at > now) {
            return None;
        }
        self.not_before.retain(|_, at| *at > now);
        self.check_at = self.not_before.values().min().copied();
        let verdicts = known.verdicts();
        self.pending = verdicts.iter().filter(|(_, text)| is_pending(text)).count();
        let (digest, text) = verdicts.into_iter().find(|(digest, text)| {
            let can_upload = || self.upload && *text == "unknown" && self.file(*digest).is_some();
            !self.not_before.contains_key(digest) && (is_pending(text) || can_upload())
        })?;
        let file = self.file(digest).and_then(|file| file.try_clone().ok());
        self.current = Some(digest);
        Some(LookupRequest { digest, file, is_uploaded: text == "uploaded" })
    }

    fn file(&self, digest: Sha256) -> Option<&File> {
        self.files.iter().find(|(found, _)| *found == digest).map(|(_, file)| file)
    }

    /// The state of the look-ups as the live socket shows it (docs/live.md).
    pub fn status(&self) -> serde_json::Value {
        let (status, since) = &self.status;
        let next =
            status.next_request_seconds.map(|seconds| seconds.saturating_sub(since.elapsed().as_secs()));
        let waiting_reason = match self.is_connected {
            true => status.waiting_reason.as_deref(),
            false => Some("the exporter, which asks VirusTotal, is not connected"),
        };
        let mut text = format!("{} looked up, {} pending", status.looked_up, self.pending);
        if let Some(why) = waiting_reason {
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
            "waiting_reason": waiting_reason,
        })
    }
}
