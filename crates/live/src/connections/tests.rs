//! Tests of the lines of the table that subscribers get, and of those that they do not get.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use serde_json::Value;

use super::{
    clock::booted_at,
    table::{ListKind, MAX_CONNECTIONS, OpenConnections},
    *,
};
use config::{IgnoreRule, log_rules::LogRules};
use model::{Counters, DomainSource, Flow, FlowId, FlowTuple, ProcessContext, ProcessId, Program, Sha256};

/// The rules of the default configuration.
fn all() -> LogRules {
    LogRules { bandwidth: true, addresses: true, commands: true, ports: true, ignore: Vec::new() }
}

/// Contexts by their ids, and whether they have all of their digests.
#[derive(Default)]
struct TestContexts(HashMap<u32, (Arc<ProcessContext>, bool)>);

impl Contexts for TestContexts {
    fn context(&mut self, id: u32) -> Option<(Arc<ProcessContext>, bool)> {
        self.0.get(&id).cloned()
    }
}

impl TestContexts {
    /// Completes a context, with this digest or with none.
    fn complete(&mut self, id: u32, digest: Option<Sha256>) {
        let (context, complete) = self.0.get_mut(&id).unwrap();
        Arc::make_mut(context).program.sha256 = digest;
        *complete = true;
    }
}

struct Bench {
    contexts: TestContexts,
    table: OpenConnections,
}

impl Bench {
    /// A bench with three contexts; the digest of the second one is known, that of the third one is pending.
    fn new(rules: LogRules) -> Self {
        let mut contexts = TestContexts::default();
        for id in 1..=3_u32 {
            let program = Program {
                path: format!("/bin/{id}").into(),
                command_line: b"secret\0A B".to_vec(),
                sha256: (id == 2).then_some(Sha256([7; 32])),
                ..Program::default()
            };
            let mut context = ProcessContext { program, ..ProcessContext::default() };
            rules.blank_context(&mut context);
            contexts.0.insert(id, (Arc::new(context), id != 3));
        }
        let mut bench = Self { contexts, table: OpenConnections::new(rules, 0) };
        bench.table.finish_list(ListKind::ActiveFlows);
        bench
    }

    fn add(&mut self, flow: &Flow) {
        self.table.add(flow, false, &mut self.contexts);
    }

    /// Adds a flow whose domain may become known later.
    fn add_unnamed(&mut self, flow: &Flow) {
        self.table.add(flow, true, &mut self.contexts);
    }

    fn list(&mut self, flows: &[Flow], kind: ListKind) {
        for flow in flows {
            self.table.add_listed(flow, false, &mut self.contexts);
        }
        self.table.finish_list(kind);
    }

    /// Closes the round and returns the lines that a subscriber gets.
    fn round(&mut self, position: &mut SubscriberPosition) -> Vec<Value> {
        self.table.close_round(&mut self.contexts);
        self.lines(position)
    }

    fn lines(&mut self, position: &mut SubscriberPosition) -> Vec<Value> {
        let mut lines = Vec::new();
        while let Some(text) = position.next_lines(&self.table) {
            assert!(text.len() < 64 * 1024, "{}", text.len());
            lines.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
        }
        lines
    }
}

fn flow(context: u32, socket: u64, sent: u64, received: u64) -> Flow {
    Flow {
        context,
        id: FlowId {
            process: ProcessId { start: 1, tgid: 100 + context, exec: 0 },
            socket,
            network_namespace: 1,
            uid: 0,
            began: 5_000_000_000 + socket,
            opened: true,
            ended: false,
        },
        tuple: FlowTuple {
            family: 2,
            protocol: 6,
            local_address: "198.51.100.1".parse().ok(),
            local_port: 50_000,
            remote_address: "192.0.2.7".parse().ok(),
            remote_port: 443,
            ..FlowTuple::default()
        },
        counters: Counters { connections: 1, sent, received },
    }
}

fn ended(mut flow: Flow) -> Flow {
    flow.id.ended = true;
    flow.counters = Counters::default();
    flow
}

/// The event of each line.
fn kinds(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["event"].as_str().unwrap()).collect()
}

