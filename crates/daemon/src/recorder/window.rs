//! The window that is open: one group of traffic for each context and peer.

use std::{collections::HashMap, sync::Arc};

use super::contexts::ContextTable;
use config::log_rules::{LogRules, MAX_DIGEST_WAIT_SECONDS};
use live::connections::Contexts;
use model::{Counters, Flow, FlowTuple, GeoInfo, Loss, LossKind, ProcessContext, Record, Window};
use names::DomainDecision;

/// Groups that one window holds; traffic of more is counted as lost. At 10,000 connections a second and windows of
/// 10 seconds both sides of each make 200,000.
const MAX_GROUPS: usize = 1_000_000;
/// Seconds for which a group waits for the digests of its executables, at least one window.
const PATIENCE_SECONDS: u32 = 10;

/// ProcessContext, peer, and the socket whose domain is not known yet; 0 when it is, or never will be.
type Group = (u32, FlowTuple, u64);

/// Collects traffic until the window is closed.
#[derive(Debug)]
pub struct OpenWindow {
    rules: LogRules,
    /// Windows for which a group waits for the digests of its executables.
    patience: u32,
    groups: HashMap<Group, (Counters, u32)>,
    losses: HashMap<LossKind, u64>,
}

impl OpenWindow {
    /// An empty window, `seconds` long.
    pub fn new(rules: LogRules, seconds: u32) -> Self {
        let patience = if rules.has_digest_rules() { MAX_DIGEST_WAIT_SECONDS } else { PATIENCE_SECONDS };
        Self {
            rules,
            patience: (patience / seconds.max(1)).max(1),
            groups: HashMap::new(),
            losses: HashMap::new(),
        }
    }

