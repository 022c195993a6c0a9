//! The window that is open: one group of traffic for each talker and peer.

use std::{collections::HashMap, sync::Arc};

use super::digests::{Digests, State};
use crate::model::{Amounts, Loss, LossKind, Peer, Record, Talker, Window};

/// Groups that one window holds; traffic of more is counted as lost. At 10,000 connections a second and windows of
/// 10 seconds both sides of each make 200,000.
const MOST_GROUPS: usize = 1_000_000;
/// Windows for which a group waits for the digests of its executables.
const PATIENCE: u8 = 1;

/// What is blanked before anything is stored (section `[log]` and `monitor.bandwidth` of the configuration).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blanking {
    /// Keep bytes; without it only connections count.
    pub bandwidth: bool,
    /// Keep addresses and domains.
    pub addresses: bool,
    /// Keep command lines.
    pub commands: bool,
}

/// A talker whose executables may still be on their way through the hasher.
#[derive(Clone, Debug)]
struct Known {
    talker: Arc<Talker>,
    /// Ids of the executables of the process, its parent and its grandparent.
    executables: [Option<u32>; 3],
    /// All digests that will ever come are in `talker`.
    complete: bool,
}

/// Collects traffic until the window is closed.
#[derive(Debug)]
pub struct OpenWindow {
    blanking: Blanking,
    talkers: HashMap<u32, Known>,
    groups: HashMap<(u32, Peer), (Amounts, u8)>,
    losses: HashMap<LossKind, u64>,
    forget_before: u32,
}

impl OpenWindow {
    /// An empty window.
    pub fn new(blanking: Blanking) -> Self {
        Self {
            blanking,
            talkers: HashMap::new(),
            groups: HashMap::new(),
            losses: HashMap::new(),
            forget_before: 0,
        }
    }

    /// Introduces a talker; ids are never used again.
    pub fn add_talker(&mut self, id: u32, mut talker: Talker, executables: [Option<u32>; 3]) {
        if !self.blanking.commands {
            for program in [&mut talker.program, &mut talker.parent, &mut talker.grandparent] {
                program.command_line.clear();
            }
        }
        self.talkers.insert(id, Known { talker: Arc::new(talker), executables, complete: false });
    }

    /// Talkers before this one will not talk again.
    pub fn forget_before(&mut self, id: u32) {
        self.forget_before = id;
    }

    /// Adds traffic.
    pub fn add(&mut self, talker: u32, mut peer: Peer, mut amounts: Amounts) {
        if !self.blanking.bandwidth {
            (amounts.sent, amounts.received) = (0, 0);
        }
        if !self.blanking.addresses {
            (peer.local_address, peer.remote_address) = (None, None);
            peer.domain.clear();
            peer.domain_source = Default::default();
        }
        // The record of an executed program (port -1) has no amounts.
        if amounts == Amounts::default() && peer.remote_port >= 0 {
            return;
        }
        if self.groups.len() >= MOST_GROUPS && !self.groups.contains_key(&(talker, peer.clone())) {
            self.lose(Loss { kind: LossKind::Log, count: 1 });
            return;
        }
        self.groups.entry((talker, peer)).or_default().0 += amounts;
    }

    /// Adds a loss.
    pub fn lose(&mut self, loss: Loss) {
        let count = self.losses.entry(loss.kind).or_default();
        *count = count.saturating_add(loss.count);
    }

    /// Closes the window at `time` (unix seconds UTC) and opens the next one. Groups whose executables are not hashed
    /// yet stay for the next window, but not for ever, and not in the `last` one.
    pub fn close(&mut self, time: i64, digests: &Digests, last: bool) -> Window {
        let mut window = Window { time, ..Window::default() };
        let mut merged: HashMap<(Arc<Talker>, Peer), Amounts> = HashMap::new();
        let groups = std::mem::take(&mut self.groups);
        for ((id, peer), (amounts, waited)) in groups {
            let Some(known) = self.talkers.get_mut(&id) else {
                // The monitor introduces each talker before its traffic; a channel that lost that says so itself.
                self.groups.insert((id, peer), (amounts, waited));
                continue;
            };
            known.resolve(digests);
            if !known.complete && !last && waited < PATIENCE {
                self.groups.insert((id, peer), (amounts, waited + 1));
                continue;
            }
            let talker = Arc::clone(&known.talker);
            if self.blanking.addresses && self.blanking.commands {
                window.records.push(Record { time, talker, peer, amounts });
            } else {
                // What was blanked may have been the only difference.
                *merged.entry((talker, peer)).or_default() += amounts;
            }
        }
        window.records.extend(merged.into_iter().map(|((talker, peer), amounts)| Record {
            time,
            talker,
            peer,
            amounts,
        }));
        window.losses = self.losses.drain().map(|(kind, count)| Loss { kind, count }).collect();
        window.losses.sort_by_key(|loss| loss.kind);
        let (groups, forget_before) = (&self.groups, self.forget_before);
        self.talkers.retain(|id, _| *id >= forget_before || groups.keys().any(|(waiting, _)| waiting == id));
        window
    }
}

