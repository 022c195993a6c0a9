//! Processes whose first flow waits for its local end: their drain should come soon, and may sample the open sockets.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::flow::FlowEntry;
use model::ProcessId;

/// How often the first flow of a process may wait for the next drain to know its local end.
const MAX_WAITS: u8 = 3;
/// Processes that may wait at a time.
const MAX_PROCESSES: usize = 4096;
/// Sampling for first flows takes at most this fraction of the time: 1 / `SAMPLING_INTERVAL_FACTOR`.
const SAMPLING_INTERVAL_FACTOR: u32 = 20;

#[derive(Debug, Default)]
pub(crate) struct FirstFlows {
    /// Number of drains for which the first flow of each process has waited.
    waits: HashMap<ProcessId, u8>,
    /// When the open sockets were sampled last for a first flow, and how long that took.
    last_sample: Option<(Instant, Duration)>,
}

impl FirstFlows {
    pub(crate) fn add(&mut self, processes: Vec<ProcessId>) {
        let room = MAX_PROCESSES.saturating_sub(self.waits.len());
        self.waits.extend(processes.into_iter().take(room).map(|process| (process, 0)));
    }

    pub(crate) fn contains(&self, process: ProcessId) -> bool {
        self.waits.contains_key(&process)
    }

    pub(crate) fn may_sample(&self, now: Instant) -> bool {
        self.last_sample
            .is_none_or(|(begin, took)| now.duration_since(begin) > took * SAMPLING_INTERVAL_FACTOR)
    }

    pub(crate) fn set_sampled(&mut self, begin: Instant, took: Duration) {
        self.last_sample = Some((begin, took));
    }

    /// Ends the waiting of the processes whose flows are delivered now, and of those that have waited long enough. Returns
    /// whether other processes wait.
    pub(crate) fn settle(&mut self, delivered: &[FlowEntry]) -> bool {
        if !self.waits.is_empty() {
            for entry in delivered {
                self.waits.remove(&entry.key.process);
            }
        }
        self.waits.retain(|_, waits| {
            *waits += 1;
            *waits <= MAX_WAITS
        });
        !self.waits.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampling_takes_a_twentieth_of_the_time() {
        let mut first_flows = FirstFlows::default();
        let begin = Instant::now();
        assert!(first_flows.may_sample(begin));
        first_flows.set_sampled(begin, Duration::from_millis(10));
        assert!(!first_flows.may_sample(begin + Duration::from_millis(200)));
        assert!(first_flows.may_sample(begin + Duration::from_millis(201)));
    }

    #[test]
    fn a_process_waits_for_three_drains() {
        let process = ProcessId { start: 1, tgid: 1, exec: 0 };
        let mut first_flows = FirstFlows::default();
        first_flows.add(vec![process]);
        for _ in 0..MAX_WAITS {
            assert!(first_flows.contains(process));
            assert!(first_flows.settle(&[]));
        }
        assert!(!first_flows.settle(&[]));
        assert!(!first_flows.contains(process));
    }
}
