//! Alerts: what is new or suspicious about a program, for exe.log, the desktop and the live feed.

use std::collections::HashMap;

use identity::digests::DigestState;
use known_programs::{KnownPrograms, Novelty, Rank};
use model::text::escape::to_text;
use model::{
    Bytes, ProcessContext, Sha256,
    text::{format, time},
};

/// Executables whose digest is awaited, and paths under which one of them is known.
const MAX_AWAITED: usize = 8192;
const MAX_PATHS: usize = 64;
/// Characters of a line of exe.log that a path may take: one longer is shortened in its middle.
const MAX_PATH: usize = 4096;

/// What an alert says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// A known executable under a new name.
    NewName,
    /// A new executable under a known name.
    NewExecutable,
    /// Both are new.
    NewBoth,
    /// A known executable with another content.
    NewHash,
    /// VirusTotal knows the content as malicious or suspicious.
    Suspicious,
    /// VirusTotal knows the content, and nobody there suspects it.
    Clean,
}

impl Tag {
    /// The words of exe.log.
    pub const fn text(self) -> &'static str {
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

/// One line of exe.log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// When, unix seconds UTC.
    pub time: i64,
    /// What.
    pub tag: Tag,
    /// Whose program.
    pub rank: Rank,
    /// Path of the executable.
    pub path: Bytes,
    /// The name it ran under; empty where the digest matters.
    pub name: Bytes,
    /// Its digest, where that matters.
    pub sha256: Option<Sha256>,
    /// What VirusTotal said.
    pub verdict: String,
}

impl Alert {
    /// The line of exe.log: `YYYY-MM-DD HH:MM:SS `, 16 characters of name or digest, path, tag.
    pub fn line(&self) -> String {
        format!("{} {}\n", time::local(self.time), self.text())
    }

    /// The line without its time.
    pub fn text(&self) -> String {
        let field = match self.sha256 {
            Some(digest) => digest.to_hex(),
            None => format::terminal(&self.name),
        };
        let path = format::shorten(&format::terminal(&self.path), MAX_PATH);
        format!("{field:<16.16} {path} {}{}", self.tag.text(), self.rank_text())
    }

    /// The event of the live feed (docs/live.md).
    pub fn to_json(&self) -> serde_json::Value {
        let rank = match self.rank {
            Rank::Program => "program",
            Rank::Parent => "parent",
            Rank::Grandparent => "grandparent",
        };
        serde_json::json!({
            "event": "alert",
            "time": self.time,
            "tag": self.tag.text().trim_matches(['(', ')']),
            "rank": rank,
            "path": to_text(&self.path),
            "name": to_text(&self.name),
            "sha256": self.sha256.map(Sha256::to_hex),
            "virustotal": self.verdict,
        })
    }

    /// ` (parent)`, ` (grandparent)`, or nothing.
    pub const fn rank_text(&self) -> &'static str {
        match self.rank {
            Rank::Program => "",
            Rank::Parent => " (parent)",
            Rank::Grandparent => " (grandparent)",
        }
    }
}

/// Turns what the recorder hears into alerts.
#[derive(Debug)]
pub struct Alerts {
    known: KnownPrograms,
    /// Executables whose digest is not known yet, with the paths they have.
    awaited: HashMap<u32, Vec<(Rank, Bytes)>>,
    last: String,
}

impl Alerts {
    /// Alerts for what is not in `known`.
    pub fn new(known: KnownPrograms) -> Self {
        Self { known, awaited: HashMap::new(), last: String::new() }
    }

    /// The known programs.
    pub fn known(&mut self) -> &mut KnownPrograms {
        &mut self.known
    }

    /// A context is introduced; `state` tells what is known about its executables (process, parent, grandparent).
    pub fn meet(
        &mut self,
        context: &ProcessContext,
        executables: [Option<u32>; 3],
        state: impl Fn(u32) -> DigestState,
    ) -> Vec<Alert> {
        let mut alerts = Vec::new();
        let programs = [&context.program, &context.parent, &context.grandparent];
        for ((rank, program), executable) in Rank::ALL.into_iter().zip(programs).zip(executables) {
            // Nobody (the first process has no parent), kernel threads, and who is not known: that is told elsewhere.
            if program.path.is_empty() {
                continue;
            }
            let tag = match self.known.observe(rank, &program.path, &program.name) {
                Novelty::Nothing => None,
                Novelty::Name => Some(Tag::NewName),
                Novelty::Executable => Some(Tag::NewExecutable),
                Novelty::Both => Some(Tag::NewBoth),
            };
            if let Some(tag) = tag {
                let alert = self.alert(tag, rank, &program.path, &program.name, None, String::new());
                alerts.extend(alert);
            }
            let Some(executable) = executable else { continue };
            match state(executable) {
                DigestState::Known(digest) => alerts.extend(self.digest(rank, &program.path, digest)),
                _ if self.awaited.len() < MAX_AWAITED || self.awaited.contains_key(&executable) => {
                    let paths = self.awaited.entry(executable).or_default();
                    if paths.len() < MAX_PATHS && !paths.iter().any(|(_, path)| *path == program.path) {
                        paths.push((rank, program.path.clone()));
                    }
                }
                // Its next context tries again.
                _ => {}
            }
        }
        alerts
    }

