//! Keeps record.json up to date while the known programs change: replaces it from time to time, and appends what has changed
//! since then to record.journal.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    file::{ContentIdentity, MODE, identity, journal_path, keep_beside, load, replace},
    format::write_json,
    journal::{Changes, header},
    parse::parse,
    programs::KnownPrograms,
};
use model::{Sha256, error_chain};

/// A longer journal is not written: the changes wait until record.json is replaced.
const MAX_JOURNAL_BYTES: u64 = 16 * 1024 * 1024;
/// record.json is replaced at most so often, and a large one less often: a second more for each [`BYTES_A_SECOND`].
const MIN_PAUSE: Duration = Duration::from_secs(1);
const BYTES_A_SECOND: u64 = 256 * 1024;
/// The pause when the journal has no more room.
const MAX_PAUSE_OF_FULL_JOURNAL: Duration = Duration::from_secs(10);
/// A pause is at least so many times as long as the replacement before it took.
const DUTY: u32 = 20;
/// How often it is looked whether record.json is still there, if nothing changes.
const CHECK_PERIOD: Duration = Duration::from_secs(60);

/// The known programs, as the thread that observes programs and the one that writes the file share them. Neither keeps the
/// lock for long.
#[derive(Clone, Debug, Default)]
pub struct SharedKnownPrograms(Arc<Mutex<KnownPrograms>>);

impl SharedKnownPrograms {
    /// Shares these programs.
    pub fn new(known: KnownPrograms) -> Self {
        Self(Arc::new(Mutex::new(known)))
    }

    /// Locks the programs.
    pub fn lock(&self) -> MutexGuard<'_, KnownPrograms> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// record.json and record.journal of a daemon that runs.
#[derive(Debug)]
pub struct RecordFile {
    path: PathBuf,
    known: SharedKnownPrograms,
    /// Changes that are in no file yet.
    unsaved: Changes,
    /// The journal, if it was begun since record.json was replaced, and its length.
    journal: Option<(File, u64)>,
    /// Checksum, identity and length of record.json as it was read or written; `None` without one.
    content: Option<u64>,
    identity: Option<ContentIdentity>,
    bytes: u64,
    /// Whether only record.json itself can take the changes: the journal misses some.
    must_replace: bool,
    /// The sentence about the directory that cannot be synced, until it was returned; and whether there was one.
    sync_note: Option<String>,
    is_sync_noted: bool,
    /// Whether record.json is damaged and has no second name yet: it is not replaced before it has.
    is_damaged: bool,
    /// The end and the duration of the last replacement.
    last: Option<(Instant, Duration)>,
}

/// The result of [`RecordFile::save`] and of [`RecordFile::finish`].
#[derive(Debug)]
pub struct Saved {
    /// When to save again, even if nothing changes.
    pub due: Instant,
    /// What the user must know.
    pub notes: Vec<String>,
    /// Why something could not be written; it is kept for the next call.
    pub result: io::Result<()>,
}

impl RecordFile {
    /// Reads record.json and record.journal. A file that cannot be read, or not in full, is no obstacle: what can be read of it
    /// is taken, and the damaged file is kept beside the new one. Returns sentences for the user about that, too.
    pub fn open(path: &Path) -> (Self, Vec<String>) {
        let loaded = load(path);
        let mut file = Self {
            path: path.to_owned(),
            known: SharedKnownPrograms::default(),
            unsaved: Changes::default(),
            journal: None,
            content: loaded.content,
            identity: loaded.identity,
            bytes: loaded.bytes,
            must_replace: loaded.has_journal || loaded.error.is_some(),
            sync_note: None,
            is_sync_noted: false,
            is_damaged: loaded.error.is_some(),
            last: None,
        };
        let mut notes = Vec::new();
        if let Some(error) = loaded.error {
            let known = match loaded.known.count() {
                0 => "Nothing of it could be read: every program is announced as new now".to_owned(),
                count => format!(
                    "{count} programs could be read from it: the others are announced as new when they are seen again"
                ),
            };
            let kept = match file.keep_damaged() {
                Ok(kept) => format!("It is kept as {}, and a new one is begun.", kept.display()),
                Err(why) => format!(
                    "It cannot be kept beside a new one ({why}), so it stays as it is and nothing is written to it: move it \
                     away, or make room; this is tried again."
                ),
            };
            notes.push(format!("{}. {known}. {kept}", capitalized(&error_chain(&error))));
        }
        file.known = SharedKnownPrograms::new(loaded.known);
        (file, notes)
    }

