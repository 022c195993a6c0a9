//! error.log: what went wrong, each with what was not seen because of it and what to do.
//!
//! What repeats is folded: a kind of problem (its text without numbers and paths) is told a few times a minute, then
//! counted.

use std::{
    collections::{HashMap, VecDeque},
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::log_file::LogFile;
use model::text::{format, time};

/// error.log becomes error.log.1 before it grows beyond this.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Problems of one kind within a [`PERIOD`] that are told, if their texts differ; of all kinds together.
const MAX_OF_A_KIND: u32 = 5;
const MAX_TOLD: u32 = 60;
const PERIOD: Duration = Duration::from_secs(60);
/// Kinds that are told apart at a time.
const MAX_KINDS: usize = 64;
/// Told problems that wait for whoever passes them on.
const MAX_WAITING: usize = 256;
/// Bytes of one problem.
const MAX_TEXT: usize = 16 * 1024;

/// Writes problems to error.log and to standard error, and keeps them for [`Problems::take_told`].
pub struct Problems {
    state: Mutex<State>,
    /// Readable while there is something to take.
    bell: Option<EventFd>,
}

struct State {
    file: LogFile,
    kinds: HashMap<String, Kind>,
    last: String,
    /// Problems told in the period that began then, of all kinds.
    period: (Instant, u32),
    waiting: VecDeque<String>,
    not_passed_on: u64,
    /// Lines that could not be written.
    missing: u64,
}

/// A kind of problem in the last minute.
struct Kind {
    since: Instant,
    told: u32,
    folded: u64,
    last: String,
}

impl Problems {
    /// Problems go to the file at `path`.
    pub fn new(path: PathBuf) -> Self {
        let state = State {
            file: LogFile::new(path, MAX_BYTES),
            kinds: HashMap::new(),
            last: String::new(),
            period: (Instant::now(), 0),
            waiting: VecDeque::new(),
            not_passed_on: 0,
            missing: 0,
        };
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).ok();
        Self { state: Mutex::new(state), bell }
    }

    /// Reports a problem: one sentence or more, of any bytes.
    pub fn report(&self, text: &str) {
        self.report_at(text, Instant::now());
    }

    fn report_at(&self, text: &str, now: Instant) {
        let text = format::terminal(&text.as_bytes()[..text.len().min(MAX_TEXT)]);
        let mut state = self.lock();
        if state.fold(&text, now) {
            return;
        }
        self.tell(&mut state, text);
    }

    fn tell(&self, state: &mut State, text: String) {
        say(&text);
        state.write(&text);
        if state.waiting.len() >= MAX_WAITING {
            state.waiting.pop_front();
            state.not_passed_on += 1;
        }
        state.waiting.push_back(text);
        if let Some(bell) = &self.bell {
            let _ = bell.write(1);
        }
    }

    /// Writes to error.log only, what is said on standard error elsewhere.
    pub fn log(&self, text: &str) {
        self.lock().write(&format::terminal(text.as_bytes()));
    }

    /// Tells how often what was folded has repeated; to be called now and then.
    pub fn tell_repeated(&self) {
        self.tell_repeated_at(Instant::now(), false);
    }

    /// The same at the end, for all that was folded.
    pub fn tell_all_repeated(&self) {
        self.tell_repeated_at(Instant::now(), true);
    }

    fn tell_repeated_at(&self, now: Instant, all: bool) {
        let mut state = self.lock();
        let mut texts = Vec::new();
        state.kinds.retain(|_, kind| {
            if !all && now.saturating_duration_since(kind.since) < PERIOD {
                return true;
            }
            match std::mem::take(&mut kind.folded) {
                0 => false,
                1 => {
                    texts.push(kind.last.clone());
                    (kind.since, kind.told) = (now, MAX_OF_A_KIND);
                    !all
                }
                count => {
                    texts.push(format!("{} (repeated {count} times in the last minute)", kind.last));
                    // It goes on being folded as long as it repeats.
                    (kind.since, kind.told) = (now, MAX_OF_A_KIND);
                    !all
                }
            }
        });
        texts.sort();
        for text in texts {
            state.last.clear();
            self.tell(&mut state, text);
        }
    }

    /// The problems that were told since the last call. The descriptor of [`Problems::bell`] is readable when there are
    /// any.
    pub fn take_told(&self) -> Vec<String> {
        if let Some(bell) = &self.bell {
            let _ = bell.read();
        }
        let mut state = self.lock();
        let mut told: Vec<String> = state.waiting.drain(..).collect();
        match std::mem::take(&mut state.not_passed_on) {
            0 => {}
            count => told.push(format!("{count} more errors are in error.log only.")),
        }
        told
    }

    /// See [`Problems::take_told`].
    pub fn bell(&self) -> Option<BorrowedFd<'_>> {
        self.bell.as_ref().map(AsFd::as_fd)
    }

    /// Opens error.log again at the next problem.
    pub fn reopen(&self) {
        self.lock().file.reopen();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts the problem; whether that is all that happens to it now.
    fn fold(&mut self, text: &str, now: Instant) -> bool {
        if now.saturating_duration_since(self.period.0) >= PERIOD {
            self.period = (now, 0);
        }
        let mut key = kind(text);
        if self.kinds.len() >= MAX_KINDS && !self.kinds.contains_key(&key) {
            key = String::new();
        }
        let same = self.last == text;
        let entry = self.kinds.entry(key).or_insert_with(|| Kind {
            since: now,
            told: 0,
            folded: 0,
            last: String::new(),
        });
        if now.saturating_duration_since(entry.since) >= PERIOD && entry.folded == 0 {
            (entry.since, entry.told) = (now, 0);
        }
        text.clone_into(&mut entry.last);
        if same || entry.told >= MAX_OF_A_KIND || self.period.1 >= MAX_TOLD {
            entry.folded += 1;
            return true;
        }
        entry.told += 1;
        self.period.1 += 1;
        text.clone_into(&mut self.last);
        false
    }

    /// `text` is fit for a terminal.
    fn write(&mut self, text: &str) {
        let now = time::local(time::now());
        let mut lines = match self.missing {
            0 => String::new(),
            count => format!("{now} {count} errors before this line could not be written here.\n"),
        };
        lines.push_str(&format!("{now} {text}\n"));
        match self.file.append(lines.as_bytes()) {
            Ok(()) => self.missing = 0,
            Err(error) => {
                self.missing += 1;
                say(&format!("{} cannot be written: {error}", self.file.path().display()));
            }
        }
    }
}