    /// Adds traffic. With `waits` the domain of the peer may be known when the window is closed.
    pub fn add(&mut self, flow: Flow, waits: bool) {
        let Flow { context, id, mut tuple, mut counters } = flow;
        if self.rules.ignores_tuple(&tuple) {
            return;
        }
        self.rules.blank_counters(&mut counters);
        let socket = if waits { id.socket } else { 0 };
        if socket == 0 {
            self.rules.blank_tuple(&mut tuple);
        }
        // The record of an executed program (port -1) has no counters.
        if counters == Counters::default() && tuple.remote_port >= 0 {
            return;
        }
        let group = (context, tuple, socket);
        if self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&group) {
            self.lose(Loss { kind: LossKind::Log, count: 1 });
            return;
        }
        self.groups.entry(group).or_default().0 += counters;
    }

    /// Gives groups that wait for their domain the one that `domain` knows now: the window is about to be closed. Those
    /// that will know it soon stay for the next window, but not in the `last` one.
    pub fn name(&mut self, last: bool, mut domain: impl FnMut(u64, &FlowTuple) -> DomainDecision) {
        let unnamed: Vec<Group> = self.groups.keys().filter(|(_, _, socket)| *socket != 0).cloned().collect();
        for group in unnamed {
            let Some((counters, waited)) = self.groups.remove(&group) else { continue };
            let (context, mut tuple, socket) = group;
            match domain(socket, &tuple) {
                DomainDecision::Decided(known) => (tuple.domain, tuple.domain_source) = known,
                DomainDecision::Pending if !last => {
                    self.groups.insert((context, tuple, socket), (counters, waited));
                    continue;
                }
                DomainDecision::Pending | DomainDecision::Unknown => {}
            }
            if self.rules.ignores_tuple(&tuple) {
                continue;
            }
            self.rules.blank_tuple(&mut tuple);
            let named = self.groups.entry((context, tuple, 0)).or_insert((Counters::default(), waited));
            named.0 += counters;
        }
    }

    /// Adds a loss.
    pub fn lose(&mut self, loss: Loss) {
        let count = self.losses.entry(loss.kind).or_default();
        *count = count.saturating_add(loss.count);
    }

    /// Closes the window at `time` (unix seconds UTC) and opens the next one. Groups whose executables are not hashed
    /// yet stay for the next window, but not for ever, and not in the `last` one.
    pub fn close(&mut self, time: i64, contexts: &mut ContextTable, last: bool) -> Window {
        let mut window = Window { time, ..Window::default() };
        let mut merged: HashMap<(Arc<ProcessContext>, FlowTuple), Counters> = HashMap::new();
        let groups = std::mem::take(&mut self.groups);
        for ((id, tuple, socket), (counters, waited)) in groups {
            if socket != 0 {
                self.groups.insert((id, tuple, socket), (counters, waited));
                continue;
            }
            let Some((context, complete)) = contexts.context(id) else {
                // The monitor introduces each context before its traffic; a channel that lost that says so itself.
                self.groups.insert((id, tuple, socket), (counters, waited));
                continue;
            };
            if !complete && !last && waited < self.patience {
                self.groups.insert((id, tuple, socket), (counters, waited + 1));
                continue;
            }
            if self.rules.ignores_digest(context.program.sha256) {
                continue;
            }
            if !self.rules.blanks_anything() {
                window.records.push(Record { time, context, geo: GeoInfo::default(), tuple, counters });
            } else {
                // What was blanked may have been the only difference.
                *merged.entry((context, tuple)).or_default() += counters;
            }
        }
        window.records.extend(merged.into_iter().map(|((context, tuple), counters)| Record {
            time,
            context,
            geo: GeoInfo::default(),
            tuple,
            counters,
        }));
        window.losses = self.losses.drain().map(|(kind, count)| Loss { kind, count }).collect();
        window.losses.sort_by_key(|loss| loss.kind);
        contexts.forget_unused(|id| self.groups.keys().any(|(waiting, ..)| *waiting == id));
        window
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use identity::digests::Digests;
    use model::{DomainSource, FlowId};

    fn all() -> LogRules {
        LogRules { bandwidth: true, addresses: true, commands: true, ignore: Vec::new() }
    }

    /// A window of so many seconds, and its contexts.
    fn open(rules: LogRules, seconds: u32) -> (OpenWindow, ContextTable) {
        let contexts = ContextTable::new(rules.clone(), Digests::start().unwrap());
        (OpenWindow::new(rules, seconds), contexts)
    }

    fn context(command_line: &str) -> ProcessContext {
        let mut context = ProcessContext::default();
        context.program.path = b"/bin/x".to_vec();
        context.program.command_line = command_line.into();
        context
    }

    fn peer(port: model::Port) -> FlowTuple {
        FlowTuple {
            family: 2,
            protocol: 6,
            remote_address: Some("192.0.2.1".parse().unwrap()),
            remote_port: port,
            ..FlowTuple::default()
        }
    }

    fn flow(context: u32, tuple: FlowTuple, counters: Counters) -> Flow {
        Flow { context, id: FlowId::default(), tuple, counters }
    }

    fn counters(sent: u64) -> Counters {
        Counters { connections: 1, sent, received: 3 }
    }

    #[test]
    fn traffic_of_one_talker_and_peer_is_one_record() {
        let (mut window, mut contexts) = open(all(), 10);
        contexts.insert(1, context("x"), [None; 3]);
        window.add(flow(1, peer(80), counters(10)), false);
        window.add(flow(1, peer(80), counters(5)), false);
        window.add(flow(1, peer(443), counters(1)), false);
        let closed = window.close(1000, &mut contexts, false);
        let mut sent: Vec<u64> = closed.records.iter().map(|record| record.counters.sent).collect();
        sent.sort();
        assert_eq!(sent, [1, 15]);
        assert!(window.close(1010, &mut contexts, false).records.is_empty());
    }

    #[test]
    fn what_is_blanked_leaves_no_trace() {
        let (mut window, mut contexts) = open(LogRules::default(), 10);
        contexts.insert(1, context("x --password=1"), [None; 3]);
        contexts.insert(2, context("x --password=2"), [None; 3]);
        window.add(flow(1, peer(80), counters(10)), false);
        window.add(flow(2, peer(80), counters(10)), false);
        let closed = window.close(1000, &mut contexts, false);
        assert_eq!(closed.records.len(), 1, "{closed:?}");
        assert_eq!(closed.records[0].counters, Counters { connections: 2, sent: 0, received: 0 });
        assert!(!format!("{closed:?}").contains("192.0.2.1"));
        assert!(closed.records[0].context.program.command_line.is_empty());
    }

    #[test]
    fn a_record_waits_for_its_digest_but_not_for_ever() {
        let (mut window, mut contexts) = open(all(), 3);
        // Never comes.
        contexts.insert(1, context("x"), [Some(7), None, None]);
        window.add(flow(1, peer(80), counters(10)), false);
        for round in 0..3 {
            assert!(window.close(1000, &mut contexts, false).records.is_empty(), "round {round}");
        }
        assert_eq!(window.close(1000, &mut contexts, false).records.len(), 1);
        window.add(flow(1, peer(80), counters(10)), false);
        assert_eq!(
            window.close(1000, &mut contexts, true).records.len(),
            1,
            "the last window keeps nothing back"
        );
    }

    #[test]
    fn what_is_ignored_is_not_in_the_window() {
        let digest = model::Sha256([7; 32]);
        let ignore = vec![config::IgnoreRule::Port(80), config::IgnoreRule::Hash(digest)];
        let (mut window, mut contexts) = open(LogRules { ignore, ..all() }, 10);
        contexts.insert(1, context("x"), [None; 3]);
        let mut hashed = context("y");
        hashed.program.sha256 = Some(digest);
        contexts.insert(2, hashed, [None; 3]);
        let mut child = context("z");
        child.parent.sha256 = Some(digest);
        contexts.insert(3, child, [None; 3]);
        // Its digest is on the way.
        contexts.insert(4, context("w"), [Some(7), None, None]);
        for id in 1..=4 {
            window.add(flow(id, peer(80), counters(1)), false);
            window.add(flow(id, peer(443), counters(1)), false);
        }
        let mut logged = |last| {
            let mut lines: Vec<_> = window
                .close(1000, &mut contexts, last)
                .records
                .iter()
                .map(|record| (record.context.program.command_line.clone(), record.tuple.remote_port))
                .collect();
            lines.sort();
            lines
        };
        assert_eq!(logged(false), [(b"x".to_vec(), 443), (b"z".to_vec(), 443)]);
        for _ in 0..5 {
            assert!(logged(false).is_empty(), "it may be one that is ignored");
        }
        assert_eq!(logged(true), [(b"w".to_vec(), 443)], "the last window keeps nothing back");
    }

    #[test]
    fn a_digest_that_never_comes_hides_nothing_for_ever() {
        let ignore = vec![config::IgnoreRule::Hash(model::Sha256([7; 32]))];
        let (mut window, mut contexts) = open(LogRules { ignore, ..all() }, 200);
        contexts.insert(1, context("w"), [Some(7), None, None]);
        window.add(flow(1, peer(443), counters(1)), false);
        for round in 0..3 {
            assert!(window.close(1000, &mut contexts, false).records.is_empty(), "round {round}");
        }
        assert_eq!(window.close(1000, &mut contexts, false).records.len(), 1);
    }

    #[test]
    fn a_domain_that_comes_late_is_that_of_the_whole_window() {
        let ignore = vec![config::IgnoreRule::Domain("ignored.example".into())];
        let (mut window, mut contexts) = open(LogRules { ignore, ..all() }, 10);
        contexts.insert(1, context("x"), [None; 3]);
        let mut of = |socket, port, name: &str| {
            let mut flow = flow(1, peer(port), counters(1));
            flow.id.socket = socket;
            flow.tuple.domain = name.into();
            window.add(flow, name.is_empty());
        };
        of(5, 443, "");
        of(5, 443, "a.example");
        of(6, 80, "");
        of(7, 81, "");
        of(8, 82, "www.ignored.example");
        of(8, 83, "");
        window.name(false, |socket, _| match socket {
            5 => DomainDecision::Decided((b"a.example".to_vec(), DomainSource::Tls)),
            6 => DomainDecision::Decided((b"www.ignored.example".to_vec(), DomainSource::Tls)),
            7 => DomainDecision::Unknown,
            _ => DomainDecision::Pending,
        });
        let mut records: Vec<_> = window
            .close(1000, &mut contexts, true)
            .records
            .into_iter()
            .map(|record| (record.tuple.remote_port, record.tuple.domain, record.counters.sent))
            .collect();
        records.sort();
        // The first one has the same name from two sources.
        assert_eq!(records.len(), 3);
        assert_eq!((records[0].0, records[0].1.len(), records[0].2), (81, 0, 1));
        window.name(true, |_, _| DomainDecision::Pending);
        assert_eq!(window.close(1010, &mut contexts, true).records.len(), 1, "the one that waited");
        assert!(
            records[1..]
                .iter()
                .all(|(port, name, sent)| (*port, name.as_slice(), *sent) == (443, b"a.example", 1))
        );
    }

    #[test]
    fn talkers_are_forgotten_when_told() {
        let (mut window, mut contexts) = open(all(), 10);
        contexts.insert(1, context("x"), [None; 3]);
        window.add(flow(1, peer(80), counters(1)), false);
        contexts.forget_before(2);
        assert_eq!(window.close(1, &mut contexts, false).records.len(), 1);
        assert!(contexts.is_empty());
    }
}
