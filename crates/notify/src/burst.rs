//! Folds bursts of notifications: the first few are shown as they are, the others together in one.

use std::time::{Duration, Instant};

use super::notification::{Notification, NotificationKind};

/// Notifications that are shown as they are within [`MIN_INTERVAL`].
const MAX_SHOWN: u64 = 3;
/// How long the others are collected. The interval doubles each time until there are no more.
const MIN_INTERVAL: Duration = Duration::from_secs(2);
const MAX_INTERVAL: Duration = Duration::from_secs(64);
/// Folded notifications whose text is part of the folded one.
const MAX_QUOTED: usize = 5;

/// Folds bursts of notifications of one kind.
#[derive(Debug)]
pub struct BurstFolder {
    kind: NotificationKind,
    /// Begin of the interval; `None` before the first notification.
    since: Option<Instant>,
    interval: Duration,
    /// Notifications that were shown as they are in the interval.
    shown: u64,
    /// The first of the collected notifications.
    quoted: Vec<Notification>,
    /// Number of collected notifications, quoted or not.
    collected: u64,
}

impl BurstFolder {
    /// Makes a folder that has seen no notification.
    pub fn new(kind: NotificationKind) -> Self {
        Self { kind, since: None, interval: MIN_INTERVAL, shown: 0, quoted: Vec::new(), collected: 0 }
    }

    /// Takes a notification; gives it back if it is to be shown now.
    pub fn add(&mut self, notification: Notification, now: Instant) -> Option<Notification> {
        let is_over = |since: Instant, interval: Duration| now.saturating_duration_since(since) > interval;
        if self.collected == 0 && self.since.is_none_or(|since| is_over(since, self.interval)) {
            (self.since, self.interval, self.shown) = (Some(now), MIN_INTERVAL, 0);
        }
        if self.shown < MAX_SHOWN {
            self.shown += 1;
            return Some(notification);
        }
        self.collected += 1;
        if self.quoted.len() < MAX_QUOTED {
            self.quoted.push(notification);
        }
        None
    }

    /// When [`BurstFolder::take`] has a notification.
    pub fn due(&self) -> Option<Instant> {
        self.since.filter(|_| self.collected > 0).map(|since| since + self.interval)
    }

    /// The folded notification if it is due.
    pub fn take(&mut self, now: Instant) -> Option<Notification> {
        if self.due()? > now {
            return None;
        }
        let (count, mut quoted) = (std::mem::take(&mut self.collected), std::mem::take(&mut self.quoted));
        self.since = Some(now);
        self.interval = (self.interval * 2).min(MAX_INTERVAL);
        self.shown = MAX_SHOWN;
        if count == 1 {
            return quoted.pop();
        }
        let mut body: Vec<String> = quoted
            .iter()
            .map(|notification| format!("{}: {}", notification.title, notification.body))
            .collect();
        let more = count - body.len() as u64;
        body.push(match more {
            0 => format!("All are in {}.", self.kind.log_file()),
            _ => format!("and {more} more; all are in {}.", self.kind.log_file()),
        });
        Some(Notification {
            kind: self.kind,
            title: format!("{count} {}", self.kind.plural()),
            body: body.join("\n"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notification(number: u32) -> Notification {
        Notification {
            kind: NotificationKind::Program,
            title: format!("New program {number}"),
            body: "/bin/x".into(),
        }
    }

    #[test]
    fn a_burst_becomes_one_notification() {
        let mut folder = BurstFolder::new(NotificationKind::Program);
        let start = Instant::now();
        let shown = (0..17).filter_map(|number| folder.add(notification(number), start)).count();
        assert_eq!(shown, 3);
        assert_eq!(folder.due(), Some(start + MIN_INTERVAL));
        assert_eq!(folder.take(start), None);
        let folded = folder.take(start + MIN_INTERVAL).unwrap();
        assert_eq!(folded.title, "14 new programs");
        assert!(folded.body.starts_with("New program 3: /bin/x\n"), "{}", folded.body);
        assert!(folded.body.ends_with("and 9 more; all are in exe.log."), "{}", folded.body);
        assert_eq!((folder.due(), folder.take(start + MAX_INTERVAL)), (None, None));
    }

    #[test]
    fn a_flood_is_shown_ever_more_rarely_and_then_forgotten() {
        let mut folder = BurstFolder::new(NotificationKind::Error);
        let mut now = Instant::now();
        let mut shown = 0;
        for number in 0..6000 {
            shown += u32::from(folder.add(notification(number), now).is_some());
            shown += u32::from(folder.take(now).is_some());
            now += Duration::from_millis(100);
        }
        assert!((8..20).contains(&shown), "{shown}");
        now += MAX_INTERVAL * 2;
        folder.take(now);
        now += MAX_INTERVAL * 2;
        assert!(folder.add(notification(1), now).is_some());
    }

    #[test]
    fn a_single_collected_notification_is_shown_as_it_is() {
        let mut folder = BurstFolder::new(NotificationKind::Program);
        let start = Instant::now();
        (0..4).for_each(|number| drop(folder.add(notification(number), start)));
        assert_eq!(folder.take(start + MIN_INTERVAL), Some(notification(3)));
    }
}