#[test]
fn a_connection_is_described_once_then_its_counters_then_its_end() {
    let mut bench = Bench::new(all());
    let mut position = SubscriberPosition::default();
    bench.add(&flow(1, 9, 10, 20));
    let lines = bench.round(&mut position);
    assert_eq!(kinds(&lines), ["context", "connection", "tick"]);
    assert_eq!((&lines[0]["path"], &lines[0]["command_line"]), (&"/bin/1".into(), &"secret 'A B'".into()));
    assert_eq!((&lines[1]["sent"], &lines[1]["received"]), (&10.into(), &20.into()));
    assert_eq!(lines[1]["process"], 101);
    let began = lines[1]["began"].as_f64().unwrap();
    assert!((began - booted_at() - 5.0).abs() < 0.1, "{began}");
    bench.add(&flow(1, 9, 1, 2));
    let lines = bench.round(&mut position);
    assert_eq!(kinds(&lines), ["traffic", "tick"]);
    assert_eq!(lines[0]["connections"], serde_json::json!([[1, 11, 22]]));
    assert_eq!(kinds(&bench.round(&mut position)), ["tick"]);
    // Bytes that come with its end, and more that come after it.
    bench.add(&Flow { id: ended(flow(1, 9, 0, 0)).id, ..flow(1, 9, 100, 0) });
    bench.add(&flow(1, 9, 0, 1000));
    let lines = bench.round(&mut position);
    assert_eq!(lines[0]["connections"], serde_json::json!([[1, 111, 1022]]));
    assert_eq!(lines[0]["ended"], serde_json::json!([1]));
    bench.table.remove_delivered(position.delivered());
    assert!(bench.table.connections.is_empty() && bench.table.ids.is_empty() && bench.table.ended.is_empty());
    assert!(bench.table.sockets.is_empty());
    // The subscriber has this context, and the end of an unknown connection makes no line.
    bench.add(&ended(flow(1, 8, 0, 0)));
    bench.add(&flow(1, 10, 1, 1));
    assert_eq!(kinds(&bench.round(&mut position)), ["connection", "tick"]);
    // A later subscriber gets everything that is open.
    assert_eq!(kinds(&bench.lines(&mut SubscriberPosition::default())), ["context", "connection", "tick"]);
}

#[test]
fn thousands_of_connections_come_in_pieces_and_a_slow_subscriber_gets_the_newest_counters() {
    let mut bench = Bench::new(all());
    for socket in 1..=5000 {
        bench.add(&flow(1, socket, 1, 1));
    }
    bench.table.close_round(&mut bench.contexts);
    let mut position = SubscriberPosition::default();
    let first = position.next_lines(&bench.table).unwrap();
    assert!(first.len() < 20 * 1024 && first.contains("\"connection\""));
    // It takes nothing for a while, and meanwhile the connections go on.
    for _ in 0..10 {
        for socket in 1..=5000 {
            bench.add(&flow(1, socket, 1, 1));
        }
        bench.add(&flow(2, 9999, 5, 5));
        bench.add(&ended(flow(1, 5000, 0, 0)));
        bench.table.close_round(&mut bench.contexts);
    }
    bench.table.remove_delivered(position.delivered());
    let mut lines: Vec<Value> = first.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.extend(bench.lines(&mut position));
    let mut sums = HashMap::new();
    let mut introduced = 0;
    let mut gone = Vec::new();
    for line in &lines {
        if line["event"] == "connection" {
            introduced += 1;
            let previous = sums.insert(line["id"].as_u64().unwrap(), line["sent"].as_u64().unwrap());
            assert_eq!(previous, None, "introduced once");
        }
        for figures in line["connections"].as_array().into_iter().flatten() {
            let sum = sums.get_mut(&figures[0].as_u64().unwrap()).expect("counters of an unknown connection");
            *sum = figures[1].as_u64().unwrap();
        }
        gone.extend(line["ended"].as_array().into_iter().flatten().map(|id| id.as_u64().unwrap()));
    }
    assert_eq!((introduced, gone.len()), (5001, 1));
    assert_eq!(sums.values().sum::<u64>(), 5000 * 11 + 50);
    assert!(lines.len() < 5200, "{}", lines.len());
}

