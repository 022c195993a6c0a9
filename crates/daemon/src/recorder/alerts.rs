//! Alerts: news or suspicions about a program, for exe.log, desktop users and the live socket.

use std::{collections::HashMap, sync::MutexGuard};

use super::file_changes::{FileChange, FileChanges};
use identity::digests::DigestState;
use known_programs::{KnownPrograms, Novelty, Rank, SharedKnownPrograms};
use live::protocol::{AlertLine, Text, WriterLine};
use model::{
    Bytes, Event, EventKind, ProcessContext, Sha256,
    text::{sanitize, time},
};

/// Executables whose digest is awaited.
const MAX_AWAITED: usize = 8192;
/// Paths of one executable whose digest is awaited.
const MAX_PATHS: usize = 64;
/// Characters of a path in exe.log; a longer one is shortened in its middle.
const MAX_PATH: usize = 4096;

/// Bytes of a path in an event of the log; the rest of a longer one is cut.
const MAX_EVENT_PATH: usize = 1024;

/// The subject of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// A known executable under a new name.
    NewName,
    /// A new executable under a known name.
    NewExecutable,
    /// A new executable under a new name.
    NewBoth,
    /// A known executable with another content.
    NewHash,
    /// VirusTotal knows the content as malicious or suspicious.
    Suspicious,
    /// VirusTotal knows the content, and no scanner there suspects it.
    Clean,
}

impl Tag {
    /// The words that stand for the tag in exe.log.
    const fn text(self) -> &'static str {
        match self {
            Self::NewName => "(new name)",
            Self::NewExecutable => "(new exe)",
            Self::NewBoth => "(new name, exe)",
            Self::NewHash => "(new hash)",
            Self::Suspicious => "(suspicious)",
            Self::Clean => "(clean)",
        }
    }
}

/// An alert about a program or its digest: one line of exe.log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Alert {
    /// Time of the alert, unix seconds UTC.
    pub(super) time: i64,
    pub(super) tag: Tag,
    /// Whether the alert is about the program of the process or of an ancestor.
    pub(super) rank: Rank,
    pub(super) path: Bytes,
    /// The user whose traffic or process it was; `None` if the alert is about a verdict.
    pub(super) user: Option<u32>,
    /// The name that the program ran under; empty if the alert is about the digest.
    pub(super) name: Bytes,
    /// `Some` if the alert is about the digest.
    pub(super) sha256: Option<Sha256>,
    /// The verdict of VirusTotal; empty if the alert is not about it.
    pub(super) verdict: String,
    /// How the content came about, if the alert is about a changed executable.
    pub(super) change: Option<FileChange>,
}

impl Alert {
    /// An alert with the current time, without user, name, digest, verdict and change.
    pub(super) fn new(tag: Tag, rank: Rank, path: &[u8]) -> Self {
        let (path, name, verdict) = (path.to_owned(), Bytes::new(), String::new());
        Self { time: time::now(), tag, rank, path, user: None, name, sha256: None, verdict, change: None }
    }

    /// The line of exe.log: `YYYY-MM-DD HH:MM:SS `, 16 characters of name or digest, path, tag, who changed it.
    pub(super) fn line(&self) -> String {
        format!("{} {}\n", time::local(self.time), self.text())
    }

    /// The line without its time.
    pub(super) fn text(&self) -> String {
        let field = match self.sha256 {
            Some(digest) => digest.to_hex(),
            None => sanitize::terminal(&self.name),
        };
        let path = sanitize::shorten(&sanitize::terminal(&self.path), MAX_PATH);
        let change = self.change.as_ref().map(|change| format!(", {}", change.words(MAX_PATH)));
        format!("{field:<16.16} {path} {}{}{}", self.tag.text(), self.rank_text(), change.unwrap_or_default())
    }

    /// The event on the live socket (docs/live.md).
    pub(super) fn live_line(&self) -> AlertLine {
        let rank = match self.rank {
            Rank::Program => "program",
            Rank::Parent => "parent",
            Rank::Grandparent => "grandparent",
        };
        AlertLine {
            event: "alert".to_owned(),
            time: self.time,
            tag: self.tag.text().trim_matches(['(', ')']).to_owned(),
            rank: rank.to_owned(),
            path: Text(self.path.clone()),
            name: Text(self.name.clone()),
            sha256: self.sha256.map(Sha256::to_hex),
            virustotal: self.verdict.clone(),
            writer: self.change.as_ref().and_then(FileChange::writer).map(WriterLine::from),
        }
    }

