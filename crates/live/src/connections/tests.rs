//! What listeners are told, and what they are not.

use serde_json::Value;

use super::*;
use config::{Ignore, log_rules::LogRules};
use model::{Program, Sha256};

fn all() -> LogRules {
    LogRules { bandwidth: true, addresses: true, commands: true, ignore: Vec::new() }
}

/// Contexts by their ids, and whether all of their digests are there.
#[derive(Default)]
struct Known(HashMap<u32, (Arc<ProcessContext>, bool)>);

impl Contexts for Known {
    fn context(&mut self, id: u32) -> Option<(Arc<ProcessContext>, bool)> {
        self.0.get(&id).cloned()
    }
}

impl Known {
    /// All digests of this context have come: this one, or none.
    fn complete(&mut self, id: u32, digest: Option<Sha256>) {
        let (context, complete) = self.0.get_mut(&id).unwrap();
        Arc::make_mut(context).program.sha256 = digest;
        *complete = true;
    }
}

struct Bench {
    contexts: Known,
    open: OpenConnections,
}

impl Bench {
    /// With three contexts; the digest of the second one is known, that of the third one is on its way.
    fn new(rules: LogRules) -> Self {
        let mut contexts = Known::default();
        for id in 1..=3_u32 {
            let program = Program {
                path: format!("/bin/{id}").into(),
                command_line: b"secret".to_vec(),
                sha256: (id == 2).then_some(Sha256([7; 32])),
                ..Program::default()
            };
            let mut context = ProcessContext { program, ..ProcessContext::default() };
            rules.blank_context(&mut context);
            contexts.0.insert(id, (Arc::new(context), id != 3));
        }
        let mut bench = Self { contexts, open: OpenConnections::new(rules) };
        bench.open.list_ends(Listed::Busy);
        bench
    }

    fn add(&mut self, flow: &Flow) {
        self.open.add(flow, false, &mut self.contexts);
    }

    /// The same, of a connection whose domain may become known.
    fn add_unnamed(&mut self, flow: &Flow) {
        self.open.add(flow, true, &mut self.contexts);
    }

    fn list(&mut self, flows: &[Flow], listed: Listed) {
        for flow in flows {
            self.open.list(flow, false, &mut self.contexts);
        }
        self.open.list_ends(listed);
    }

    /// Closes the round; what a listener is told of it.
    fn round(&mut self, sweep: &mut Sweep) -> Vec<Value> {
        self.open.close_round(&mut self.contexts);
        self.told(sweep)
    }