#[test]
fn what_the_log_leaves_out_is_not_sent() {
    let rules = LogRules {
        ignore: vec![IgnoreRule::Port(22), IgnoreRule::Hash(Sha256([7; 32]))],
        ..LogRules::default()
    };
    let mut bench = Bench::new(rules);
    let mut position = SubscriberPosition::default();
    bench.add(&Flow { tuple: FlowTuple { remote_port: 22, ..flow(1, 1, 9, 9).tuple }, ..flow(1, 1, 9, 9) });
    bench.add(&Flow { tuple: FlowTuple { local_port: 22, ..flow(1, 2, 9, 9).tuple }, ..flow(1, 2, 9, 9) });
    bench.add(&flow(2, 3, 9, 9));
    bench.add(&flow(3, 4, 9, 9));
    bench.add(&Flow {
        tuple: FlowTuple { remote_port: -1, local_port: -1, ..FlowTuple::default() },
        ..flow(1, 0, 0, 0)
    });
    assert_eq!(kinds(&bench.round(&mut position)), ["tick"], "a rule may ignore its digest");
    bench.add(&flow(1, 5, 9, 9));
    let lines = bench.round(&mut position);
    assert_eq!(kinds(&lines), ["context", "connection", "tick"]);
    let text = Value::from(lines).to_string();
    assert!(!text.contains("192.0.2") && !text.contains("198.51.100") && !text.contains("secret"), "{text}");
    assert!(!text.contains(":9,"), "no bytes: {text}");
    // The digest becomes known, and no rule ignores it.
    bench.contexts.complete(3, None);
    let lines = bench.round(&mut position);
    assert_eq!(kinds(&lines), ["context", "connection", "tick"]);
    assert_eq!(lines[0]["path"], "/bin/3");
}

#[test]
fn a_domain_may_come_later_and_be_ignored_then() {
    let mut bench = Bench::new(LogRules { ignore: vec![IgnoreRule::Domain("evil.org".into())], ..all() });
    let mut position = SubscriberPosition::default();
    bench.add(&flow(1, 1, 5, 5));
    bench.add(&flow(1, 2, 5, 5));
    bench.round(&mut position);
    let with =
        |domain: &str, flow: Flow| Flow { tuple: FlowTuple { domain: domain.into(), ..flow.tuple }, ..flow };
    bench.add(&with("example.com", flow(1, 1, 1, 1)));
    bench.add(&with("www.evil.org", flow(1, 2, 1, 1)));
    let lines = bench.round(&mut position);
    assert_eq!(kinds(&lines), ["connection", "traffic", "tick"]);
    assert_eq!(
        (&lines[0]["id"], &lines[0]["domain"], &lines[0]["sent"]),
        (&1.into(), &"example.com".into(), &6.into())
    );
    assert_eq!(lines[1]["ended"], serde_json::json!([2]));
    bench.add(&with("www.evil.org", flow(1, 2, 1, 1)));
    assert!(!Value::from(bench.round(&mut position)).to_string().contains("evil"));
}

#[test]
fn contexts_that_become_complete_at_once_are_sent_in_pieces() {
    let mut bench = Bench::new(all());
    let mut position = SubscriberPosition::default();
    let ids = 10..2010;
    for id in ids.clone() {
        let context = bench.contexts.0[&3].clone();
        bench.contexts.0.insert(id, context);
        bench.add(&flow(id, id.into(), 5, 5));
    }
    assert_eq!(bench.round(&mut position).len(), 2 * ids.len() + 1);
    ids.clone().for_each(|id| bench.contexts.complete(id, Some(Sha256([9; 32]))));
    // No piece is too long, as `lines` checks.
    let lines = bench.round(&mut position);
    assert!(lines.iter().rev().skip(1).all(|line| line["sha256"].is_string()));
    assert_eq!(kinds(&lines).iter().filter(|kind| **kind == "context").count(), ids.len());
    assert_eq!(kinds(&lines).last(), Some(&"tick"));
}

