//! The result of one check.

use capture::Weight;

/// How bad a check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rating {
    /// Nothing can be recorded.
    Fatal,
    /// Something of what the user wants to know is missing.
    Matters,
    /// A detail is missing.
    Minor,
    /// Only root can find out.
    Unknown,
    /// Worth knowing.
    Informational,
    Good,
}

impl Rating {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fatal => "fatal",
            Self::Matters => "matters",
            Self::Minor => "minor",
            Self::Unknown => "unknown",
            Self::Informational => "informational",
            Self::Good => "good",
        }
    }

    /// The mark in front of a line.
    pub const fn mark(self) -> &'static str {
        match self {
            Self::Fatal | Self::Matters => "!!",
            Self::Minor => "! ",
            Self::Unknown => "? ",
            Self::Informational => "  ",
            Self::Good => "ok",
        }
    }
}

impl From<Weight> for Rating {
    fn from(weight: Weight) -> Self {
        match weight {
            Weight::Matters => Self::Matters,
            Weight::Minor => Self::Minor,
            Weight::Informational => Self::Informational,
        }
    }
}

/// The result of a check.
#[derive(Clone, Debug)]
pub(super) struct Check {
    /// The name of the check, which never changes.
    pub name: &'static str,
    pub rating: Rating,
    /// A sentence for the user.
    pub text: String,
    /// What to do.
    pub advice: Option<String>,
    /// The same in short, without paths, names or addresses: for a report of a bug.
    pub fact: String,
}

impl Check {
    pub fn new(name: &'static str, rating: Rating, text: impl Into<String>, fact: impl Into<String>) -> Self {
        Self { name, rating, text: text.into(), advice: None, fact: fact.into() }
    }

    pub fn good(name: &'static str, text: impl Into<String>, fact: impl Into<String>) -> Self {
        Self::new(name, Rating::Good, text, fact)
    }

    /// A check that only root can make.
    pub fn needs_root(name: &'static str, what: &str) -> Self {
        Self::new(name, Rating::Unknown, format!("{what}: only root can see that"), "needs root")
            .advise("sudo picosnitch doctor")
    }

    pub fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }
}
