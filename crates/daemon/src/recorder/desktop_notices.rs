//! The words of desktop notifications.

use super::alerts::{Alert, Tag};
use model::text::format;
use notify::{Notice, NoticeKind};

/// Characters of a path in a notification.
const MAX_PATH: usize = 200;

/// The notices of alerts that belong together: one of each kind.
pub(super) fn of_alerts(alerts: &[Alert]) -> Vec<Notice> {
    let mut notices: Vec<Notice> = Vec::new();
    for alert in alerts {
        let Some(notice) = of_alert(alert) else { continue };
        match notices.iter_mut().find(|first| first.kind == notice.kind) {
            Some(first) => {
                let text = format::shorten(&alert.text(), MAX_PATH);
                first.body = format!("{}\n{text}", first.body);
            }
            None => notices.push(notice),
        }
    }
    notices
}

/// The notice of an alert; `None` for a clean program, which is no reason to interrupt the user.
fn of_alert(alert: &Alert) -> Option<Notice> {
    let (kind, what) = match alert.tag {
        Tag::NewName => (NoticeKind::Program, "Known program under a new name"),
        Tag::NewExecutable => (NoticeKind::Program, "New program under a known name"),
        Tag::NewBoth => (NoticeKind::Program, "New program"),
        Tag::NewHash => (NoticeKind::Program, "Changed program"),
        Tag::Suspicious => (NoticeKind::Suspicious, "Suspicious program"),
        Tag::Clean => return None,
    };
    let path = format::shorten(&format::terminal(&alert.path), MAX_PATH);
    let detail = match (&alert.sha256, alert.verdict.as_str()) {
        (None, _) => format::terminal(&alert.name),
        (Some(digest), "") => format!("SHA-256 {}", digest.to_hex()),
        (Some(digest), verdict) => {
            format!("VirusTotal: {}\nSHA-256 {}", format::terminal(verdict.as_bytes()), digest.to_hex())
        }
    };
    Some(Notice { kind, title: format!("{what}{}", alert.rank_text()), body: format!("{path}\n{detail}") })
}

/// The notice of a problem.
pub(super) fn of_problem(text: &str) -> Notice {
    let title = "picosnitch could not do all of its work".to_owned();
    Notice { kind: NoticeKind::Error, title, body: text.to_owned() }
}

/// The notice of notices that could not be sent.
pub(super) fn of_dropped(count: u64) -> Notice {
    let title = format!("{count} notifications were not shown");
    let body = "There were too many. New programs are in exe.log, errors in error.log.".to_owned();
    Notice { kind: NoticeKind::Error, title, body }
}

#[cfg(test)]
mod tests {
    use super::*;
    use known_programs::Rank;

    #[test]
    fn alerts_of_one_kind_are_one_notice() {
        let alert = |path: &[u8], rank| Alert { name: b"x".to_vec(), ..Alert::new(Tag::NewBoth, rank, path) };
        let clean = Alert::new(Tag::Clean, Rank::Program, b"/bin/clean");
        let notices = of_alerts(&[alert(b"/bin/x", Rank::Program), alert(b"/bin/y", Rank::Parent), clean]);
        assert_eq!(notices.len(), 1);
        assert_eq!(notices[0].title, "New program");
        assert_eq!(notices[0].body, "/bin/x\nx\nx                /bin/y (new name, exe) (parent)");
    }
}