#[test]
fn lists_add_what_is_open_and_end_what_is_not() {
    let mut bench = Bench::new(all());
    bench.table = OpenConnections::new(all(), 0);
    let mut position = SubscriberPosition::default();
    bench.add(&flow(1, 1, 5, 5));
    assert!(bench.round(&mut position).is_empty(), "the list has it");
    let idle = |socket, remote_port| {
        let mut idle = flow(1, socket, 0, 0);
        idle.id.began = 0;
        idle.tuple.remote_port = remote_port;
        idle
    };
    bench.list(&[flow(1, 1, 100, 200), flow(1, 2, 1, 1)], ListKind::ActiveFlows);
    bench.list(&[idle(3, 0), idle(4, 443)], ListKind::IdleSockets);
    bench.add(&flow(1, 1, 5, 5));
    let lines = bench.round(&mut position);
    assert_eq!(kinds(&lines), ["context", "connection", "connection", "listening", "connection", "tick"]);
    assert_eq!((&lines[1]["sent"], &lines[1]["received"]), (&105.into(), &205.into()));
    assert_eq!((&lines[3]["began"], &lines[4]["began"]), (&Value::Null, &Value::Null));
    // One of the idle sockets moves bytes, the other one is closed, and one more flow has begun.
    bench.add(&flow(1, 4, 7, 7));
    bench.add(&flow(1, 5, 7, 7));
    bench.list(&[], ListKind::IdleSockets);
    let lines = bench.round(&mut position);
    assert_eq!(kinds(&lines), ["connection", "connection", "traffic", "tick"]);
    assert_eq!(lines[2]["ended"], serde_json::json!([3, 4]));
    // After a loss the monitor lists everything again.
    bench.list(&[flow(1, 1, 300, 300), flow(1, 5, 7, 7)], ListKind::ActiveFlows);
    let lines = bench.round(&mut position);
    assert_eq!(lines[0]["ended"], serde_json::json!([2, 5]), "the second one and the one that was idle");
    assert_eq!(lines[0]["connections"][0], serde_json::json!([1, 300, 300]));
}

#[test]
fn contexts_are_sent_again_with_their_digest_and_removed_after_delivery() {
    let mut bench = Bench::new(all());
    let mut position = SubscriberPosition::default();
    bench.add(&flow(3, 1, 5, 5));
    assert_eq!(bench.round(&mut position)[0]["sha256"], Value::Null);
    bench.contexts.complete(3, Some(Sha256([9; 32])));
    bench.table.close_round(&mut bench.contexts);
    bench.table.forget_contexts_before(4);
    assert_eq!(bench.table.contexts.len(), 1, "it has a connection");
    bench.add(&ended(flow(3, 1, 0, 0)));
    bench.round(&mut position);
    bench.table.remove_delivered(position.delivered());
    bench.table.forget_contexts_before(4);
    assert!(bench.table.contexts.is_empty());
}

#[test]
fn the_table_is_bounded_and_counts_what_it_omits() {
    let mut bench = Bench::new(all());
    for socket in 1..=MAX_CONNECTIONS as u64 + 3 {
        bench.add(&flow(1, socket, 1, 1));
    }
    assert_eq!(bench.table.connections.len(), MAX_CONNECTIONS);
    let lines = bench.round(&mut SubscriberPosition::default());
    assert_eq!(lines.last().unwrap()["omitted"], 3);
    for socket in 1..=MAX_CONNECTIONS as u64 {
        bench.add(&ended(flow(1, socket, 0, 0)));
    }
    assert!(bench.table.has_too_many_ended());
    bench.table.close_round(&mut bench.contexts);
    bench.table.remove_delivered(u64::MAX);
    assert!(bench.table.connections.is_empty() && !bench.table.has_too_many_ended());
}

#[test]
fn a_connection_that_a_domain_rule_may_ignore_is_withheld_until_the_domain_is_known_or_the_window_ends() {
    let rules = LogRules { ignore: vec![IgnoreRule::Domain("evil.org".into())], addresses: false, ..all() };
    let mut bench = Bench::new(rules);
    let mut position = SubscriberPosition::default();
    for socket in 1..=4 {
        bench.add_unnamed(&flow(1, socket, 5, 5));
    }
    bench.add_unnamed(&ended(flow(1, 3, 0, 0)));
    assert_eq!(kinds(&bench.round(&mut position)), ["tick"]);
    bench.table.remove_delivered(position.delivered());
    let peer = |socket| SocketPeer::new(socket, &flow(1, socket, 0, 0).tuple).unwrap();
    let domains = HashMap::from([
        (peer(1), (b"www.evil.org".to_vec(), DomainSource::Dns)),
        (peer(2), (b"example.com".to_vec(), DomainSource::Tls)),
    ]);
    bench.table.set_domains(&domains, &HashSet::from([peer(4)]));
    let lines = bench.round(&mut position);
    assert_eq!(kinds(&lines), ["context", "connection", "connection", "traffic", "tick"]);
    assert_eq!((&lines[1]["id"], &lines[2]["id"]), (&2.into(), &3.into()));
    assert_eq!(lines[3]["ended"], serde_json::json!([3]), "it ended while its domain was awaited");
    let text = Value::from(lines).to_string();
    assert!(!text.contains("example.com") && !text.contains("192.0.2"), "{text}");
    bench.table.set_domains(&HashMap::new(), &HashSet::new());
    let lines = bench.round(&mut position);
    assert_eq!((lines.len(), &lines[0]["id"]), (2, &4.into()));
}

