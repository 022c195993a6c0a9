//! A bounded queue of notices that cannot be shown yet.

use std::collections::VecDeque;

use notify::Notice;

/// Notices that wait at most.
const MAX_WAITING: usize = 100;

/// Notices that wait for a notifier or a notification service, and the number of those that were dropped.
#[derive(Default)]
pub(crate) struct NoticeQueue {
    notices: VecDeque<Notice>,
    pub(crate) dropped: u64,
}

impl NoticeQueue {
    /// Adds a notice. If the queue is full, the oldest notice that is not urgent is dropped and counted.
    pub(crate) fn add(&mut self, notice: Notice) {
        self.notices.push_back(notice);
        while self.notices.len() > MAX_WAITING {
            let victim = self.notices.iter().position(|notice| !notice.kind.is_urgent()).unwrap_or(0);
            self.notices.remove(victim);
            self.dropped += 1;
        }
    }

    /// Adds the notices of another queue, but not the number of those it dropped.
    pub(crate) fn add_all(&mut self, other: &Self) {
        other.notices.iter().for_each(|notice| self.add(notice.clone()));
    }

    pub(crate) fn front(&self) -> Option<&Notice> {
        self.notices.front()
    }

    pub(crate) fn remove_front(&mut self) {
        self.notices.pop_front();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.notices.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use notify::NoticeKind;

    use super::*;

    fn notice(number: usize, kind: NoticeKind) -> Notice {
        Notice { kind, title: number.to_string(), body: String::new() }
    }

    #[test]
    fn the_queue_is_bounded_and_keeps_urgent_notices() {
        let mut queue = NoticeQueue::default();
        queue.add(notice(0, NoticeKind::Suspicious));
        (1..MAX_WAITING + 10).for_each(|number| queue.add(notice(number, NoticeKind::Program)));
        assert_eq!((queue.notices.len(), queue.dropped), (MAX_WAITING, 10));
        assert_eq!(queue.notices[0].kind, NoticeKind::Suspicious);
        assert_eq!(queue.notices[1].title, "11");
    }
}
