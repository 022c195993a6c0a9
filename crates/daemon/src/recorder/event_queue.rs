//! Events that wait for the end of the window. Each user has a bounded number of them.

use std::collections::HashMap;

use model::{Event, EventKind};

/// Events of one user in one window. Further ones are counted.
const MAX_PER_UID: usize = 64;

/// Events in one window of all users with ids that user namespaces give to users (`SUB_UID_MIN` of login.defs(5)): one user
/// may have 65,536 of them. They take no room of the others.
const MAX_OF_SUBORDINATES: usize = 512;
const FIRST_SUBORDINATE: u32 = 100_000;
/// Events of all other users in one window.
const MAX_EVENTS: usize = 4096;
/// Users and kinds that are counted apart; those of further ones are counted together.
const MAX_FOLDED: usize = 1000;

/// Events of the open window.
#[derive(Debug, Default)]
pub(super) struct EventQueue {
    events: Vec<Event>,
    /// How many of them are of users with subordinate ids.
    subordinates: usize,
    /// The number of events of each user, by kind, that found no room.
    folded: HashMap<(Option<u32>, EventKind), u64>,
}

impl EventQueue {
    pub(super) fn add(&mut self, event: Event) {
        // Few users have events in one window, and each of them has few.
        let count = self.events.iter().filter(|known| known.uid == event.uid).count();
        let has_room = match is_subordinate(&event) {
            true => self.subordinates < MAX_OF_SUBORDINATES,
            false => self.events.len() - self.subordinates < MAX_EVENTS,
        };
        if count < MAX_PER_UID && has_room {
            self.subordinates += usize::from(is_subordinate(&event));
            self.events.push(event);
            return;
        }
        let mut key = (event.uid, event.kind);
        if self.folded.len() >= MAX_FOLDED && !self.folded.contains_key(&key) {
            key.0 = None;
        }
        *self.folded.entry(key).or_default() += event.count.max(1);
    }

    /// Takes the events of the window that ends at `time` (unix seconds UTC).
    pub(super) fn take(&mut self, time: i64) -> Vec<Event> {
        let mut events = std::mem::take(&mut self.events);
        self.subordinates = 0;
        for ((uid, kind), count) in self.folded.drain() {
            let text = format!("{count} more events of this kind came in the same window.");
            let mut event = Event::new(kind, time, text);
            (event.subject, event.uid, event.count) = ("folded".to_owned(), uid, count);
            events.push(event);
        }
        events
    }
}

fn is_subordinate(event: &Event) -> bool {
    event.uid.is_some_and(|uid| uid >= FIRST_SUBORDINATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_many_ids_of_one_user_take_no_room_of_another() {
        let mut queue = EventQueue::default();
        let event = |uid| Event { uid: Some(uid), ..Event::new(EventKind::Alert, 1, "x") };
        (0..5000).for_each(|at| queue.add(event(FIRST_SUBORDINATE + at)));
        (0..MAX_PER_UID).for_each(|_| queue.add(event(0)));
        let events = queue.take(10);
        assert_eq!(
            events.iter().filter(|event| event.uid == Some(0) && event.subject.is_empty()).count(),
            MAX_PER_UID
        );
        assert!(events.len() <= MAX_OF_SUBORDINATES + MAX_FOLDED + 1 + MAX_PER_UID, "{}", events.len());
        let of_all: u64 = events.iter().map(|event| event.count).sum();
        assert_eq!(of_all, 5000 + MAX_PER_UID as u64);
    }

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
