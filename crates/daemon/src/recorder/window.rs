//! The open window: collects flows in groups, one for each context and peer, and turns them into records.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    contexts::ContextTable,
    window_groups::{ContextGroups, Group, GroupKey},
};
use config::log_rules::{LogRules, MAX_DIGEST_WAIT_SECONDS};
use live::connections::Contexts;
use model::{
    Counters, Event, EventKind, Flow, FlowTuple, GeoInfo, Loss, PORT_EXECUTION, ProcessContext, Record,
    Window, add_losses,
};
use names::DomainDecision;

/// Seconds for which a group waits for the digests of its executables, at least one window.
const PATIENCE_SECONDS: u32 = 10;

/// Collects flows until the window is closed.
#[derive(Debug)]
pub(super) struct OpenWindow {
    rules: LogRules,
    /// A context with more groups than this is folded.
    fold_above: usize,
    /// Windows for which a group waits for the digests of its executables.
    patience: u32,
    /// The groups of each context.
    contexts: HashMap<u32, ContextGroups>,
    losses: Vec<Loss>,
    /// Groups that did not wait for the domain of their peer, because too many others do.
    unawaited: u64,
}

impl OpenWindow {
    /// An empty window, `seconds` long, in which a context has at most about `fold_above` groups.
    pub(super) fn new(rules: LogRules, seconds: u32, fold_above: u32) -> Self {
        Self {
            fold_above: fold_above as usize,
            patience: patience_for(&rules, seconds),
            rules,
            contexts: HashMap::new(),
            losses: Vec::new(),
            unawaited: 0,
        }
    }

    /// Sets what was set by [`OpenWindow::new`]. Groups that wait for digests lose what is not stored any more.
    pub(super) fn apply(&mut self, rules: LogRules, seconds: u32, fold_above: u32) {
        (self.fold_above, self.patience) = (fold_above as usize, patience_for(&rules, seconds));
        for groups in self.contexts.values_mut() {
            groups.blank(|tuple| rules.blank_tuple(tuple), self.fold_above);
        }
        self.rules = rules;
    }

    /// Adds a flow. `unnamed`: the domain of its peer may become known before the window is closed.
    pub(super) fn add(&mut self, flow: Flow, unnamed: bool) {
        let Flow { context, id, mut tuple, mut counters } = flow;
        if self.rules.ignores_tuple(&tuple) {
            return;
        }
        self.rules.blank_counters(&mut counters);
        // The record of an executed program has no counters.
        if counters == Counters::default() && tuple.remote_port != PORT_EXECUTION {
            return;
        }
        let groups = self.contexts.entry(context).or_default();
        let mut socket = if unnamed { id.socket } else { 0 };
        if socket != 0 && !groups.has_room_for_unnamed(&tuple, socket) {
            socket = 0;
            self.unawaited += 1;
        }
        if socket == 0 {
            self.rules.blank_tuple(&mut tuple);
        }
        let group = Group { counters, opened: id.opened, waited: 0 };
        groups.add(GroupKey { tuple, socket }, group, self.fold_above);
    }

    /// Names the groups that wait for their domain, as `domain` decides: the window is about to be closed. Groups whose
    /// domain will be known soon stay for the next window, but not in the `last` one.
    pub(super) fn name_groups(
        &mut self,
        last: bool,
        mut domain: impl FnMut(u64, &FlowTuple) -> DomainDecision,
    ) {
        let Self { rules, contexts, fold_above, .. } = self;
        for groups in contexts.values_mut() {
            for (GroupKey { mut tuple, socket }, group) in groups.take_unnamed() {
                match domain(socket, &tuple) {
                    DomainDecision::Decided(known) => (tuple.domain, tuple.domain_source) = known,
                    DomainDecision::Pending if !last => {
                        groups.add(GroupKey { tuple, socket }, group, *fold_above);
                        continue;
                    }
                    DomainDecision::Pending | DomainDecision::Unknown => {}
                }
                if rules.ignores_tuple(&tuple) {
                    continue;
                }
                rules.blank_tuple(&mut tuple);
                groups.add(GroupKey { tuple, socket: 0 }, group, *fold_above);
            }
        }
    }

    pub(super) fn add_loss(&mut self, loss: Loss) {
        add_losses(&mut self.losses, [loss]);
    }