/// A problem without what varies: numbers (also hexadecimal ones) and paths.
fn kind(text: &str) -> String {
    let mut kind = String::new();
    for word in text.split(' ') {
        kind.push_str(if word.contains('/') || word.contains('\\') {
            "/"
        } else if word.bytes().any(|byte| byte.is_ascii_digit()) {
            "#"
        } else {
            word
        });
        kind.push(' ');
        // What follows is detail.
        if kind.len() > 120 {
            break;
        }
    }
    kind
}

/// Says something on standard error. That may be a terminal that is gone, or a file on a full disk: no reason to end.
pub fn say(text: &str) {
    let _ = writeln!(io::stderr(), "picosnitch: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems() -> (tempfile::TempDir, PathBuf, Problems) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("error.log");
        let problems = Problems::new(path.clone());
        (directory, path, problems)
    }

    #[test]
    fn a_line_for_each_new_problem() {
        let (_place, path, problems) = problems();
        problems.report("one\n\x1b[31mred");
        problems.report("one\n\x1b[31mred");
        problems.report("two");
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(!text.contains('\x1b'));
        assert_eq!(text.as_bytes()[4], b'-');
        assert_eq!(problems.take_told().len(), 2);
        assert!(problems.take_told().is_empty());
    }

    #[test]
    fn what_varies_does_not_defeat_the_folding() {
        let (_place, path, problems) = problems();
        let start = Instant::now();
        for number in 0..57 {
            problems.report_at(&format!("{number} flows of /tmp/x{number} were lost."), start);
        }
        problems.report_at("Something else.", start);
        problems.tell_repeated_at(start + PERIOD / 2, false);
        let lines = || std::fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(lines().len(), 6);
        problems.tell_repeated_at(start + PERIOD, false);
        assert_eq!(lines().len(), 7);
        let last = lines().pop().unwrap();
        assert!(
            last.ends_with("56 flows of /tmp/x56 were lost. (repeated 52 times in the last minute)"),
            "{last}"
        );
        // It is folded as long as it goes on, and told anew after a quiet minute.
        problems.report_at("1 flows of /tmp/y were lost.", start + PERIOD);
        assert_eq!(lines().len(), 7);
        problems.tell_repeated_at(start + PERIOD * 2, false);
        problems.tell_repeated_at(start + PERIOD * 3, false);
        assert_eq!(lines().len(), 8);
        problems.report_at("2 flows of /tmp/y were lost.", start + PERIOD * 3);
        assert_eq!(lines().len(), 9);
    }

    #[test]
    fn the_rate_is_bounded_whatever_the_texts() {
        let (_place, path, problems) = problems();
        let start = Instant::now();
        let word = |number: u32| char::from_u32(0x4e00 + number).unwrap();
        for number in 0..5000 {
            problems.report_at(&word(number).to_string().repeat(3), start);
        }
        problems.tell_all_repeated();
        let lines = std::fs::read_to_string(path).unwrap().lines().count();
        assert!(lines <= MAX_TOLD as usize + MAX_KINDS + 1, "{lines}");
        assert!(problems.lock().kinds.len() <= MAX_KINDS + 1);
    }

    #[test]
    fn links_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (target, link) = (directory.path().join("target"), directory.path().join("error.log"));
        std::fs::write(&target, "").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        Problems::new(link).report("text");
        assert_eq!(std::fs::read_to_string(target).unwrap(), "");
    }
}