impl Known {
    fn resolve(&mut self, digests: &Digests) {
        if self.complete {
            return;
        }
        let states = self.executables.map(|id| id.map(|id| digests.state(id)));
        let talker = Arc::make_mut(&mut self.talker);
        for (program, state) in
            [&mut talker.program, &mut talker.parent, &mut talker.grandparent].into_iter().zip(&states)
        {
            if let Some(State::Known(digest)) = state {
                program.sha256 = Some(*digest);
            }
        }
        self.complete = !states.contains(&Some(State::Pending));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Blanking = Blanking { bandwidth: true, addresses: true, commands: true };

    fn talker(command_line: &str) -> Talker {
        let mut talker = Talker::default();
        talker.program.path = b"/bin/x".to_vec();
        talker.program.command_line = command_line.into();
        talker
    }

    fn peer(port: i32) -> Peer {
        Peer {
            family: 2,
            protocol: 6,
            remote_address: Some("192.0.2.1".parse().unwrap()),
            remote_port: port,
            ..Peer::default()
        }
    }

    fn amounts(sent: u64) -> Amounts {
        Amounts { connections: 1, sent, received: 3 }
    }

    #[test]
    fn traffic_of_one_talker_and_peer_is_one_record() {
        let digests = Digests::start().unwrap();
        let mut window = OpenWindow::new(ALL);
        window.add_talker(1, talker("x"), [None; 3]);
        window.add(1, peer(80), amounts(10));
        window.add(1, peer(80), amounts(5));
        window.add(1, peer(443), amounts(1));
        let closed = window.close(1000, &digests, false);
        let mut sent: Vec<u64> = closed.records.iter().map(|record| record.amounts.sent).collect();
        sent.sort();
        assert_eq!(sent, [1, 15]);
        assert!(window.close(1010, &digests, false).records.is_empty());
    }

    #[test]
    fn what_is_blanked_leaves_no_trace() {
        let digests = Digests::start().unwrap();
        let mut window = OpenWindow::new(Blanking { bandwidth: false, addresses: false, commands: false });
        window.add_talker(1, talker("x --password=1"), [None; 3]);
        window.add_talker(2, talker("x --password=2"), [None; 3]);
        window.add(1, peer(80), amounts(10));
        window.add(2, peer(80), amounts(10));
        let closed = window.close(1000, &digests, false);
        assert_eq!(closed.records.len(), 1, "{closed:?}");
        assert_eq!(closed.records[0].amounts, Amounts { connections: 2, sent: 0, received: 0 });
        assert!(!format!("{closed:?}").contains("192.0.2.1"));
        assert!(closed.records[0].talker.program.command_line.is_empty());
    }

    #[test]
    fn a_record_waits_for_its_digest_but_not_for_ever() {
        let digests = Digests::start().unwrap();
        let mut window = OpenWindow::new(ALL);
        // Never comes.
        window.add_talker(1, talker("x"), [Some(7), None, None]);
        window.add(1, peer(80), amounts(10));
        for round in 0..PATIENCE {
            assert!(window.close(1000, &digests, false).records.is_empty(), "round {round}");
        }
        assert_eq!(window.close(1000, &digests, false).records.len(), 1);
        window.add(1, peer(80), amounts(10));
        assert_eq!(window.close(1000, &digests, true).records.len(), 1, "the last window keeps nothing back");
    }

    #[test]
    fn talkers_are_forgotten_when_told() {
        let digests = Digests::start().unwrap();
        let mut window = OpenWindow::new(ALL);
        window.add_talker(1, talker("x"), [None; 3]);
        window.add(1, peer(80), amounts(1));
        window.forget_before(2);
        assert_eq!(window.close(1, &digests, false).records.len(), 1);
        assert!(window.talkers.is_empty());
    }
}
