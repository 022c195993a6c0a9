//! When the recorder gets lists of open sockets: while a client of the live socket wants to see connections.

use std::time::{Duration, Instant};

/// Time between two lists of idle sockets: for each the open files of all processes are read.
const IDLE_PAUSE: Duration = Duration::from_secs(3);
/// Every so many lists, the active flows are listed, too: a connection that the kernel does not have any more ends then,
/// whatever was lost.
const LISTS_UNTIL_ACTIVE: u32 = 10;

/// Which lists of open sockets are due.
pub(super) struct OpenSocketLists {
    /// Lists of idle sockets until the next list of active flows. The first one comes at once.
    until_active: u32,
    /// When the idle sockets are listed next.
    idle_at: Instant,
}

/// The lists that are due now. The idle sockets always are.
pub(super) struct DueLists {
    pub(super) active: bool,
}

impl OpenSocketLists {
    pub(super) fn new() -> Self {
        Self { until_active: 0, idle_at: Instant::now() }
    }

    /// Returns the lists that are due, which the caller sends now.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<DueLists> {
        if now < self.idle_at {
            return None;
        }
        self.idle_at = now + IDLE_PAUSE;
        let active = self.until_active == 0;
        self.until_active = if active { LISTS_UNTIL_ACTIVE } else { self.until_active } - 1;
        Some(DueLists { active })
    }

    /// Takes note that the lists could not be made: the next ones have as much.
    pub(super) fn set_failed(&mut self, due: &DueLists) {
        if due.active {
            self.until_active = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_sockets_are_listed_again_and_again_and_active_flows_now_and_then() {
        let mut lists = OpenSocketLists::new();
        let start = Instant::now();
        assert!(lists.take_due(start).unwrap().active);
        assert!(lists.take_due(start + IDLE_PAUSE / 2).is_none());
        let later = |number| start + IDLE_PAUSE * number;
        let active: Vec<u32> =
            (1..=25).filter(|number| lists.take_due(later(*number)).unwrap().active).collect();
        assert_eq!(active, [10, 20]);
        lists.set_failed(&DueLists { active: false });
        assert!(!lists.take_due(later(26)).unwrap().active);
        lists.set_failed(&DueLists { active: true });
        assert!(lists.take_due(later(27)).unwrap().active);
    }
}