    fn told(&mut self, sweep: &mut Sweep) -> Vec<Value> {
        let mut lines = Vec::new();
        while let Some(text) = self.open.tell(sweep) {
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

/// The kinds of the lines.
fn kinds(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["event"].as_str().unwrap()).collect()
}

#[test]
fn a_connection_is_told_once_then_its_figures_then_its_end() {
    let mut bench = Bench::new(all());
    let mut sweep = Sweep::default();
    bench.add(&flow(1, 9, 10, 20));
    let lines = bench.round(&mut sweep);
    assert_eq!(kinds(&lines), ["context", "connection", "tick"]);
    assert_eq!((&lines[0]["path"], &lines[0]["command_line"]), (&"/bin/1".into(), &"secret".into()));
    assert_eq!((&lines[1]["sent"], &lines[1]["received"]), (&10.into(), &20.into()));
    assert_eq!(lines[1]["process"], 101);
    let began = lines[1]["began"].as_f64().unwrap();
    assert!((began - booted() - 5.0).abs() < 0.1, "{began}");
    bench.add(&flow(1, 9, 1, 2));
    let lines = bench.round(&mut sweep);
    assert_eq!(kinds(&lines), ["traffic", "tick"]);
    assert_eq!(lines[0]["connections"], serde_json::json!([[1, 11, 22]]));
    assert_eq!(kinds(&bench.round(&mut sweep)), ["tick"]);
    // Bytes that come with its end, and after it.
    bench.add(&Flow { id: ended(flow(1, 9, 0, 0)).id, ..flow(1, 9, 100, 0) });
    bench.add(&flow(1, 9, 0, 1000));
    let lines = bench.round(&mut sweep);
    assert_eq!(lines[0]["connections"], serde_json::json!([[1, 111, 1022]]));
    assert_eq!(lines[0]["ended"], serde_json::json!([1]));
    bench.open.forget_told(sweep.told());
    assert!(bench.open.entries.is_empty() && bench.open.ids.is_empty() && bench.open.ended.is_empty());
    // The context is known to this listener, and an end of what is not known is no news.
    bench.add(&ended(flow(1, 8, 0, 0)));
    bench.add(&flow(1, 10, 1, 1));
    assert_eq!(kinds(&bench.round(&mut sweep)), ["connection", "tick"]);
    // A later listener hears what is open.
    assert_eq!(kinds(&bench.told(&mut Sweep::default())), ["context", "connection", "tick"]);
}

#[test]
fn thousands_of_connections_come_in_pieces_and_a_slow_listener_hears_the_newest_figures() {
    let mut bench = Bench::new(all());
    for socket in 1..=5000 {
        bench.add(&flow(1, socket, 1, 1));
    }
    bench.open.close_round(&mut bench.contexts);
    let mut sweep = Sweep::default();
    let first = bench.open.tell(&mut sweep).unwrap();
    assert!(first.len() < 20 * 1024 && first.contains("\"connection\""));
    // It takes no more for a while; meanwhile things go on.
    for _ in 0..10 {
        for socket in 1..=5000 {
            bench.add(&flow(1, socket, 1, 1));
        }
        bench.add(&flow(2, 9999, 5, 5));
        bench.add(&ended(flow(1, 5000, 0, 0)));
        bench.open.close_round(&mut bench.contexts);
    }
    bench.open.forget_told(sweep.told());
    let mut lines: Vec<Value> = first.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.extend(bench.told(&mut sweep));
    let mut sums = HashMap::new();
    let mut introduced = 0;
    let mut gone = Vec::new();
    for line in &lines {
        if line["event"] == "connection" {
            introduced += 1;
            let known = sums.insert(line["id"].as_u64().unwrap(), line["sent"].as_u64().unwrap());
            assert_eq!(known, None, "introduced once");
        }
        for figures in line["connections"].as_array().into_iter().flatten() {
            let sum = sums.get_mut(&figures[0].as_u64().unwrap()).expect("figures of a stranger");
            *sum = figures[1].as_u64().unwrap();
        }
        gone.extend(line["ended"].as_array().into_iter().flatten().map(|id| id.as_u64().unwrap()));
    }
    assert_eq!((introduced, gone.len()), (5001, 1));
    assert_eq!(sums.values().sum::<u64>(), 5000 * 11 + 50);
    assert!(lines.len() < 5200, "{}", lines.len());
}

#[test]
fn what_the_log_leaves_out_is_not_told() {
    let rules =
        LogRules { ignore: vec![Ignore::Port(22), Ignore::Hash(Sha256([7; 32]))], ..LogRules::default() };
    let mut bench = Bench::new(rules);
    let mut sweep = Sweep::default();
    bench.add(&Flow { tuple: FlowTuple { remote_port: 22, ..flow(1, 1, 9, 9).tuple }, ..flow(1, 1, 9, 9) });
    bench.add(&Flow { tuple: FlowTuple { local_port: 22, ..flow(1, 2, 9, 9).tuple }, ..flow(1, 2, 9, 9) });
    bench.add(&flow(2, 3, 9, 9));
    bench.add(&flow(3, 4, 9, 9));
    bench.add(&Flow {
        tuple: FlowTuple { remote_port: -1, local_port: -1, ..FlowTuple::default() },
        ..flow(1, 0, 0, 0)
    });
    assert_eq!(kinds(&bench.round(&mut sweep)), ["tick"], "its digest may be one that is ignored");
    bench.add(&flow(1, 5, 9, 9));
    let lines = bench.round(&mut sweep);
    assert_eq!(kinds(&lines), ["context", "connection", "tick"]);
    let text = Value::from(lines).to_string();
    assert!(!text.contains("192.0.2") && !text.contains("198.51.100") && !text.contains("secret"), "{text}");
    assert!(!text.contains(":9,"), "no bytes: {text}");
    // The digest is known, and another one.
    bench.contexts.complete(3, None);
    let lines = bench.round(&mut sweep);
    assert_eq!(kinds(&lines), ["context", "connection", "tick"]);
    assert_eq!(lines[0]["path"], "/bin/3");
}

#[test]
fn a_domain_may_come_later_and_be_ignored_then() {
    let mut bench = Bench::new(LogRules { ignore: vec![Ignore::Domain("evil.org".into())], ..all() });
    let mut sweep = Sweep::default();
    bench.add(&flow(1, 1, 5, 5));
    bench.add(&flow(1, 2, 5, 5));
    bench.round(&mut sweep);
    let with =
        |domain: &str, flow: Flow| Flow { tuple: FlowTuple { domain: domain.into(), ..flow.tuple }, ..flow };
    bench.add(&with("example.com", flow(1, 1, 1, 1)));
    bench.add(&with("www.evil.org", flow(1, 2, 1, 1)));
    let lines = bench.round(&mut sweep);
    assert_eq!(kinds(&lines), ["connection", "traffic", "tick"]);
    assert_eq!(
        (&lines[0]["id"], &lines[0]["domain"], &lines[0]["sent"]),
        (&1.into(), &"example.com".into(), &6.into())
    );
    assert_eq!(lines[1]["ended"], serde_json::json!([2]));
    bench.add(&with("www.evil.org", flow(1, 2, 1, 1)));
    assert!(!Value::from(bench.round(&mut sweep)).to_string().contains("evil"));
}

#[test]
fn lists_say_what_is_there_and_what_is_no_more() {
    let mut bench = Bench::new(all());
    bench.open = OpenConnections::new(all());
    let mut sweep = Sweep::default();
    bench.add(&flow(1, 1, 5, 5));
    assert!(bench.round(&mut sweep).is_empty(), "the list has it");
    let quiet = |socket, remote_port| {
        let mut quiet = flow(1, socket, 0, 0);
        quiet.id.began = 0;
        quiet.tuple.remote_port = remote_port;
        quiet
    };
    bench.list(&[flow(1, 1, 100, 200), flow(1, 2, 1, 1)], Listed::Busy);
    bench.list(&[quiet(3, 0), quiet(4, 443)], Listed::Quiet);
    bench.add(&flow(1, 1, 5, 5));
    let lines = bench.round(&mut sweep);
    assert_eq!(kinds(&lines), ["context", "connection", "connection", "listening", "connection", "tick"]);
    assert_eq!((&lines[1]["sent"], &lines[1]["received"]), (&105.into(), &205.into()));
    assert_eq!((&lines[3]["began"], &lines[4]["began"]), (&Value::Null, &Value::Null));
    // One of the quiet ones moves something; the other one is gone; one more flow began since.
    bench.add(&flow(1, 4, 7, 7));
    bench.add(&flow(1, 5, 7, 7));
    bench.list(&[], Listed::Quiet);
    let lines = bench.round(&mut sweep);
    assert_eq!(kinds(&lines), ["connection", "connection", "traffic", "tick"]);
    assert_eq!(lines[2]["ended"], serde_json::json!([3, 4]));
    // After a loss all is listed again.
    bench.list(&[flow(1, 1, 300, 300), flow(1, 5, 7, 7)], Listed::Busy);
    let lines = bench.round(&mut sweep);
    assert_eq!(lines[0]["ended"], serde_json::json!([2, 5]), "the second one and the one that was quiet");
    assert_eq!(lines[0]["connections"][0], serde_json::json!([1, 300, 300]));
}

#[test]
fn talkers_are_told_again_when_their_digest_is_known_and_forgotten_when_told() {
    let mut bench = Bench::new(all());
    let mut sweep = Sweep::default();
    bench.add(&flow(3, 1, 5, 5));
    assert_eq!(bench.round(&mut sweep)[0]["sha256"], Value::Null);
    bench.contexts.complete(3, Some(Sha256([9; 32])));
    bench.open.close_round(&mut bench.contexts);
    bench.open.forget_before(4);
    assert_eq!(bench.open.contexts.len(), 1, "it has a connection");
    bench.add(&ended(flow(3, 1, 0, 0)));
    bench.round(&mut sweep);
    bench.open.forget_told(sweep.told());
    bench.open.forget_before(4);
    assert!(bench.open.contexts.is_empty());
}

#[test]
fn the_table_is_bounded_and_says_so() {
    let mut bench = Bench::new(all());
    for socket in 1..=MAX_ENTRIES as u64 + 3 {
        bench.add(&flow(1, socket, 1, 1));
    }
    assert_eq!(bench.open.entries.len(), MAX_ENTRIES);
    let lines = bench.round(&mut Sweep::default());
    assert_eq!(lines.last().unwrap()["untold"], 3);
    for socket in 1..=MAX_ENTRIES as u64 {
        bench.add(&ended(flow(1, socket, 0, 0)));
    }
    assert!(bench.open.is_crowded());
    bench.open.close_round(&mut bench.contexts);
    bench.open.forget_told(u64::MAX);
    assert!(bench.open.entries.is_empty() && !bench.open.is_crowded());
}

#[test]
fn what_a_rule_about_domains_may_ignore_is_withheld_until_the_domain_is_known_or_the_window_ends() {
    let rules = LogRules { ignore: vec![Ignore::Domain("evil.org".into())], addresses: false, ..all() };
    let mut bench = Bench::new(rules);
    let mut sweep = Sweep::default();
    for socket in 1..=4 {
        bench.add_unnamed(&flow(1, socket, 5, 5));
    }
    bench.add_unnamed(&ended(flow(1, 3, 0, 0)));
    assert_eq!(kinds(&bench.round(&mut sweep)), ["tick"]);
    bench.open.forget_told(sweep.told());
    let end = |socket| end_of(socket, &flow(1, socket, 0, 0).tuple).unwrap();
    let known = HashMap::from([
        (end(1), (b"www.evil.org".to_vec(), DomainSource::Dns)),
        (end(2), (b"example.com".to_vec(), DomainSource::Tls)),
    ]);
    bench.open.name(&known, &HashSet::from([end(4)]));
    let lines = bench.round(&mut sweep);
    assert_eq!(kinds(&lines), ["context", "connection", "connection", "traffic", "tick"]);
    assert_eq!((&lines[1]["id"], &lines[2]["id"]), (&2.into(), &3.into()));
    assert_eq!(lines[3]["ended"], serde_json::json!([3]), "it ended while its domain was awaited");
    let text = Value::from(lines).to_string();
    assert!(!text.contains("example.com") && !text.contains("192.0.2"), "{text}");
    bench.open.name(&HashMap::new(), &HashSet::new());
    let lines = bench.round(&mut sweep);
    assert_eq!((lines.len(), &lines[0]["id"]), (2, &4.into()));
}
