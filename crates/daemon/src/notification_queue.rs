//! A bounded queue of notifications that cannot be shown yet.

use std::collections::VecDeque;

use notify::Notification;

/// Notifications that wait at most.
const MAX_WAITING: usize = 100;

/// Notifications that wait for a notifier or a notification service, and the number of those that were dropped.
#[derive(Clone, Default)]
pub(crate) struct NotificationQueue {
    notifications: VecDeque<Notification>,
    pub(crate) dropped: u64,
}

impl NotificationQueue {
    /// Adds a notification. If the queue is full, the oldest notification that is not urgent is dropped and counted.
    pub(crate) fn add(&mut self, notification: Notification) {
        self.notifications.push_back(notification);
        while self.notifications.len() > MAX_WAITING {
            let victim = self
                .notifications
                .iter()
                .position(|notification| !notification.kind.is_urgent())
                .unwrap_or(0);
            self.notifications.remove(victim);
            self.dropped += 1;
        }
    }

    /// Adds the notifications of another queue, and the number of those it dropped.
    pub(crate) fn append(&mut self, other: Self) {
        self.dropped += other.dropped;
        other.notifications.into_iter().for_each(|notification| self.add(notification));
    }

    pub(crate) fn front(&self) -> Option<&Notification> {
        self.notifications.front()
    }

    pub(crate) fn remove_front(&mut self) {
        self.notifications.pop_front();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.notifications.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use notify::NotificationKind;

    use super::*;

    fn notification(number: usize, kind: NotificationKind) -> Notification {
        Notification { kind, title: number.to_string(), body: String::new() }
    }

    #[test]
    fn the_queue_is_bounded_and_keeps_urgent_notices() {
        let mut queue = NotificationQueue::default();
        queue.add(notification(0, NotificationKind::Suspicious));
        (1..MAX_WAITING + 10).for_each(|number| queue.add(notification(number, NotificationKind::Program)));
        assert_eq!((queue.notifications.len(), queue.dropped), (MAX_WAITING, 10));
        assert_eq!(queue.notifications[0].kind, NotificationKind::Suspicious);
        assert_eq!(queue.notifications[1].title, "11");
        let mut all = NotificationQueue::default();
        all.add(notification(0, NotificationKind::Program));
        all.append(queue);
        assert_eq!((all.notifications.len(), all.dropped), (MAX_WAITING, 11));
    }
}