    /// The known programs.
    pub fn known(&self) -> SharedKnownPrograms {
        self.known.clone()
    }

    /// Adds what the record.json (or state.json) of an original picosnitch has; verdicts that are known stay. Call
    /// [`RecordFile::finish`] to write it.
    ///
    /// # Errors
    /// A description of the damage in the text. What came before it is added.
    pub fn add_original(&mut self, text: impl Read) -> Result<(), String> {
        self.must_replace = true;
        let mut known = self.known.lock();
        let verdicts: Vec<(Sha256, String)> = known
            .verdicts()
            .into_iter()
            .filter(|(_, verdict)| !verdict.is_empty())
            .map(|(digest, verdict)| (digest, verdict.to_owned()))
            .collect();
        let parsed = parse(text, &mut known);
        if parsed.is_err() {
            known.tables.complete();
        }
        for (digest, verdict) in verdicts {
            known.set_verdict(digest, &verdict);
        }
        known.trim();
        parsed
    }

    /// Whether [`RecordFile::save`] has something to do although nothing has changed since the file was opened.
    pub fn must_save(&self) -> bool {
        self.must_replace
    }

    /// Writes what has changed: into record.json, or into the journal if record.json was replaced a short time ago.
    pub fn save(&mut self, now: Instant) -> Saved {
        let mut notes = Vec::new();
        if self.has_vanished() {
            notes.push(self.keep_replaced());
        }
        self.unsaved.append(self.known.lock().take_changes());
        let has_changes = self.must_replace || self.journal.is_some() || !self.unsaved.is_empty();
        let mut result = Ok(());
        if has_changes && now >= self.replace_due(now) {
            result = self.replace();
        }
        if result.is_err() || !self.unsaved.is_empty() {
            result = self.append().and(result);
        }
        notes.extend(self.sync_note.take());
        let is_behind = self.must_replace || self.journal.is_some() || !self.unsaved.is_empty();
        let due = if is_behind { self.replace_due(now) } else { now + CHECK_PERIOD };
        Saved { due, notes, result }
    }

    /// Writes everything into record.json, at the end. After an error the journal has the changes, as far as it could be
    /// written.
    pub fn finish(&mut self) -> Saved {
        let mut notes = Vec::new();
        if self.has_vanished() {
            notes.push(self.keep_replaced());
        }
        self.unsaved.append(self.known.lock().take_changes());
        let has_changes = self.must_replace || self.journal.is_some() || !self.unsaved.is_empty();
        let mut result = Ok(());
        if has_changes {
            result = self.replace().or_else(|error| self.append().and(Err(error)));
        }
        notes.extend(self.sync_note.take());
        Saved { due: Instant::now(), notes, result }
    }

    /// When record.json may be replaced next.
    fn replace_due(&self, now: Instant) -> Instant {
        let Some((end, duration)) = self.last else { return now };
        let mut pause = MIN_PAUSE + Duration::from_secs(self.bytes / BYTES_A_SECOND);
        if self.must_replace {
            pause = pause.min(MAX_PAUSE_OF_FULL_JOURNAL);
        }
        end + pause.max(duration * DUTY)
    }

    /// Replaces record.json; the journal before it ends.
    fn replace(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        let replaced = self.try_replace();
        self.last = Some((Instant::now(), begun.elapsed()));
        replaced
    }