    /// The event in the log.
    pub(super) fn event(&self) -> Event {
        Event {
            subject: self.tag.text().trim_matches(['(', ')']).to_owned(),
            uid: self.user,
            path: self.path[..self.path.len().min(MAX_EVENT_PATH)].to_vec(),
            name: self.name.clone(),
            sha256: self.sha256,
            writer: self.change.as_ref().and_then(FileChange::writer).cloned(),
            ..Event::new(EventKind::Alert, self.time, self.event_text())
        }
    }

    /// A sentence about the alert; the program itself is in other fields of the event.
    fn event_text(&self) -> String {
        let whose = match self.rank {
            Rank::Program => "program",
            Rank::Parent => "parent of a program",
            Rank::Grandparent => "grandparent of a program",
        };
        let what = match self.tag {
            Tag::NewName => "has a new name",
            Tag::NewExecutable => "is a new executable under a known name",
            Tag::NewBoth => "was never seen before",
            Tag::NewHash => "has changed on disk",
            Tag::Suspicious => "is suspicious",
            Tag::Clean => "is not suspected by any scanner",
        };
        let change = self.change.as_ref().map(|change| change.words(MAX_PATH));
        match change.as_ref().or(Some(&self.verdict)).filter(|detail| !detail.is_empty()) {
            None => format!("A {whose} on the network {what}."),
            Some(detail) => format!("A {whose} on the network {what}: {detail}."),
        }
    }

    /// ` (parent)`, ` (grandparent)`, or nothing for the program of the process.
    pub(super) const fn rank_text(&self) -> &'static str {
        match self.rank {
            Rank::Program => "",
            Rank::Parent => " (parent)",
            Rank::Grandparent => " (grandparent)",
        }
    }
}

/// A program whose digest is awaited.
#[derive(Debug)]
struct AwaitedPath {
    rank: Rank,
    path: Bytes,
    user: u32,
}

/// A program that has no digest: the sentence about it, and its user.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnhashedProgram {
    pub(super) user: u32,
    pub(super) text: String,
}

/// Generates alerts for programs and digests that are not among the known programs.
#[derive(Debug)]
pub(super) struct AlertGenerator {
    known: SharedKnownPrograms,
    /// Executables whose digest is not known yet, with the programs that run them.
    awaited: HashMap<u32, Vec<AwaitedPath>>,
    changes: FileChanges,
    /// The text of the last alert.
    last: String,
}

impl AlertGenerator {
    pub(super) fn new(known: SharedKnownPrograms) -> Self {
        Self { known, awaited: HashMap::new(), changes: FileChanges::default(), last: String::new() }
    }

    /// The files of executables, of which the generator has to know before their digests.
    pub(super) fn changes(&mut self) -> &mut FileChanges {
        &mut self.changes
    }

