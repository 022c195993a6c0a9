//! The words of desktop notifications.

use super::{
    alert_rates::FoldedAlerts,
    alerts::{Alert, Tag},
};
use model::text::sanitize;
use notify::{Notification, NotificationKind};

/// Characters of a path in a notification.
const MAX_PATH: usize = 200;

/// The notifications of alerts that belong together: one of each kind.
pub(super) fn of_alerts(alerts: &[Alert]) -> Vec<Notification> {
    let mut notifications: Vec<Notification> = Vec::new();
    for alert in alerts {
        let Some(notification) = of_alert(alert) else { continue };
        match notifications.iter_mut().find(|first| first.kind == notification.kind) {
            Some(first) => {
                let text = sanitize::shorten(&alert.text(), MAX_PATH);
                first.body = format!("{}\n{text}", first.body);
            }
            None => notifications.push(notification),
        }
    }
    notifications
}

/// The notification of an alert; `None` for a clean program, which is no reason to interrupt the user.
fn of_alert(alert: &Alert) -> Option<Notification> {
    let (kind, what) = match alert.tag {
        Tag::NewName => (NotificationKind::Program, "Known program under a new name"),
        Tag::NewExecutable => (NotificationKind::Program, "New program under a known name"),
        Tag::NewBoth => (NotificationKind::Program, "New program"),
        Tag::NewHash => (NotificationKind::Program, "Changed program"),
        Tag::Suspicious => (NotificationKind::Suspicious, "Suspicious program"),
        Tag::Clean => return None,
    };
    let path = sanitize::shorten(&sanitize::terminal(&alert.path), MAX_PATH);
    let detail = match (&alert.sha256, alert.verdict.as_str()) {
        (None, _) => sanitize::terminal(&alert.name),
        (Some(digest), "") => {
            let change = alert.change.as_ref().map(|change| format!("{}\n", change.words(MAX_PATH)));
            format!("{}SHA-256 {}", change.unwrap_or_default(), digest.to_hex())
        }
        (Some(digest), verdict) => {
            format!("VirusTotal: {}\nSHA-256 {}", sanitize::message(verdict), digest.to_hex())
        }
    };
    Some(Notification {
        kind,
        title: format!("{what}{}", alert.rank_text()),
        body: format!("{path}\n{detail}"),
    })
}

/// The notification of alerts that were not reported one by one.
pub(super) fn of_folded(folded: FoldedAlerts) -> Notification {
    let user = folded.user.map_or("several users".to_owned(), |user| format!("uid {user}"));
    Notification {
        kind: NotificationKind::Program,
        title: format!("{} more alerts about programs of {user}", folded.count),
        body: "They came faster than they are reported one by one; record.json has the programs.".to_owned(),
    }
}

/// The notification of a problem.
pub(super) fn of_problem(text: &str) -> Notification {
    let title = "picosnitch could not do all of its work".to_owned();
    Notification { kind: NotificationKind::Error, title, body: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::file_changes::FileChange;
    use known_programs::Rank;
    use model::{Sha256, Writer};

    #[test]
    fn the_notification_of_a_changed_program_says_who_changed_it() {
        let writer = Writer { pid: 9, path: b"/bin/cp".into(), name: b"cp".into(), uid: Some(0) };
        let alert = Alert {
            sha256: Some(Sha256([1; 32])),
            change: Some(FileChange::Written(writer)),
            ..Alert::new(Tag::NewHash, Rank::Program, b"/bin/x")
        };
        let notification = of_alert(&alert).unwrap();
        assert_eq!(notification.title, "Changed program");
        let expected = "/bin/x\nchanged by /bin/cp (process 9, user root)\nSHA-256 0101";
        assert!(notification.body.starts_with(expected), "{}", notification.body);
    }

    #[test]
    fn alerts_of_one_kind_are_one_notice() {
        let alert = |path: &[u8], rank| Alert { name: b"x".to_vec(), ..Alert::new(Tag::NewBoth, rank, path) };
        let clean = Alert::new(Tag::Clean, Rank::Program, b"/bin/clean");
        let notifications =
            of_alerts(&[alert(b"/bin/x", Rank::Program), alert(b"/bin/y", Rank::Parent), clean]);
        assert_eq!(notifications.len(), 1);
        assert_eq!(notifications[0].title, "New program");
        assert_eq!(notifications[0].body, "/bin/x\nx\nx                /bin/y (new name, exe) (parent)");
    }
}
