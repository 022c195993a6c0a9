//! Events in the order in which the kernel half sent them, between the ring buffer and the reconciler.

use std::collections::HashSet;

use crate::{event::Event, flow::FlowEntry};
use model::ProcessId;

/// Events that were read from the ring buffer together.
#[derive(Debug, Default)]
pub(crate) struct EventBatch {
    pub events: Vec<Event>,
    /// Flows that came with the release of their socket; the releases are among `events`.
    pub ended: Vec<FlowEntry>,
    /// Processes whose first flow was just made.
    pub first_flows: Vec<ProcessId>,
}

impl EventBatch {
    pub(crate) fn append(&mut self, mut other: Self) {
        self.events.append(&mut other.events);
        self.ended.append(&mut other.ended);
        self.first_flows.append(&mut other.first_flows);
    }

    /// Splits off what was appended after there were so many events and ended flows.
    pub(crate) fn split_off(&mut self, events: usize, ended: usize) -> Self {
        Self {
            events: self.events.split_off(events),
            ended: self.ended.split_off(ended),
            first_flows: Vec::new(),
        }
    }

    /// Whether the events end within an execve(2), which renames the old program before it starts the new one. The
    /// traffic of the old program must not be recorded under the new name. A process that only renames itself looks the same.
    pub(crate) fn ends_within_execve(&self) -> bool {
        let mut renamed = HashSet::new();
        for event in &self.events {
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

    fn ends_within_execve<const N: usize>(events: [Event; N]) -> bool {
        EventBatch { events: events.into(), ..EventBatch::default() }.ends_within_execve()
    }

    #[test]
    fn an_execve_is_a_renaming_and_an_execution() {
        assert!(!ends_within_execve([]));
        assert!(ends_within_execve([renamed(1)]));
        assert!(!ends_within_execve([renamed(1), executed(1)]));
        assert!(ends_within_execve([renamed(1), executed(2)]));
        assert!(ends_within_execve([executed(1), renamed(1)]));
        assert!(!ends_within_execve([
            renamed(1),
            Event::Exited(ProcessId { tgid: 1, ..ProcessId::default() })
        ]));
    }
}