    /// The known programs, locked: the thread that writes record.json waits for the end of the lock.
    pub(super) fn known(&self) -> MutexGuard<'_, KnownPrograms> {
        self.known.lock()
    }

    /// Adds the programs of a context and returns the alerts about them. `state` returns the state of an executable;
    /// `executables` are those of the process, its parent and its grandparent.
    pub(super) fn add_context(
        &mut self,
        context: &ProcessContext,
        executables: [Option<u32>; 3],
        state: impl Fn(u32) -> DigestState,
    ) -> Vec<Alert> {
        let mut alerts = Vec::new();
        let programs = [&context.program, &context.parent, &context.grandparent];
        for ((rank, program), executable) in Rank::ALL.into_iter().zip(programs).zip(executables) {
            // The path is empty for kernel threads, unknown processes, and the parent of the first process.
            if program.path.is_empty() {
                continue;
            }
            let novelty = self.known().observe(rank, &program.path, &program.name);
            let tag = match novelty {
                Novelty::Nothing => None,
                Novelty::Name => Some(Tag::NewName),
                Novelty::Executable => Some(Tag::NewExecutable),
                Novelty::Both => Some(Tag::NewBoth),
            };
            if let Some(tag) = tag {
                let (name, user) = (program.name.clone(), Some(context.uid));
                let alert = Alert { name, user, ..Alert::new(tag, rank, &program.path) };
                alerts.extend(self.unless_repeated(alert));
            }
            let Some(executable) = executable else { continue };
            match state(executable) {
                DigestState::Known(digest) => {
                    let program = AwaitedPath { rank, path: program.path.clone(), user: context.uid };
                    alerts.extend(self.learn_digest(&program, executable, digest));
                }
                _ if self.awaited.len() < MAX_AWAITED || self.awaited.contains_key(&executable) => {
                    let paths = self.awaited.entry(executable).or_default();
                    if paths.len() < MAX_PATHS && !paths.iter().any(|other| other.path == program.path) {
                        paths.push(AwaitedPath { rank, path: program.path.clone(), user: context.uid });
                    }
                }
                // The next context with this executable tries again.
                _ => {}
            }
        }
        alerts
    }

    /// Takes the final state of an executable. Returns the alerts about it, and the problem if it has no digest.
    pub(super) fn add_digest(
        &mut self,
        executable: u32,
        state: &DigestState,
    ) -> (Vec<Alert>, Option<UnhashedProgram>) {
        let Some(paths) = self.awaited.remove(&executable) else { return (Vec::new(), None) };
        match state {
            DigestState::Known(digest) => {
                let alerts =
                    paths.iter().filter_map(|program| self.learn_digest(program, executable, *digest));
                (alerts.collect(), None)
            }
            DigestState::Pending => (Vec::new(), None),
            DigestState::Unreadable(why) => {
                let unhashed = paths.first().map(|program| {
                    let path = sanitize::shorten(&sanitize::terminal(&program.path), MAX_PATH);
                    let text = format!(
                        "{path} has no SHA-256: {why}. Its traffic is recorded without one; whether it was changed is not \
                         known."
                    );
                    UnhashedProgram { user: program.user, text }
                });
                (Vec::new(), unhashed)
            }
        }
    }

    /// The number of executables whose digest is awaited.
    pub(super) fn awaited(&self) -> usize {
        self.awaited.len()
    }

    /// Forgets the executables before this one, except those that still wait to be hashed.
    pub(super) fn forget_before(&mut self, executable: u32, state: impl Fn(u32) -> DigestState) {
        self.awaited.retain(|id, _| *id >= executable || state(*id) == DigestState::Pending);
        self.changes.forget_before(executable, |id| self.awaited.contains_key(&id));
    }

    /// Remembers the verdict of VirusTotal on a digest. Returns an alert for each of its programs, unless `tag` is `None`.
    pub(super) fn add_verdict(&mut self, digest: Sha256, verdict: &str, tag: Option<Tag>) -> Vec<Alert> {
        let paths = self.known().set_verdict(digest, verdict);
        let Some(tag) = tag else { return Vec::new() };
        let alert = |path: Bytes| Alert {
            sha256: Some(digest),
            verdict: verdict.to_owned(),
            ..Alert::new(tag, Rank::Program, &path)
        };
        paths.into_iter().filter_map(|path| self.unless_repeated(alert(path))).collect()
    }

    fn learn_digest(&mut self, program: &AwaitedPath, executable: u32, digest: Sha256) -> Option<Alert> {
        let change = Some(self.changes.observe(&program.path, executable));
        if !self.known().observe_digest(&program.path, digest) {
            return None;
        }
        let alert = Alert::new(Tag::NewHash, program.rank, &program.path);
        self.unless_repeated(Alert { sha256: Some(digest), user: Some(program.user), change, ..alert })
    }

    /// Returns the alert, unless the last one had the same text.
    fn unless_repeated(&mut self, alert: Alert) -> Option<Alert> {
        let text = alert.text();
        (text != self.last).then(|| {
            self.last = text;
            alert
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Program, Writer};

    const DIGEST: Sha256 = Sha256([0xab; 32]);

    fn context(name: &[u8]) -> ProcessContext {
        let program =
            |path: &[u8]| Program { path: path.to_vec(), name: name.to_vec(), ..Program::default() };
        ProcessContext {
            program: program(b"/bin/x"),
            parent: program(b"/bin/sh"),
            ..ProcessContext::default()
        }
    }

    fn texts(alerts: &[Alert]) -> Vec<String> {
        alerts.iter().map(Alert::text).collect()
    }

    #[test]
    fn a_program_causes_one_alert_and_so_do_its_ancestors() {
        let mut alerts = AlertGenerator::new(SharedKnownPrograms::default());
        let pending = |_| DigestState::Pending;
        let new = alerts.add_context(&context(b"x"), [Some(1), None, None], pending);
        assert_eq!(
            texts(&new),
            ["x                /bin/x (new name, exe)", "x                /bin/sh (new name, exe) (parent)"]
        );
        assert!(alerts.add_context(&context(b"x"), [Some(1), None, None], pending).is_empty());
        let long = alerts.add_context(&context(b"a\n0123456789\xffefghij"), [None; 3], pending);
        assert_eq!(long[0].text(), "a\\x0a0123456789\\ /bin/x (new name)");
        let line = long[0].line();
        assert_eq!((&line[4..5], &line[19..20], line.matches('\n').count()), ("-", " ", 1));
    }

    #[test]
    fn a_changed_executable_causes_an_alert_once_its_digest_is_known() {
        let mut alerts = AlertGenerator::new(SharedKnownPrograms::default());
        alerts.known().observe_digest(b"/bin/x", Sha256([1; 32]));
        alerts.add_context(&context(b"x"), [Some(1), Some(2), None], |_| DigestState::Pending);
        let (new, problem) = alerts.add_digest(1, &DigestState::Known(DIGEST));
        assert_eq!((texts(&new), problem), (vec!["abababababababab /bin/x (new hash), changed while it was not watched, not known who wrote it".to_owned()], None));
        let (new, problem) = alerts.add_digest(2, &DigestState::Unreadable("it is gone".into()));
        assert!(new.is_empty() && problem.unwrap().text.starts_with("/bin/sh has no SHA-256: it is gone."));
        assert_eq!(alerts.add_digest(1, &DigestState::Known(DIGEST)), (Vec::new(), None));
        // The next context with it finds its digest.
        assert!(
            alerts
                .add_context(&context(b"x"), [Some(1), None, None], |_| DigestState::Known(DIGEST))
                .is_empty()
        );
        let changed = alerts
            .add_context(&context(b"x"), [Some(3), None, None], |_| DigestState::Known(Sha256([3; 32])));
        assert_eq!(changed.len(), 1);
        let suspicious = alerts.add_verdict(DIGEST, "suspicious", Some(Tag::Suspicious));
        assert_eq!(texts(&suspicious), ["abababababababab /bin/x (suspicious)"]);
    }

    #[test]
    fn an_alert_about_a_changed_executable_says_who_changed_it() {
        let mut alerts = AlertGenerator::new(SharedKnownPrograms::default());
        let state = |id: u32| DigestState::Known(Sha256([id as u8; 32]));
        for id in [1, 2] {
            alerts.changes().add_inode(id, (0, 7, 0));
        }
        assert_eq!(alerts.add_context(&context(b"x"), [Some(1), None, None], state).len(), 2);
        let writer = Writer { pid: 9, path: b"/bin/cp".into(), name: b"cp".into(), uid: Some(1000) };
        alerts.changes().add_writer(2, Some(writer.clone()));
        let changed = alerts.add_context(&context(b"x"), [Some(2), None, None], state);
        assert_eq!(
            texts(&changed),
            ["0202020202020202 /bin/x (new hash), changed by /bin/cp (process 9, uid 1000)"]
        );
        let event = changed[0].event();
        assert_eq!(event.writer, Some(writer));
        assert!(event.text.ends_with("has changed on disk: changed by /bin/cp (process 9, uid 1000)."));
    }

    #[test]
    fn an_unknown_process_causes_no_alert() {
        let mut alerts = AlertGenerator::new(SharedKnownPrograms::default());
        assert!(
            alerts.add_context(&ProcessContext::default(), [None; 3], |_| DigestState::Pending).is_empty()
        );
        assert!(!alerts.known().take_changed());
    }
}
