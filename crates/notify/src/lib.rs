//! Desktop notifications: what is shown, how a burst is folded, and the way to the user's notification service.

mod desktop;
mod fold;

use serde::{Deserialize, Serialize};

pub use desktop::{Desktop, DesktopError};
pub use fold::Fold;

/// What a notification is about; each kind is folded by itself, so that a flood of one hides no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A new program, or a new content of a known one.
    Program,
    /// VirusTotal suspects a program.
    Suspicious,
    /// Something was not seen, or not kept.
    Error,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Program, Self::Suspicious, Self::Error];

    /// Something that the user must see.
    pub const fn is_urgent(self) -> bool {
        matches!(self, Self::Suspicious)
    }

    /// The title of `count` of them.
    const fn many(self) -> &'static str {
        match self {
            Self::Program => "new programs",
            Self::Suspicious => "suspicious programs",
            Self::Error => "errors",
        }
    }

    /// The log that has them all.
    const fn log(self) -> &'static str {
        match self {
            Self::Program | Self::Suspicious => "exe.log",
            Self::Error => "error.log",
        }
    }
}

/// One notification. Its texts are fit for a terminal; [`Desktop`] escapes what is markup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What it is about.
    pub kind: Kind,
    /// The first line.
    pub title: String,
    /// The rest.
    pub body: String,
}
