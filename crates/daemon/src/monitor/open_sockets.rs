//! When the recorder gets lists of open sockets: while a client of the live socket wants to see connections.

use std::time::{Duration, Instant};

/// Time between two lists of idle sockets: for each the open files of all processes are read.
const IDLE_PAUSE: Duration = Duration::from_secs(3);

/// Which lists of open sockets are due.
pub(super) struct OpenSocketLists {
    /// Whether the list of active flows was sent: the recorder needs it once.
    sent_active: bool,
    /// When the idle sockets are listed next.
    idle_at: Instant,
}

/// The lists that are due now. The idle sockets always are.
pub(super) struct DueLists {
    pub(super) active: bool,
}

impl OpenSocketLists {
    pub(super) fn new() -> Self {
        Self { sent_active: false, idle_at: Instant::now() }
    }

    /// Returns the lists that are due, which the caller sends now.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<DueLists> {
        if now < self.idle_at {
            return None;
        }
        self.idle_at = now + IDLE_PAUSE;
        Some(DueLists { active: !std::mem::replace(&mut self.sent_active, true) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn active_flows_are_listed_once_and_idle_sockets_again_and_again() {
        let mut lists = OpenSocketLists::new();
        let start = Instant::now();
        assert!(lists.take_due(start).unwrap().active);
        assert!(lists.take_due(start + IDLE_PAUSE / 2).is_none());
        assert!(!lists.take_due(start + IDLE_PAUSE).unwrap().active);
    }
}
