//! The open window: collects flows in groups, one for each context and peer, and turns them into records.

use std::{collections::HashMap, sync::Arc};

use super::{contexts::ContextTable, losses::add_losses};
use config::log_rules::{LogRules, MAX_DIGEST_WAIT_SECONDS};
use live::connections::Contexts;
use model::{
    Counters, Flow, FlowTuple, GeoInfo, Loss, LossKind, PORT_EXECUTION, ProcessContext, Record, Window,
};
use names::DomainDecision;

/// Groups in one window; flows of further ones are counted as lost. At 10,000 connections a second and windows of
/// 10 seconds, both sides of each make 200,000.
const MAX_GROUPS: usize = 1_000_000;
/// Seconds for which a group waits for the digests of its executables, at least one window.
const PATIENCE_SECONDS: u32 = 10;

/// The fields that all flows of a group share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct GroupKey {
    context: u32,
    tuple: FlowTuple,
    /// The socket whose domain is not known yet; 0 if it is known, or never will be.
    socket: u64,
}

/// The flows of a group, added up.
#[derive(Debug, Default)]
struct Group {
    counters: Counters,
    /// Windows for which it has waited for digests.
    waited: u32,
}

/// Collects flows until the window is closed.
#[derive(Debug)]
pub(super) struct OpenWindow {
    rules: LogRules,
    /// Windows for which a group waits for the digests of its executables.
    patience: u32,
    groups: HashMap<GroupKey, Group>,
    losses: Vec<Loss>,
}

impl OpenWindow {
    /// An empty window, `seconds` long.
    pub(super) fn new(rules: LogRules, seconds: u32) -> Self {
        let patience = if rules.has_digest_rules() { MAX_DIGEST_WAIT_SECONDS } else { PATIENCE_SECONDS };
        Self {
            rules,
            patience: (patience / seconds.max(1)).max(1),
            groups: HashMap::new(),
            losses: Vec::new(),
        }
    }

    /// Adds a flow. `unnamed`: the domain of its peer may become known before the window is closed.
    pub(super) fn add(&mut self, flow: Flow, unnamed: bool) {
        let Flow { context, id, mut tuple, mut counters } = flow;
        if self.rules.ignores_tuple(&tuple) {
            return;
        }
        self.rules.blank_counters(&mut counters);
        let socket = if unnamed { id.socket } else { 0 };
        if socket == 0 {
            self.rules.blank_tuple(&mut tuple);
        }
        // The record of an executed program has no counters.
        if counters == Counters::default() && tuple.remote_port != PORT_EXECUTION {
            return;
        }
        let key = GroupKey { context, tuple, socket };
        if self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&key) {
            self.add_loss(Loss { kind: LossKind::Log, count: 1 });
            return;
        }
        self.groups.entry(key).or_default().counters += counters;
    }

    /// Names the groups that wait for their domain, as `domain` decides: the window is about to be closed. Groups whose
    /// domain will be known soon stay for the next window, but not in the `last` one.
    pub(super) fn name_groups(
        &mut self,
        last: bool,
        mut domain: impl FnMut(u64, &FlowTuple) -> DomainDecision,
    ) {
        let unnamed: Vec<_> = self.groups.extract_if(|key, _| key.socket != 0).collect();
        for (key, group) in unnamed {
            let GroupKey { context, mut tuple, socket } = key;
            match domain(socket, &tuple) {
                DomainDecision::Decided(known) => (tuple.domain, tuple.domain_source) = known,
                DomainDecision::Pending if !last => {
                    self.groups.insert(GroupKey { context, tuple, socket }, group);
                    continue;
                }
                DomainDecision::Pending | DomainDecision::Unknown => {}
            }
            if self.rules.ignores_tuple(&tuple) {
                continue;
            }
            self.rules.blank_tuple(&mut tuple);
            let named = self
                .groups
                .entry(GroupKey { context, tuple, socket: 0 })
                .or_insert(Group { waited: group.waited, ..Group::default() });
            named.counters += group.counters;
        }
    }

    pub(super) fn add_loss(&mut self, loss: Loss) {
        add_losses(&mut self.losses, [loss]);
    }

    /// Closes the window at `time` (unix seconds UTC) and opens the next one. Groups whose executables are not hashed yet
    /// stay for the next window, but for a bounded number of windows, and not in the `last` one.
    pub(super) fn close(&mut self, time: i64, contexts: &mut ContextTable, last: bool) -> Window {
        let mut window = Window { time, ..Window::default() };
        let mut merged: HashMap<(Arc<ProcessContext>, FlowTuple), Counters> = HashMap::new();
        let record = |context, tuple, counters| {
            let geo = GeoInfo::default();
            Record { context, geo, tuple, counters }
        };
        for (key, mut group) in std::mem::take(&mut self.groups) {
            // Unnamed groups wait. Groups of an unknown context would wait, too, but there are none: the monitor sends a
            // context before its flows, and ends if a message other than flows or observations does not fit into the
            // channel.
            let known = if key.socket == 0 { contexts.context(key.context) } else { None };
            let Some((context, complete)) = known else {
                self.groups.insert(key, group);
                continue;
            };
            if !complete && !last && group.waited < self.patience {
                group.waited += 1;
                self.groups.insert(key, group);
                continue;
            }
            if self.rules.ignores_digest(context.program.sha256) {
                continue;
            }
            if self.rules.blanks_anything() {
                // The groups may have differed only in fields that were blanked.
                *merged.entry((context, key.tuple)).or_default() += group.counters;
            } else {
                window.records.push(record(context, key.tuple, group.counters));
            }
        }
        window
            .records
            .extend(merged.into_iter().map(|((context, tuple), counters)| record(context, tuple, counters)));
        window.losses = std::mem::take(&mut self.losses);
        window.losses.sort_by_key(|loss| loss.kind);
        contexts.forget_unused(&self.groups.keys().map(|key| key.context).collect());
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

    /// A window of `seconds`, and its contexts.
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
    fn flows_of_one_context_and_peer_are_one_record() {
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
    fn blanked_fields_leave_no_trace() {
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
    fn a_group_waits_for_its_digest_but_not_for_ever() {
        let (mut window, mut contexts) = open(all(), 3);
        // The digest of this executable never arrives.
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
    fn ignored_flows_are_not_in_the_window() {
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
        // The digest of this executable is still being computed.
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
    fn a_digest_that_never_comes_delays_a_record_for_a_bounded_time() {
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
    fn a_domain_that_is_known_late_names_all_flows_of_its_window() {
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
        window.name_groups(false, |socket, _| match socket {
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
        // a.example comes from two sources.
        assert_eq!(records.len(), 3);
        assert_eq!((records[0].0, records[0].1.len(), records[0].2), (81, 0, 1));
        window.name_groups(true, |_, _| DomainDecision::Pending);
        assert_eq!(window.close(1010, &mut contexts, true).records.len(), 1, "the one that waited");
        assert!(
            records[1..]
                .iter()
                .all(|(port, name, sent)| (*port, name.as_slice(), *sent) == (443, b"a.example", 1))
        );
    }

    #[test]
    fn contexts_are_forgotten_once_no_group_needs_them() {
        let (mut window, mut contexts) = open(all(), 10);
        contexts.insert(1, context("x"), [None; 3]);
        window.add(flow(1, peer(80), counters(1)), false);
        contexts.forget_before(2);
        assert_eq!(window.close(1, &mut contexts, false).records.len(), 1);
        assert!(contexts.is_empty());
    }
}
