//! Events that wait for the end of the window. Each user has a bounded number of them.

use std::collections::HashMap;

use model::{Event, EventKind};

/// Events of one user in one window. Further ones are counted.
const MAX_PER_UID: usize = 64;

/// Events of all users in one window.
const MAX_EVENTS: usize = 4096;

/// Events of the open window.
#[derive(Debug, Default)]
pub(super) struct EventQueue {
    events: Vec<Event>,
    /// The number of events of each user, by kind, that found no room.
    folded: HashMap<(Option<u32>, EventKind), u64>,
}

impl EventQueue {
    pub(super) fn add(&mut self, event: Event) {
        // Few users have events in one window, and each of them has few.
        let count = self.events.iter().filter(|known| known.uid == event.uid).count();
        if count < MAX_PER_UID && self.events.len() < MAX_EVENTS {
            self.events.push(event);
        } else {
            *self.folded.entry((event.uid, event.kind)).or_default() += event.count.max(1);
        }
    }

    /// Takes the events of the window that ends at `time` (unix seconds UTC).
    pub(super) fn take(&mut self, time: i64) -> Vec<Event> {
        let mut events = std::mem::take(&mut self.events);
        for ((uid, kind), count) in self.folded.drain() {
            let text = format!("{count} more events of this kind came in the same window.");
            let mut event = Event::new(kind, time, text);
            (event.subject, event.uid, event.count) = ("folded".to_owned(), uid, count);
            events.push(event);
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_takes_no_room_of_another_and_nothing_is_silent() {
        let mut queue = EventQueue::default();
        let event = |uid| Event { uid: Some(uid), ..Event::new(EventKind::Alert, 1, "x") };
        (0..1000).for_each(|_| queue.add(event(1000)));
        queue.add(event(1001));
        let events = queue.take(10);
        assert_eq!(events.iter().filter(|event| event.uid == Some(1001)).count(), 1);
        let of_1000: Vec<_> = events.iter().filter(|event| event.uid == Some(1000)).collect();
        assert_eq!(of_1000.len(), MAX_PER_UID + 1);
        assert_eq!(of_1000.iter().map(|event| event.count).sum::<u64>(), 1000);
        assert!(queue.take(20).is_empty());
    }
}