    /// Closes the window at `time` (unix seconds UTC) and opens the next one. Groups whose executables are not hashed yet
    /// stay for the next window, but for a bounded number of windows, and not in the `last` one.
    pub(super) fn close(&mut self, time: i64, contexts: &mut ContextTable, last: bool) -> Window {
        let mut window = Window { time, ..Window::default() };
        let mut merged = BlankedRecords::default();
        for (id, mut groups) in std::mem::take(&mut self.contexts) {
            // Groups of an unknown context would wait, but there are none: the monitor sends a context before its flows, and
            // ends if a message other than flows or observations does not fit into the channel.
            let Some((context, complete)) = contexts.context(id) else {
                self.contexts.insert(id, groups);
                continue;
            };
            let patience = if complete || last { 0 } else { self.patience };
            let ready = groups.take_ready(patience, self.fold_above);
            if !groups.is_empty() {
                self.contexts.insert(id, groups);
            }
            if ready.is_empty() || self.rules.ignores_digest(context.program.sha256) {
                continue;
            }
            if !complete {
                contexts.await_late_digests(id, time);
            }
            for record in ready {
                let (tuple, counters) = (record.tuple, record.counters);
                let (opened, folded) = (record.opened, record.folded);
                let context = Arc::clone(&context);
                let record = Record { context, geo: GeoInfo::default(), tuple, counters, opened, folded };
                match self.rules.blanks_anything() {
                    // The groups may have differed only in fields that were blanked.
                    true => merged.add(record),
                    false => window.records.push(record),
                }
            }
        }
        window.records.extend(merged.take());
        window.losses = std::mem::take(&mut self.losses);
        window.losses.sort_by_key(|loss| loss.kind);
        window.events.extend(self.take_unawaited_event(time));
        let used: HashSet<u32> = self.contexts.keys().copied().collect();
        contexts.forget_unused(&used);
        window
    }

    /// The event about groups that did not wait for their domain, if a rule is about domains.
    fn take_unawaited_event(&mut self, time: i64) -> Option<Event> {
        let count = std::mem::take(&mut self.unawaited);
        if count == 0 || !self.rules.has_domain_rules() {
            return None;
        }
        let text = format!(
            "{count} flows did not wait for the domain of their peer, because too many others do: traffic that a rule of \
             log.ignore about domains excludes may be in the log."
        );
        let mut event = Event::new(EventKind::Fold, time, text);
        event.count = count;
        Some(event)
    }
}

/// Windows for which a group waits for the digests of its executables.
fn patience_for(rules: &LogRules, seconds: u32) -> u32 {
    let patience = if rules.has_digest_rules() { MAX_DIGEST_WAIT_SECONDS } else { PATIENCE_SECONDS };
    (patience / seconds.max(1)).max(1)
}

/// Records whose contexts or tuples may have become equal, merged.
#[derive(Default)]
struct BlankedRecords(HashMap<(Arc<ProcessContext>, FlowTuple, bool), Record>);

impl BlankedRecords {
    fn add(&mut self, record: Record) {
        let key = (Arc::clone(&record.context), record.tuple.clone(), record.folded > 0);
        match self.0.get_mut(&key) {
            Some(sum) => {
                sum.counters += record.counters;
                sum.opened |= record.opened;
                sum.folded += record.folded;
            }
            None => drop(self.0.insert(key, record)),
        }
    }

