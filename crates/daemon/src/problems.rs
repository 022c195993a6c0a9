//! Problems: sentences about a failure, the data that the log lacks because of it, and the remedy. They go to
//! error.log and standard error.
//!
//! Repeated problems are folded: problems of one kind (the text without numbers and paths) are written a few times a
//! minute, then counted. Problems that a user's programs cause are counted for that user, and apart from all others: a user who
//! provokes them without end hides no other problem.

use std::{
    collections::{HashMap, VecDeque},
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::log_file::LogFile;
use config::layout::Layout;
use model::text::{sanitize, time};
use sandbox::User;

/// error.log becomes error.log.1 before it grows beyond this.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Problems of one kind that are written within a [`PERIOD`], if their texts differ.
const MAX_OF_A_KIND: u32 = 5;
/// Problems of all kinds that are written within a [`PERIOD`], of picosnitch itself and of all users each.
const MAX_WRITTEN: u32 = 60;
const PERIOD: Duration = Duration::from_secs(60);
/// Kinds that are distinguished at a time; further ones are folded together.
const MAX_KINDS: usize = 64;
/// Written problems that wait for [`Problems::take_written`].
const MAX_WAITING: usize = 256;
/// Bytes of one problem as it is written; the rest of a longer one is cut off.
const MAX_TEXT: usize = 16 * 1024;

/// Writes problems to error.log and to standard error, and keeps them for [`Problems::take_written`].
pub(crate) struct Problems {
    log: Mutex<ProblemLog>,
    /// Readable while there are problems to take.
    event: Option<EventFd>,
}

struct ProblemLog {
    file: LogFile,
    kinds: HashMap<Kind, KindCount>,
    /// The text that was written last.
    last: String,
    /// Of problems of picosnitch itself, and of those that users cause.
    periods: [Period; 2],
    /// Written problems that were not taken yet.
    waiting: VecDeque<String>,
    /// Written problems that were dropped because too many waited.
    not_taken: u64,
    /// Lines that could not be written.
    missing: u64,
}

/// What problems are folded by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// The text without numbers and paths.
    Own(String),
    /// The kind of a problem that a user's programs cause. Its text has bytes of that user, and decides nothing.
    OfUser(Option<u32>, &'static str),
}

impl Kind {
    /// 0 for picosnitch itself, 1 for users: the index in `ProblemLog::periods`.
    const fn group(&self) -> usize {
        match self {
            Self::Own(_) => 0,
            Self::OfUser(..) => 1,
        }
    }

    /// The kind that the problems of further kinds have.
    fn other(&self) -> Self {
        match self {
            Self::Own(_) => Self::Own(String::new()),
            Self::OfUser(_, kind) => Self::OfUser(None, kind),
        }
    }
}

/// The number of problems of all kinds that were written in the minute that began at `since`.
struct Period {
    since: Instant,
    written: u32,
}

/// The number of problems of one kind in the minute that began at `since`.
struct KindCount {
    since: Instant,
    written: u32,
    folded: u64,
    /// The text of the newest one.
    last: String,
}

impl Problems {
    /// Problems go to the file at `path`.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self::with(LogFile::new(path, MAX_BYTES))
    }

    /// Problems that the monitor, which runs as root, writes to error.log itself. A file that it makes belongs to the user who
    /// writes the log.
    pub(crate) fn of_monitor(layout: &Layout) -> Self {
        let file = LogFile::new(layout.error_log.clone(), MAX_BYTES);
        Self::with(match User::of_log(&layout.database) {
            Ok(owner) => file.owned_by(owner),
            Err(_) => file,
        })
    }

    fn with(file: LogFile) -> Self {
        let log = ProblemLog {
            file,
            kinds: HashMap::new(),
            last: String::new(),
            periods: [0, 1].map(|_| Period { since: Instant::now(), written: 0 }),
            waiting: VecDeque::new(),
            not_taken: 0,
            missing: 0,
        };
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).ok();
        Self { log: Mutex::new(log), event }
    }

    /// Reports a problem: one sentence or more, which may contain any characters.
    pub(crate) fn report(&self, text: &str) {
        let text = bounded(text);
        self.report_at(Kind::Own(kind_of(&text)), text, Instant::now());
    }

    /// Reports a problem that programs of a user cause; `kind` is a word for all problems of its kind.
    pub(crate) fn report_of_user(&self, user: u32, kind: &'static str, text: &str) {
        self.report_at(Kind::OfUser(Some(user), kind), bounded(text), Instant::now());
    }

    fn report_at(&self, kind: Kind, text: String, now: Instant) {
        let mut log = self.lock();
        if !log.fold(kind, &text, now) {
            self.write(&mut log, text);
        }
    }

    fn write(&self, log: &mut ProblemLog, text: String) {
        print_to_stderr(&text);
        log.append(&text);
        if log.waiting.len() >= MAX_WAITING {
            log.waiting.pop_front();
            log.not_taken += 1;
        }
        log.waiting.push_back(text);
        if let Some(event) = &self.event {
            let _ = event.write(1);
        }
    }

    /// Writes a problem to error.log only; the caller reports it on standard error.
    pub(crate) fn log(&self, text: &str) {
        self.lock().append(&bounded(text));
    }

    /// Writes how often folded problems have repeated. Must be called from time to time.
    pub(crate) fn write_repeated(&self) {
        self.write_repeated_at(Instant::now(), false);
    }

    /// Does the same during the shutdown, without waiting for the minute to be over.
    pub(crate) fn write_all_repeated(&self) {
        self.write_repeated_at(Instant::now(), true);
    }

    fn write_repeated_at(&self, now: Instant, all: bool) {
        let mut log = self.lock();
        let mut texts = Vec::new();
        log.kinds.retain(|_, kind| {
            if !all && now.saturating_duration_since(kind.since) < PERIOD {
                return true;
            }
            match std::mem::take(&mut kind.folded) {
                0 => return false,
                1 => texts.push(kind.last.clone()),
                count => texts.push(format!("{} (repeated {count} times in the last minute)", kind.last)),
            }
            // A problem stays folded as long as it repeats.
            (kind.since, kind.written) = (now, MAX_OF_A_KIND);
            !all
        });
        texts.sort();
        for text in texts {
            log.last.clear();
            self.write(&mut log, text);
        }
    }

    /// Returns the problems that were written since the last call.
    pub(crate) fn take_written(&self) -> Vec<String> {
        if let Some(event) = &self.event {
            let _ = event.read();
        }
        let mut log = self.lock();
        let mut written: Vec<String> = log.waiting.drain(..).collect();
        match std::mem::take(&mut log.not_taken) {
            0 => {}
            count => written.push(format!("{count} more errors are in error.log only.")),
        }
        written
    }

    /// A descriptor that is readable while [`Problems::take_written`] has something to return.
    pub(crate) fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        self.event.as_ref().map(AsFd::as_fd)
    }

    /// Opens error.log again at the next problem.
    pub(crate) fn reopen(&self) {
        self.lock().file.reopen();
    }

    fn lock(&self) -> MutexGuard<'_, ProblemLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProblemLog {
    /// Counts a problem. Returns whether it is folded, not written.
    fn fold(&mut self, mut kind: Kind, text: &str, now: Instant) -> bool {
        let group = kind.group();
        if now.saturating_duration_since(self.periods[group].since) >= PERIOD {
            self.periods[group] = Period { since: now, written: 0 };
        }
        if !self.kinds.contains_key(&kind)
            && self.kinds.keys().filter(|other| other.group() == group).count() >= MAX_KINDS
        {
            kind = kind.other();
        }
        let is_same = self.last == text;
        let count = self.kinds.entry(kind).or_insert_with(|| KindCount {
            since: now,
            written: 0,
            folded: 0,
            last: String::new(),
        });
        if now.saturating_duration_since(count.since) >= PERIOD && count.folded == 0 {
            (count.since, count.written) = (now, 0);
        }
        text.clone_into(&mut count.last);
        if is_same || count.written >= MAX_OF_A_KIND || self.periods[group].written >= MAX_WRITTEN {
            count.folded += 1;
            return true;
        }
        count.written += 1;
        self.periods[group].written += 1;
        text.clone_into(&mut self.last);
        false
    }

    /// Appends a line to error.log. `text` must be escaped for a terminal.
    fn append(&mut self, text: &str) {
        let now = time::local(time::now());
        let mut lines = match self.missing {
            0 => String::new(),
            count => format!("{now} {count} errors before this line could not be written here.\n"),
        };
        lines.push_str(&format!("{now} {text}\n"));
        let mut written = self.file.append(lines.as_bytes());
        if self.file.take_removed() {
            let path = sanitize::terminal(self.file.path().as_os_str().as_encoded_bytes());
            let line = format!(
                "{now} {path} was removed while picosnitch runs: the errors in it are gone; a new one is begun.\n"
            );
            written = written.and_then(|()| self.file.append(line.as_bytes()));
        }
        match written {
            Ok(()) => self.missing = 0,
            Err(error) => {
                self.missing += 1;
                print_to_stderr(&format!("{} cannot be written: {error}", self.file.path().display()));
            }
        }
    }
}

