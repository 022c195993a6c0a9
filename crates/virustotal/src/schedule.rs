//! Which digests VirusTotal is asked about, and when: those of record.json that have no verdict, newest first.

use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::lookup::{Job, Settings, Verdict, VirusTotal, is_pending};
use known_programs::KnownPrograms;
use model::Sha256;

/// Files that are kept open to be sent, and files that are being hashed.
const MAX_FILES: usize = 64;
const MAX_CANDIDATES: usize = 256;
/// A digest whose answer made no sense is asked about again after this.
const AFTER_NONSENSE: Duration = Duration::from_secs(3600);

/// Looks digests up, one after the other.
pub struct Lookups {
    virustotal: VirusTotal,
    upload: bool,
    /// How long the analysis of a file that was sent is waited for.
    after_upload: Duration,
    asked: Option<Sha256>,
    not_before: HashMap<Sha256, Instant>,
    candidates: HashMap<u32, File>,
    files: VecDeque<(Sha256, File)>,
    pending: usize,
    look_at: Option<Instant>,
}

impl Lookups {
    /// Starts to look up.
    ///
    /// # Errors
    /// Why VirusTotal cannot be asked.
    pub fn start(settings: &Settings) -> Result<Self, String> {
        let pause = Duration::from_secs(settings.request_limit_seconds.into());
        Ok(Self {
            virustotal: VirusTotal::start(settings)?,
            upload: settings.upload,
            after_upload: (pause * 20).clamp(Duration::from_secs(1), Duration::from_secs(3600)),
            asked: None,
            not_before: HashMap::new(),
            candidates: HashMap::new(),
            files: VecDeque::new(),
            pending: 0,
            look_at: Some(Instant::now()),
        })
    }

    /// An executable that is hashed now: perhaps it is to be sent.
    pub fn keep(&mut self, id: u32, file: &File) {
        if self.upload
            && self.candidates.len() < MAX_CANDIDATES
            && let Ok(file) = file.try_clone()
        {
            self.candidates.insert(id, file);
        }
    }

    /// It was hashed; without a digest it could not be.
    pub fn settled(&mut self, id: u32, digest: Option<Sha256>, known: &KnownPrograms) {
        let (Some(file), Some(digest)) = (self.candidates.remove(&id), digest) else { return };
        self.files.retain(|(other, _)| *other != digest);
        self.files.push_back((digest, file));
        if self.files.len() > MAX_FILES {
            // First of all those of programs that never talked.
            let victim = self.files.iter().position(|(digest, _)| !known.has_digest(*digest)).unwrap_or(0);
            self.files.remove(victim);
        }
    }

    /// Executables before this one do not come again.
    pub fn forget_before(&mut self, id: u32) {
        self.candidates.retain(|candidate, _| *candidate >= id);
    }

    /// There may be new digests.
    pub fn look_again(&mut self) {
        self.look_at = Some(Instant::now());
    }

    /// What to wait for.
    pub fn bell(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.virustotal)
    }

    /// When there is something to do, whatever happens.
    pub fn due(&self) -> Option<Instant> {
        self.look_at.filter(|_| self.asked.is_none())
    }

    /// Takes verdicts, hands each problem to `report`, and asks for the next one. Never waits.
    pub fn serve(&mut self, known: &KnownPrograms, report: impl Fn(&str)) -> Vec<(Sha256, Verdict)> {
        let now = Instant::now();
        let (outcomes, trouble) = self.virustotal.take();
        if let Some(trouble) = trouble {
            report(&trouble);
        }
        let mut verdicts = Vec::new();
        for outcome in outcomes {
            self.asked = None;
            self.look_at = Some(now);
            match outcome.verdict {
                Ok(verdict) => {
                    if verdict == Verdict::Uploaded {
                        self.not_before.insert(outcome.digest, now + self.after_upload);
                    } else {
                        self.files.retain(|(digest, _)| *digest != outcome.digest);
                    }
                    verdicts.push((outcome.digest, verdict));
                }
                Err(why) => {
                    self.not_before.insert(outcome.digest, now + AFTER_NONSENSE);
                    report(&format!(
                        "VirusTotal gave no usable answer about {}: {why}. It is asked again in an hour.",
                        outcome.digest.to_hex()
                    ));
                }
            }
        }
        // What came is in `known` at the next call.
        if verdicts.is_empty() && self.due().is_some_and(|at| at <= now) {
            self.ask(known, now);
        }
        verdicts
    }

    fn ask(&mut self, known: &KnownPrograms, now: Instant) {
        self.not_before.retain(|_, at| *at > now);
        self.look_at = self.not_before.values().min().copied();
        let all = known.verdicts();
        self.pending = all.iter().filter(|(_, text)| is_pending(text)).count();
        let next = all.into_iter().find(|(digest, text)| {
            let to_send = || self.upload && *text == "unknown" && self.file(*digest).is_some();
            !self.not_before.contains_key(digest) && (is_pending(text) || to_send())
        });
        let Some((digest, text)) = next else { return };
        let file = self.file(digest).and_then(|file| file.try_clone().ok());
        if self.virustotal.offer(Job { digest, file, uploaded: text == "uploaded" }).is_ok() {
            self.asked = Some(digest);
        }
    }

    fn file(&self, digest: Sha256) -> Option<&File> {
        self.files.iter().find(|(found, _)| *found == digest).map(|(_, file)| file)
    }

    /// How it goes, for the live socket.
    pub fn state(&self) -> serde_json::Value {
        let progress = self.virustotal.progress();
        let next = progress.next.map(|next| next.saturating_duration_since(Instant::now()).as_secs());
        let mut text = format!("{} looked up, {} pending", progress.looked_up, self.pending);
        if let Some(why) = &progress.waits {
            text += &format!("; waits: {why}");
        }
        if let Some(seconds) = next.filter(|seconds| *seconds > 0) {
            text += &format!("; next request in {seconds} s");
        }
        json!({
            "text": text,
            "looked_up": progress.looked_up,
            "pending": self.pending,
            "next_request_seconds": next,
            "waiting_reason": progress.waits,
        })
    }
}