    fn try_replace(&mut self) -> io::Result<()> {
        if self.is_damaged
            && let Err(error) = self.keep_damaged()
            && self.is_damaged
        {
            return Err(error);
        }
        let known = Arc::clone(&self.known.0);
        let written = replace(&self.path, |mut out| write_json(&known, &mut out))?;
        (self.content, self.bytes, self.identity) =
            (Some(written.checksum), written.bytes, Some(written.identity));
        (self.unsaved, self.journal, self.must_replace) = (Changes::default(), None, false);
        if let Some(error) = written.sync_error
            && !std::mem::replace(&mut self.is_sync_noted, true)
        {
            self.sync_note = Some(format!(
                "{} is written, but its directory cannot be synced ({error}): after a crash of the machine an older one may \
                 be there, and programs that came after it are reported as new again.",
                self.path.display()
            ));
        }
        // A journal of another record.json is not read, so it does no harm if this fails.
        let _ = fs::remove_file(journal_path(&self.path));
        Ok(())
    }

    /// Appends the changes to the journal, unless only record.json can take them.
    fn append(&mut self) -> io::Result<()> {
        let length = self.journal.as_ref().map_or(0, |(_, length)| *length);
        self.must_replace |= self.unsaved.has_more
            || self.content.is_none()
            || length + self.unsaved.lines.len() as u64 > MAX_JOURNAL_BYTES;
        if self.must_replace {
            self.unsaved = Changes::default();
            return Ok(());
        }
        let Some(content) = self.content else { return Ok(()) };
        let (mut file, length) = match self.journal.take() {
            Some(journal) => journal,
            None => {
                let mut file = create(&journal_path(&self.path))?;
                let header = header(content);
                file.write_all(header.as_bytes())?;
                (file, header.len() as u64)
            }
        };
        let lines = self.unsaved.lines.as_bytes();
        let written = file.write_all(lines).and_then(|()| file.sync_data());
        if written.is_ok() {
            self.journal = Some((file, length + lines.len() as u64));
            self.unsaved = Changes::default();
        } else {
            // A part of a line may be there. Later lines would follow it.
            self.must_replace = true;
        }
        written
    }

    /// Whether record.json, or the journal that was begun, is not the file any more that was written, or record.json has
    /// another content.
    fn has_vanished(&self) -> bool {
        let found = |path: &Path| fs::symlink_metadata(path).ok();
        let is_same = |known| found(&self.path).is_some_and(|found| ContentIdentity::of(&found) == known);
        let of_journal = self.journal.as_ref().and_then(|(file, _)| file.metadata().ok());
        let at_journal = found(&journal_path(&self.path)).map(|found| identity(&found));
        self.identity.is_some_and(|known| !is_same(known))
            || of_journal.is_some_and(|file| at_journal != Some(identity(&file)))
    }

    /// Keeps the file that has replaced record.json, and makes the next replacement complete. Returns the sentence about it.
    fn keep_replaced(&mut self) -> String {
        let is_other = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| self.identity.is_some_and(|known| ContentIdentity::of(&found) != known));
        let kept = is_other.then(|| keep_beside(&self.path, "replaced"));
        (self.identity, self.content, self.journal, self.must_replace) = (None, None, None, true);
        let path = self.path.display();
        match kept {
            None => format!(
                "{path} or its journal was removed while picosnitch runs. It is written again with all programs that are known; \
                 to begin a new one, stop picosnitch before."
            ),
            Some(Ok(kept)) => format!(
                "{path} was replaced while picosnitch runs. The new one is kept as {}, and the programs that picosnitch knows \
                 are written again; to change the file, stop picosnitch before.",
                kept.display()
            ),
            Some(Err(why)) => {
                // As with a damaged file: it is tried again before it is replaced.
                self.is_damaged = true;
                format!(
                    "{path} was replaced while picosnitch runs, and the new one cannot be kept under another name ({why}): \
                     nothing is written to it until it is moved away."
                )
            }
        }
    }

    /// Gives a damaged record.json a second name. A file that is gone needs none.
    fn keep_damaged(&mut self) -> io::Result<PathBuf> {
        let kept = keep_beside(&self.path, "damaged");
        self.is_damaged = kept.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::NotFound);
        kept
    }
}

fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
    File::options().append(true).create_new(true).mode(MODE).custom_flags(flags).open(path)
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or(String::new(), |first| first.to_uppercase().chain(characters).collect())
}
