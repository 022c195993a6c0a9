//! Alerts and errors of the daemon, as `top` shows them.

use crate::term::text;
use live::protocol::{AlertLine, ErrorLine};

/// The reason why a program or an alert is highlighted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Highlight {
    New,
    Wrong,
}

/// A line of the alerts pane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Time of the event in unix seconds.
    pub time: i64,
    pub highlight: Highlight,
    /// One line of safe text.
    pub text: String,
}

impl Alert {
    /// The alert of an `error` event.
    pub fn from_error(line: &ErrorLine, ascii: bool) -> Self {
        Self { time: line.time, highlight: Highlight::Wrong, text: text::sentence(&line.text, ascii) }
    }

    /// The alert of an `alert` event; `None` if its tag is unknown or not worth showing.
    pub fn from_alert(line: &AlertLine, ascii: bool) -> Option<Self> {
        let (highlight, summary) = match &*line.tag {
            "new name" => (Highlight::New, "new name"),
            "new exe" | "new name, exe" => (Highlight::New, "new program"),
            "new hash" => (Highlight::Wrong, "changed on disk"),
            "suspicious" => (Highlight::Wrong, "suspicious"),
            _ => return None,
        };
        let rank = match &*line.rank {
            "program" => String::new(),
            rank => format!(" ({})", text::safe(rank.as_bytes(), true)),
        };
        let path = text::safe(&line.path.0, ascii);
        let detail = match (line.virustotal.is_empty(), line.tag.as_str()) {
            (false, _) => format!(", {}", text::sentence(&line.virustotal, ascii)),
            (true, "new name") => format!(" as {}", text::safe(&line.name.0, ascii)),
            _ => String::new(),
        };
        Some(Self { time: line.time, highlight, text: format!("{summary}{rank}: {path}{detail}") })
    }
}