/// A text as it is written: safe for a terminal, and of a bounded length.
fn bounded(text: &str) -> String {
    let mut text = sanitize::message(beginning(text));
    text.truncate(beginning(&text).len());
    text
}

/// The first [`MAX_TEXT`] bytes of a text, without a half character at the end.
fn beginning(text: &str) -> &str {
    let end = (0..=text.len().min(MAX_TEXT)).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

/// The kind of a problem: its text without numbers (hexadecimal ones too) and paths.
fn kind_of(text: &str) -> String {
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
        // The rest of the text is detail and not part of the kind.
        if kind.len() > 120 {
            break;
        }
    }
    kind
}

/// Prints a sentence to standard error. Errors are ignored: the terminal may be closed, or the disk full.
pub fn print_to_stderr(text: &str) {
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
    fn each_new_problem_is_one_line() {
        let (_directory, path, problems) = problems();
        problems.report("one\n\x1b[31mred");
        problems.report("one\n\x1b[31mred");
        problems.report("two");
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(!text.contains('\x1b'));
        assert_eq!(text.as_bytes()[4], b'-');
        assert_eq!(problems.take_written().len(), 2);
        assert!(problems.take_written().is_empty());
    }

    #[test]
    fn problems_that_differ_in_numbers_and_paths_are_folded() {
        let (_directory, path, problems) = problems();
        let report = |text: &str, now| problems.report_at(Kind::Own(kind_of(text)), text.to_owned(), now);
        let start = Instant::now();
        for number in 0..57 {
            report(&format!("{number} flows of /tmp/x{number} were lost."), start);
        }
        report("Something else.", start);
        problems.write_repeated_at(start + PERIOD / 2, false);
        let lines = || std::fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(lines().len(), 6);
        problems.write_repeated_at(start + PERIOD, false);
        assert_eq!(lines().len(), 7);
        let last = lines().pop().unwrap();
        assert!(
            last.ends_with("56 flows of /tmp/x56 were lost. (repeated 52 times in the last minute)"),
            "{last}"
        );
        // A problem is folded as long as it repeats, and written again after a quiet minute.
        report("1 flows of /tmp/y were lost.", start + PERIOD);
        assert_eq!(lines().len(), 7);
        problems.write_repeated_at(start + PERIOD * 2, false);
        problems.write_repeated_at(start + PERIOD * 3, false);
        assert_eq!(lines().len(), 8);
        report("2 flows of /tmp/y were lost.", start + PERIOD * 3);
        assert_eq!(lines().len(), 9);
    }

    #[test]
    fn the_number_of_lines_a_minute_is_bounded() {
        let (_directory, path, problems) = problems();
        let start = Instant::now();
        let word = |number: u32| char::from_u32(0x4e00 + number).unwrap();
        for number in 0..5000 {
            let text = word(number).to_string().repeat(3);
            problems.report_at(Kind::Own(text.clone()), text, start);
        }
        problems.write_all_repeated();
        let lines = std::fs::read_to_string(path).unwrap().lines().count();
        assert!(lines <= MAX_WRITTEN as usize + MAX_KINDS + 1, "{lines}");
        assert!(problems.lock().kinds.len() <= MAX_KINDS + 1);
    }

    #[test]
    fn a_user_who_provokes_problems_hides_neither_those_of_others_nor_picosnitchs_own() {
        let (_directory, path, problems) = problems();
        let start = Instant::now();
        let of_user = |user, text: &str| {
            problems.report_at(Kind::OfUser(Some(user), "no SHA-256"), text.to_owned(), start);
        };
        // Words in a path look like other kinds of problems.
        for number in 0..5000 {
            let word = char::from_u32(0x4e00 + number).unwrap();
            of_user(1000, &format!("/tmp/x {word} {word} has no SHA-256: it is gone."));
        }
        of_user(1001, "/tmp/y has no SHA-256: it is gone.");
        (0..100_u32).for_each(|user| of_user(100_000 + user, &format!("/{user} has no SHA-256.")));
        problems.report("snitch.db cannot be written.");
        let lines = || std::fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
        let count = |what: &str| lines().iter().filter(|line| line.contains(what)).count();
        assert_eq!((count("/tmp/x"), count("/tmp/y"), count("snitch.db")), (5, 1, 1));
        assert!(lines().len() <= MAX_WRITTEN as usize + 1);
        problems.write_all_repeated();
        assert_eq!(count("(repeated 4995 times in the last minute)"), 1);
        assert!(lines().len() <= 2 * MAX_WRITTEN as usize + MAX_KINDS + 2, "{}", lines().len());
    }

    #[test]
    fn a_line_has_a_bounded_length() {
        let (_directory, path, problems) = problems();
        problems.report(&"\x1b".repeat(100_000));
        problems.log(&"\u{202e}".repeat(100_000));
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.lines().count() == 2 && text.lines().all(|line| line.len() <= MAX_TEXT + 64));
    }

    #[test]
    fn a_log_that_fails_or_is_removed_is_written_again_and_says_so() {
        let (_directory, path, problems) = problems();
        std::fs::create_dir(&path).unwrap();
        problems.report("one");
        problems.report("two");
        std::fs::remove_dir(&path).unwrap();
        problems.report("three");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("2 errors before this line could not be written here."), "{text}");
        std::fs::remove_file(&path).unwrap();
        problems.report("four");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("four") && text.contains("was removed while picosnitch runs"), "{text}");
        assert_eq!(problems.take_written().len(), 4);
    }

    #[test]
    fn symbolic_links_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (target, link) = (directory.path().join("target"), directory.path().join("error.log"));
        std::fs::write(&target, "").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        Problems::new(link).report("text");
        assert_eq!(std::fs::read_to_string(target).unwrap(), "");
    }
}
