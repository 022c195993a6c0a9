//! The content of a notification.

use serde::{Deserialize, Serialize};

/// The subject of a notification. Each kind is folded on its own, so that many of one kind do not hide those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NotificationKind {
    /// A new program, or a new content of a known one.
    Program,
    /// VirusTotal's engines report a program.
    Suspicious,
    /// Something was not seen, or not stored.
    Error,
}

impl NotificationKind {
    /// Every kind, in the order of the enum.
    pub const ALL: [Self; 3] = [Self::Program, Self::Suspicious, Self::Error];

    /// Whether the desktop gets the urgency level "critical".
    pub const fn is_urgent(self) -> bool {
        matches!(self, Self::Suspicious)
    }

    /// The plural for the title of a folded notification.
    pub(super) const fn plural(self) -> &'static str {
        match self {
            Self::Program => "new programs",
            Self::Suspicious => "suspicious programs",
            Self::Error => "errors",
        }
    }

    /// The log file that has every notification of this kind.
    pub(super) const fn log_file(self) -> &'static str {
        match self {
            Self::Program | Self::Suspicious => "exe.log",
            Self::Error => "error.log",
        }
    }
}

/// One notification. The caller has made its texts safe for a terminal; [`Desktop`](super::Desktop) escapes markup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// The subject, which decides on urgency and folding.
    pub kind: NotificationKind,
    /// The first line, which desktops show in bold.
    pub title: String,
    /// The text below the title.
    pub body: String,
}

impl Notification {
    /// The notification about `count` others that were dropped.
    pub fn about_dropped(count: u64) -> Self {
        Self {
            kind: NotificationKind::Error,
            title: format!("{count} notifications were not shown"),
            body: "There were too many. New programs are in exe.log, errors in error.log.".to_owned(),
        }
    }
}