#[test]
fn a_connection_whose_end_was_lost_ends_with_the_next_list() {
    let mut bench = Bench::new(all());
    let mut position = SubscriberPosition::default();
    bench.list(&[flow(1, 1, 100, 100), flow(1, 2, 5, 5)], ListKind::ActiveFlows);
    bench.list(&[], ListKind::IdleSockets);
    // Both move bytes after the last list, and one more begins. Then the ends of two of them are lost.
    for socket in 1..=3 {
        bench.add(&flow(1, socket, 1, 1));
    }
    bench.round(&mut position);
    bench.list(&[flow(1, 2, 6, 6)], ListKind::ActiveFlows);
    let lines = bench.round(&mut position);
    assert_eq!(lines[0]["ended"], serde_json::json!([1, 3]), "{lines:?}");
}

#[test]
fn sockets_of_the_kernel_end_one_by_one() {
    let mut bench = Bench::new(all());
    let mut position = SubscriberPosition::default();
    // They have no inode number: only their use tells them apart.
    let mount = |began| {
        let mut mount = flow(1, 0, 10, 10);
        mount.id.began = began;
        mount
    };
    bench.add(&mount(1_000_000));
    bench.add(&mount(2_000_000));
    bench.round(&mut position);
    bench.add(&ended(mount(2_000_000)));
    let lines = bench.round(&mut position);
    assert_eq!(lines[0]["ended"], serde_json::json!([2]), "{lines:?}");
}

#[test]
fn a_process_without_a_flow_stays_while_its_stream_socket_is_listed() {
    let mut bench = Bench::new(all());
    let mut position = SubscriberPosition::default();
    bench.add(&flow(1, 9, 10, 10));
    bench.add(&flow(2, 9, 0, 500));
    bench.round(&mut position);
    bench.list(&[flow(1, 9, 11, 10)], ListKind::ActiveFlows);
    let lines = bench.round(&mut position);
    assert_eq!(lines[0]["ended"], serde_json::json!([]), "{lines:?}");
    bench.list(&[], ListKind::ActiveFlows);
    let lines = bench.round(&mut position);
    assert_eq!(lines[0]["ended"], serde_json::json!([1, 2]), "{lines:?}");
}

#[test]
fn a_stream_socket_ends_for_all_processes_that_bytes_were_charged_to() {
    let mut bench = Bench::new(all());
    let mut position = SubscriberPosition::default();
    bench.add(&flow(1, 9, 10, 10));
    // Spliced bytes, charged to a process without a flow on the socket, and a datagram socket of several peers.
    bench.add(&flow(2, 9, 0, 500));
    let datagrams = |port, began| {
        let mut datagrams = flow(1, 8, 1, 1);
        (datagrams.tuple.protocol, datagrams.tuple.remote_port, datagrams.id.began) = (17, port, began);
        datagrams
    };
    bench.add(&datagrams(53, 7));
    bench.add(&datagrams(54, 8));
    bench.round(&mut position);
    bench.add(&ended(flow(1, 9, 0, 0)));
    bench.add(&ended(datagrams(54, 8)));
    let lines = bench.round(&mut position);
    assert_eq!(lines[0]["ended"], serde_json::json!([1, 2, 4]), "the other datagrams may go on: {lines:?}");
    // The socket is connected again, and the end of its first use comes again.
    let mut newer = flow(1, 9, 3, 3);
    newer.id.began += 1_000_000;
    bench.add(&newer);
    bench.add(&ended(flow(1, 9, 0, 7)));
    let lines = bench.round(&mut position);
    assert!(!lines.iter().any(|line| line["ended"] == serde_json::json!([5])), "{lines:?}");
}