    fn take(self) -> impl Iterator<Item = Record> {
        self.0.into_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use identity::digests::Digests;
    use model::{DomainSource, FlowId};

    fn all() -> LogRules {
        LogRules { bandwidth: true, addresses: true, commands: true, ports: true, ignore: Vec::new() }
    }

    /// A window of `seconds`, and its contexts.
    fn open(rules: LogRules, seconds: u32) -> (OpenWindow, ContextTable) {
        let contexts = ContextTable::new(rules.clone(), Digests::start().unwrap());
        (OpenWindow::new(rules, seconds, 256), contexts)
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
    fn what_waits_loses_what_new_rules_do_not_store_and_sums_stay() {
        let (mut window, mut contexts) = open(all(), 10);
        contexts.insert(1, context("x secret"), [Some(1), None, None]);
        [443, 444].into_iter().for_each(|port| window.add(flow(1, peer(port), counters(10)), false));
        assert!(window.close(1000, &mut contexts, false).records.is_empty(), "its digest may come");
        let rules = LogRules { ports: false, addresses: false, commands: false, ..all() };
        window.apply(rules.clone(), 10, 256);
        contexts.set_rules(rules);
        let [record] = &window.close(1010, &mut contexts, true).records[..] else { panic!("one record") };
        assert_eq!((record.tuple.remote_port, record.tuple.remote_address), (0, None));
        assert!(record.context.program.command_line.is_empty());
        assert_eq!(record.counters, Counters { connections: 2, sent: 20, received: 6 });
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

    #[test]
    fn the_largest_groups_keep_their_detail_and_the_sum_is_exact() {
        let (mut window, mut contexts) = open(all(), 10);
        contexts.insert(1, context("x"), [None; 3]);
        contexts.insert(2, context("y"), [None; 3]);
        let to = |number: u32, sent| {
            let mut flow = flow(1, peer(443), Counters { connections: 1, sent, received: 1 });
            flow.tuple.remote_address = Some(std::net::Ipv4Addr::from(0x0a00_0000 + number).into());
            flow.id.opened = number.is_multiple_of(2);
            flow
        };
        // An upload in the middle of 5,000 other connections, with a part of it in each drain.
        for number in 0..5000 {
            window.add(to(number, 10), false);
            if number % 10 == 0 {
                window.add(to(70_000, 2_000_000), false);
            }
        }
        window.add(flow(2, peer(80), counters(1)), false);
        let closed = window.close(1000, &mut contexts, false);
        let records: Vec<_> =
            closed.records.iter().filter(|record| record.context.program.command_line == b"x").collect();
        assert!(records.len() <= 256, "{}", records.len());
        let sum = |of: fn(&Counters) -> u64| records.iter().map(|record| of(&record.counters)).sum::<u64>();
        assert_eq!(sum(|counters| counters.connections), 5500);
        assert_eq!(sum(|counters| counters.sent), 50_000 + 500 * 2_000_000);
        assert_eq!(sum(|counters| counters.received), 5500);
        let upload = records.iter().find(|record| record.counters.sent == 1_000_000_000).unwrap();
        assert_eq!(upload.tuple.remote_address, Some("10.1.17.112".parse().unwrap()));
        let folded: Vec<_> = records.iter().filter(|record| record.folded > 0).collect();
        assert_eq!(folded.len(), 2, "one for each direction");
        for record in folded {
            assert_eq!(record.tuple.remote_address, Some(model::Address::Many));
            assert_eq!((record.tuple.remote_port, record.tuple.protocol), (443, 6), "all have the same");
            assert!(record.folded > 2000, "{record:?}");
        }
        assert!(window.close(1010, &mut contexts, false).records.is_empty());
    }

    #[test]
    fn groups_that_wait_for_a_name_are_bounded() {
        let ignore = vec![config::IgnoreRule::Domain("ignored.example".into())];
        let (mut window, mut contexts) = open(LogRules { ignore, ..all() }, 10);
        contexts.insert(1, context("x"), [None; 3]);
        for socket in 1..=3000 {
            let mut flow = flow(1, peer(socket), counters(1));
            flow.id.socket = socket as u64;
            window.add(flow, true);
        }
        let mut asked = 0;
        window.name_groups(false, |_, _| {
            asked += 1;
            DomainDecision::Pending
        });
        assert_eq!(asked, 1024);
        let closed = window.close(1000, &mut contexts, false);
        let connections: u64 = closed.records.iter().map(|record| record.counters.connections).sum();
        assert_eq!(connections, 3000 - 1024);
        assert_eq!(closed.events.len(), 1);
        assert_eq!(closed.events[0].count, 3000 - 1024);
        window.name_groups(true, |_, _| DomainDecision::Unknown);
        let closed = window.close(1010, &mut contexts, true);
        let connections: u64 = closed.records.iter().map(|record| record.counters.connections).sum();
        assert_eq!(connections, 1024);
    }

    #[test]
    fn folded_groups_wait_for_their_digest_too() {
        let (mut window, mut contexts) = open(all(), 10);
        contexts.insert(1, context("x"), [Some(7), None, None]);
        for port in 0..5000 {
            window.add(flow(1, peer(port + 1), counters(1)), false);
        }
        assert!(window.close(1000, &mut contexts, false).records.is_empty());
        let closed = window.close(1010, &mut contexts, false);
        let connections: u64 = closed.records.iter().map(|record| record.counters.connections).sum();
        assert_eq!((connections, closed.records.len()), (5000, 193));
    }

    #[test]
    fn a_program_with_very_many_protocols_has_few_sums() {
        let (mut window, mut contexts) = open(all(), 10);
        contexts.insert(1, context("x"), [None; 3]);
        for protocol in 0..30_000 {
            let tuple = FlowTuple { family: 17, protocol, ..FlowTuple::default() };
            window.add(flow(1, tuple, counters(1)), false);
        }
        let closed = window.close(1000, &mut contexts, false);
        let sum: u64 = closed.records.iter().map(|record| record.counters.connections).sum();
        assert_eq!(sum, 30_000);
        assert!(closed.records.len() <= 256, "{}", closed.records.len());
    }
}
