//! Events: what happened besides traffic, as rows of the log.

use serde::{Deserialize, Serialize};

use crate::{
    bytes::Bytes,
    digest::Sha256,
    loss::{Loss, LossKind},
    text::sanitize,
};

/// A kind of event. In JSON and in the log it has its name in snake case, which must never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// News or a suspicion about a program: a line of exe.log. The subject is its tag.
    Alert,
    /// A problem of picosnitch: a line of error.log.
    Error,
    /// What was not seen, or not stored, in a window. The subject is the kind of the loss, the count its amount.
    Loss,
    /// The digest of an executable became known after records without it were written, from `begin` on.
    LateDigest,
    /// Recording started.
    Start,
    /// Recording stopped.
    Stop,
    /// Nothing was recorded from `begin` on.
    Gap,
    /// The configuration is another one than at the start before.
    Configuration,
    /// The clock was set, or is not believed.
    Clock,
    /// Old records were deleted, or the deletion waits.
    Retention,
    /// Groups of a user were summed, because there were too many.
    Fold,
    /// History was deleted at the user's wish. The subject is the kind of thing, the count the number of records.
    Forget,
    /// Something happened to the file of the log: it is new, another one, or damaged.
    Log,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::Alert,
        Self::Error,
        Self::Loss,
        Self::LateDigest,
        Self::Start,
        Self::Stop,
        Self::Gap,
        Self::Configuration,
        Self::Clock,
        Self::Retention,
        Self::Fold,
        Self::Forget,
        Self::Log,
    ];

    /// The name in the log and in JSON, for example `late_digest`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Error => "error",
            Self::Loss => "loss",
            Self::LateDigest => "late_digest",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Gap => "gap",
            Self::Configuration => "configuration",
            Self::Clock => "clock",
            Self::Retention => "retention",
            Self::Fold => "fold",
            Self::Forget => "forget",
            Self::Log => "log",
        }
    }

    /// The kind with a name; `None` if there is none.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The process that changed a file, as it was when it did. What is not known is empty or `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    /// Process id, in the process-id namespace of picosnitch.
    pub pid: u32,
    /// Path of its executable.
    pub path: Bytes,
    /// Name of its program (`comm`).
    pub name: Bytes,
    /// Its real user id.
    pub uid: Option<u32>,
}

/// Something that happened. Fields that do not apply are `None`, empty or 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When it happened or ended, unix seconds UTC.
    pub time: i64,
    /// When it began, unix seconds UTC.
    pub begin: Option<i64>,
    /// The kind of the event.
    pub kind: EventKind,
    /// What within its kind: the tag of an alert, the kind of a loss.
    pub subject: String,
    /// The real user id of the program that it is about.
    pub uid: Option<u32>,
    /// Path of the executable that it is about.
    pub path: Bytes,
    /// Name of the program that it is about (`comm`).
    pub name: Bytes,
    /// Digest of the executable that it is about.
    pub sha256: Option<Sha256>,
    /// The process that changed the executable that it is about.
    pub writer: Option<Writer>,
    /// How many things it stands for; `kind` and `subject` determine the unit.
    pub count: u64,
    /// A sentence for the user.
    pub text: String,
}

impl Event {
    /// An event of a kind at a time (unix seconds UTC), with its sentence; it is about no program.
    pub fn new(kind: EventKind, time: i64, text: impl Into<String>) -> Self {
        Self {
            time,
            begin: None,
            kind,
            subject: String::new(),
            uid: None,
            path: Bytes::new(),
            name: Bytes::new(),
            sha256: None,
            writer: None,
            count: 1,
            text: text.into(),
        }
    }

    /// What was lost, if it is about that, and this version knows the kind.
    pub fn loss(&self) -> Option<Loss> {
        let kind = (self.kind == EventKind::Loss).then(|| LossKind::from_name(&self.subject))??;
        Some(Loss { kind, count: self.count })
    }

    /// The event as it was read: the sentence of a loss is that of its kind, so it is not stored.
    pub fn with_sentence(mut self) -> Self {
        if let Some(loss) = self.loss().filter(|_| self.text.is_empty()) {
            self.text = loss.sentence();
        }
        self
    }

    /// The program that it is about, as text that is safe for a terminal: the path, and the name where the path does not end in it.
    pub fn program_text(&self) -> String {
        let path = sanitize::terminal(&self.path);
        let is_in_path = self.path.rsplit(|byte| *byte == b'/').next() == Some(&self.name[..]);
        let name = sanitize::terminal(&self.name);
        match (path.is_empty(), name.is_empty() || is_in_path) {
            (true, _) => name,
            (false, true) => path,
            (false, false) => format!("{path} ({name})"),
        }
    }

    /// The sentence, or without one the subject, as text that is safe for a terminal.
    pub fn sentence(&self) -> String {
        let text = if self.text.is_empty() { &self.subject } else { &self.text };
        sanitize::message(text).trim_start().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_in_the_log_is_that_in_json() {
        for kind in EventKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
            assert_eq!(EventKind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(EventKind::from_name("other"), None);
    }
}