    /// The state of an executable is final; the alerts, and what the user should know.
    pub fn settled(&mut self, executable: u32, state: &DigestState) -> (Vec<Alert>, Option<String>) {
        let Some(paths) = self.awaited.remove(&executable) else { return (Vec::new(), None) };
        match state {
            DigestState::Known(digest) => {
                let alerts = paths.into_iter().filter_map(|(rank, path)| self.digest(rank, &path, *digest));
                (alerts.collect(), None)
            }
            DigestState::Pending => (Vec::new(), None),
            DigestState::Unreadable(why) => {
                let path = paths.first().map(|(_, path)| format::terminal(path)).unwrap_or_default();
                let text = format!(
                    "{path} has no SHA-256: {why}. Its traffic is recorded without one; whether it was changed is not \
                     known."
                );
                (Vec::new(), Some(text))
            }
        }
    }

    /// Executables whose digest is awaited.
    pub fn awaited(&self) -> usize {
        self.awaited.len()
    }

    /// Executables before this one do not come again.
    pub fn forget_before(&mut self, executable: u32, state: impl Fn(u32) -> DigestState) {
        // Those in the hasher's queue still come.
        self.awaited.retain(|id, _| *id >= executable || state(*id) == DigestState::Pending);
    }

    /// VirusTotal has an answer about a digest: suspicious, clean, or neither.
    pub fn verdict(&mut self, digest: Sha256, verdict: &str, tag: Option<Tag>) -> Vec<Alert> {
        let paths = self.known.set_verdict(digest, verdict);
        let Some(tag) = tag else { return Vec::new() };
        paths
            .into_iter()
            .filter_map(|path| self.alert(tag, Rank::Program, &path, b"", Some(digest), verdict.to_owned()))
            .collect()
    }

    fn digest(&mut self, rank: Rank, path: &[u8], digest: Sha256) -> Option<Alert> {
        if self.known.observe_digest(path, digest) {
            self.alert(Tag::NewHash, rank, path, b"", Some(digest), String::new())
        } else {
            None
        }
    }

    /// An alert, unless the last one said the same.
    fn alert(
        &mut self,
        tag: Tag,
        rank: Rank,
        path: &[u8],
        name: &[u8],
        sha256: Option<Sha256>,
        verdict: String,
    ) -> Option<Alert> {
        let (path, name) = (path.to_owned(), name.to_owned());
        let alert = Alert { time: time::now(), tag, rank, path, name, sha256, verdict };
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
    use model::Program;

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
    fn a_program_is_announced_once_with_its_ancestors() {
        let mut alerts = Alerts::new(KnownPrograms::default());
        let pending = |_| DigestState::Pending;
        let new = alerts.meet(&context(b"x"), [Some(1), None, None], pending);
        assert_eq!(
            texts(&new),
            ["x                /bin/x (new name, exe)", "x                /bin/sh (new name, exe) (parent)"]
        );
        assert!(alerts.meet(&context(b"x"), [Some(1), None, None], pending).is_empty());
        let long = alerts.meet(&context(b"a\n0123456789\xffefghij"), [None; 3], pending);
        assert_eq!(long[0].text(), "a\\x0a0123456789\\ /bin/x (new name)");
        let line = long[0].line();
        assert_eq!((&line[4..5], &line[19..20], line.matches('\n').count()), ("-", " ", 1));
    }

    #[test]
    fn a_changed_executable_is_announced_when_its_digest_is_known() {
        let mut alerts = Alerts::new(KnownPrograms::default());
        alerts.known().observe_digest(b"/bin/x", Sha256([1; 32]));
        alerts.meet(&context(b"x"), [Some(1), Some(2), None], |_| DigestState::Pending);
        let (new, problem) = alerts.settled(1, &DigestState::Known(DIGEST));
        assert_eq!((texts(&new), problem), (vec!["abababababababab /bin/x (new hash)".to_owned()], None));
        let (new, problem) = alerts.settled(2, &DigestState::Unreadable("it is gone".into()));
        assert!(new.is_empty() && problem.unwrap().starts_with("/bin/sh has no SHA-256: it is gone."));
        assert_eq!(alerts.settled(1, &DigestState::Known(DIGEST)), (Vec::new(), None));
        // The next context with it finds the digest there.
        assert!(
            alerts.meet(&context(b"x"), [Some(1), None, None], |_| DigestState::Known(DIGEST)).is_empty()
        );
        let changed =
            alerts.meet(&context(b"x"), [Some(3), None, None], |_| DigestState::Known(Sha256([3; 32])));
        assert_eq!(changed.len(), 1);
        let suspicious = alerts.verdict(DIGEST, "suspicious", Some(Tag::Suspicious));
        assert_eq!(texts(&suspicious), ["abababababababab /bin/x (suspicious)"]);
    }

    #[test]
    fn who_is_not_known_is_not_announced() {
        let mut alerts = Alerts::new(KnownPrograms::default());
        assert!(alerts.meet(&ProcessContext::default(), [None; 3], |_| DigestState::Pending).is_empty());
        assert!(!alerts.known().take_changed());
    }
}
