//! Processes that begin to talk, or to be another program, just when a drain comes.

use std::{collections::HashSet, time::Duration};

use super::{
    Capture,
    abi::{self, types},
    event::Event,
    table::Entry,
};
use model::ProcessId;

/// How often the first flow of a process may wait for the next drain to know its local end.
const MAX_WAITS: u8 = 3;
/// Processes whose first flow is waited for.
pub(super) const MAX_NEWCOMERS: usize = 4096;
/// Open sockets are asked for it so seldom that it takes less than this part of the time.
const ASKING_PART: u32 = 20;
/// How long, and how often, a drain waits for the second half of an execve.
pub(super) const EXECVE_WAIT: Duration = Duration::from_millis(1);
pub(super) const EXECVE_WAITS: usize = 20;

/// Whether the events end within an execve: it gives the old program the new one's name before it is another program.
/// What the old one did must not be told under that name. (Who only renames itself looks the same.)
pub(super) fn is_within_execve<'a>(events: impl Iterator<Item = &'a Event>) -> bool {
    let mut renamed = HashSet::new();
    for event in events {
        match event {
            Event::Renamed(id, _) => {
                renamed.insert(id.tgid);
            }
            Event::Executed(process) => {
                renamed.remove(&process.id.tgid);
            }
            Event::Exited(id) => {
                renamed.remove(&id.tgid);
            }
            _ => {}
        }
    }
    !renamed.is_empty()
}

/// The process of an event that says that it has begun to talk.
pub(super) fn newcomer(bytes: &[u8]) -> Option<ProcessId> {
    let event: types::process_id_event = abi::read(bytes)?;
    (event.kind == types::event_kind::EVENT_FIRST_FLOW.0).then(|| event.id.into())
}

impl Capture {
    /// Whether this is the first flow of a process, and only its local end keeps it.
    pub(super) fn waits_as_newcomer(&self, entry: &Entry) -> bool {
        self.lacks_local_end(entry, false) && self.drain.newcomers.contains_key(&entry.key.process)
    }

    pub(super) fn may_ask(&self) -> bool {
        self.drain.asked.is_none_or(|(when, took)| when.elapsed() > took * ASKING_PART)
    }

    /// Whether a process that has begun to talk still waits to be told. Those of which a flow is to be told now, and
    /// those that have waited long enough, do not.
    pub(super) fn newcomers_wait(&mut self, settled: &[Entry]) -> bool {
        let newcomers = &mut self.drain.newcomers;
        if !newcomers.is_empty() {
            for entry in settled {
                newcomers.remove(&entry.key.process);
            }
        }
        newcomers.retain(|_, waits| {
            *waits += 1;
            *waits <= MAX_WAITS
        });
        !newcomers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ProcessEvent;

    fn renamed(tgid: u32) -> Event {
        Event::Renamed(ProcessId { tgid, ..ProcessId::default() }, Vec::new())
    }

    fn executed(tgid: u32) -> Event {
        let id = ProcessId { tgid, exec: 1, ..ProcessId::default() };
        Event::Executed(Box::new(ProcessEvent { id, ..ProcessEvent::default() }))
    }

    #[test]
    fn an_execve_has_two_halves() {
        assert!(!is_within_execve([].iter()));
        assert!(is_within_execve([renamed(1)].iter()));
        assert!(!is_within_execve([renamed(1), executed(1)].iter()));
        assert!(is_within_execve([renamed(1), executed(2)].iter()));
        assert!(is_within_execve([executed(1), renamed(1)].iter()));
        assert!(!is_within_execve(
            [renamed(1), Event::Exited(ProcessId { tgid: 1, ..ProcessId::default() })].iter()
        ));
    }
}
