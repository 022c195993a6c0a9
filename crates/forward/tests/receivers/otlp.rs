//! OTLP over HTTP, to a receiver that decodes with the Python packages of OpenTelemetry.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs,
    net::TcpStream,
    path::Path,
    process::{Child, Command},
    thread,
    time::Duration,
};

use model::{
    Event, EventKind, FlowTuple, LossKind, ProcessContext, Program, Record, Window, text::time::now,
};
use serde_json::Value;
use store::WindowReader;
use tempfile::TempDir;

use super::{HOST, Log, Sender, free_port, wait_until};

/// The receiver, which is another process.
struct Receiver {
    directory: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Receiver {
    fn start() -> Self {
        let mut receiver = Self { directory: tempfile::tempdir().unwrap(), port: free_port(), child: None };
        receiver.answer("200");
        receiver.restart();
        receiver
    }

    /// How it answers from now on.
    fn answer(&self, answer: &str) {
        // Never half of it.
        let path = self.directory.path().join("answer");
        fs::write(path.with_extension("new"), answer).unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    }

    fn restart(&mut self) {
        self.kill();
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        let child = Command::new(project.join("../../scripts/otlp-python"))
            .arg(project.join("tests/receivers/otlp_receiver.py"))
            .arg(self.directory.path())
            .arg(self.port.to_string())
            .spawn()
            .expect("scripts/otlp-python, which needs python3 and python3-pip, does not start");
        self.child = Some(child);
        wait_until("the receiver listens", || {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the receiver does not start (python3-pip? the network?)");
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    fn section(&self, more: &str) -> String {
        format!("client = \"otlp\"\nurl = \"http://127.0.0.1:{}/base/\"\nbackfill = true\n{more}", self.port)
    }

    /// The requests for a signal, in the order in which they came.
    fn requests(&self, signal: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.directory.path().join("requests")).unwrap_or_default();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["path"] == format!("/base/v1/{signal}")).collect()
    }

    /// The log records that it has taken.
    fn log_records(&self) -> Vec<Value> {
        let requests = self.requests("logs").into_iter().filter(|request| request["status"] == 200);
        requests
            .flat_map(|request| parts(&request["request"], &["resource_logs", "scope_logs", "log_records"]))
            .collect()
    }

    /// The data points that it has taken: the metric, and the point.
    fn points(&self) -> Vec<(String, Value)> {
        let requests = self.requests("metrics").into_iter().filter(|request| request["status"] == 200);
        let metrics = requests.flat_map(|request| {
            parts(&request["request"], &["resource_metrics", "scope_metrics", "metrics"])
        });
        let points = |metric: Value| {
            let sum = &metric["sum"];
            let kind = (sum["aggregation_temporality"].as_str(), sum["is_monotonic"].as_bool());
            assert_eq!(kind, (Some("AGGREGATION_TEMPORALITY_CUMULATIVE"), Some(true)), "{metric}");
            let name = metric["name"].as_str().unwrap().to_owned();
            let points = sum["data_points"].as_array().unwrap().clone();
            points.into_iter().map(move |point| (name.clone(), point))
        };
        metrics.flat_map(points).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.kill();
    }
}

/// All values of nested lists.
fn parts(value: &Value, keys: &[&str]) -> Vec<Value> {
    let Some((key, keys)) = keys.split_first() else { return vec![value.clone()] };
    value[*key].as_array().into_iter().flatten().flat_map(|part| parts(part, keys)).collect()
}

/// Attributes as texts and numbers.
fn attributes(owner: &Value) -> BTreeMap<String, String> {
    let value = |found: &Value| {
        let found = &found["value"];
        let text = found["string_value"].as_str().or(found["int_value"].as_str());
        text.unwrap_or_else(|| panic!("{found}")).to_owned()
    };
    let found = owner["attributes"].as_array().into_iter().flatten();
    found.map(|found| (found["key"].as_str().unwrap().to_owned(), value(found))).collect()
}

/// Whether the sender has told that the receiver has all windows of the log.
fn has_all(sender: &Sender, log: &Log) -> bool {
    let last = WindowReader::open(&log.path()).unwrap().state().unwrap().last_window;
    sender.told().position.as_ref().is_some_and(|position| position.window == last)
}

/// The names of all events and records of the log.
fn names(log: &Log) -> BTreeSet<String> {
    let reader = WindowReader::open(&log.path()).unwrap();
    let name = reader.state().unwrap().name;
    let uuid: String = name.uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut names = BTreeSet::new();
    for window in reader.after(0, u64::MAX).unwrap() {
        let window_name = format!("{uuid}/{}/{}", name.epoch, window.mark.number);
        names.extend((0..window.events.len()).map(|number| format!("{window_name}/event/{number}")));
        names.extend(window.records.iter().map(|record| format!("{window_name}/{}", record.sequence)));
    }
    names
}

#[test]
fn a_collector_gets_each_log_record_also_if_it_or_the_sender_is_killed() {
    let (mut receiver, mut log) = (Receiver::start(), Log::new());
    let section = receiver.section("records = true\ntoken = \"t-1\"");
    log.write(40);
    let mut sender = Sender::start(&section, "", &log.path(), None);
    for round in 0..6 {
        log.write(40);
        match round {
            // It has taken a request, and answers no more.
            1 => {
                receiver.answer("die");
                wait_until("it is dead", || receiver.child.as_mut().unwrap().try_wait().unwrap().is_some());
            }
            // At a moment of no choosing.
            3 => {
                thread::sleep(Duration::from_millis(700));
                receiver.kill();
                log.write(5);
            }
            2 | 4 => {
                let position = sender.end();
                log.write(5);
                sender = Sender::start(&section, "", &log.path(), position);
            }
            _ => {}
        }
        if receiver.child.is_none() || round == 1 {
            wait_until("it is missed", || sender.told().status.problem.is_some());
            receiver.answer("200");
            receiver.restart();
        }
    }
    wait_until("all is sent", || has_all(&sender, &log));
    let found = receiver.log_records();
    let mut contents: HashMap<String, Value> = HashMap::new();
    for record in &found {
        let mut record = record.clone();
        let uid = attributes(&record)["log.record.uid"].clone();
        record.as_object_mut().unwrap().remove("observed_time_unix_nano");
        let before = contents.insert(uid, record.clone());
        assert!(before.is_none_or(|before| before == record), "what comes again is the same: {record}");
    }
    assert_eq!(contents.keys().cloned().collect::<BTreeSet<_>>(), names(&log));
    assert!(found.len() > contents.len(), "it has taken a request that it did not answer");
    let of_type = |name: &str| -> Vec<&Value> {
        contents.values().filter(|record| record["event_name"] == name).collect()
    };
    let records = of_type("picosnitch.record");
    let sent: BTreeSet<u64> =
        records.iter().map(|record| attributes(record)["picosnitch.sent"].parse().unwrap()).collect();
    assert_eq!(sent, (1..=u64::from(log.last)).collect());
    let alerts: HashSet<String> = of_type("picosnitch.alert")
        .iter()
        .map(|alert| attributes(alert)["picosnitch.text"].clone())
        .collect();
    assert_eq!(alerts, log.alerts().into_iter().collect());
    let alert = of_type("picosnitch.alert")[0];
    assert_eq!(attributes(alert)["process.executable.path"], "/usr/bin/\\xffodd\\x0a\"}");
    assert_eq!(
        (alert["severity_number"].as_str(), alert["severity_text"].as_str()),
        (Some("SEVERITY_NUMBER_WARN"), Some("WARN"))
    );
    let record = attributes(records[0]);
    assert_eq!((record["network.transport"].as_str(), record["network.peer.port"].as_str()), ("tcp", "443"));
    let requests = receiver.requests("logs");
    let resource = attributes(&requests[0]["request"]["resource_logs"][0]["resource"]);
    assert_eq!(resource["host.name"], HOST);
    assert_eq!(resource["service.name"], "picosnitch");
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(requests[0]["authorization"], "Bearer t-1");
    assert_eq!(requests[0]["encoding"], "gzip");
}

/// A window of a program with traffic, a loss, and an execution, which is none.
fn window(program: &str, sent: u64) -> Window {
    let context = ProcessContext {
        program: Program { path: program.into(), ..Program::default() },
        ..ProcessContext::default()
    };
    let record = |remote_port, sent| Record {
        context: context.clone().into(),
        geo: model::GeoInfo::default(),
        tuple: FlowTuple { protocol: 6, remote_port, ..FlowTuple::default() },
        counters: model::Counters { connections: 1, sent, received: 2 * sent },
        opened: false,
        folded: 0,
    };
    let mut loss = Event::new(EventKind::Loss, now(), "");
    (loss.subject, loss.count) = (LossKind::Names.name(), 3);
    Window {
        time: now(),
        events: vec![loss],
        records: vec![record(443, sent), record(model::PORT_EXECUTION, 0)],
        ..Window::default()
    }
}

#[test]
fn sums_grow_by_what_the_log_has_and_a_receiver_that_dies_changes_nothing() {
    let (mut receiver, mut log) = (Receiver::start(), Log::new());
    let section = receiver.section("logs = false");
    let mut sender = Sender::start(&section, "", &log.path(), None);
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    let mut write = |log: &mut Log, number: u64| {
        // The first 200 programs have sums of their own.
        let program = format!("/usr/bin/program-{}", (number - 1) % 230);
        let path = if (number - 1) % 230 < 200 { program.as_str() } else { "(others)" };
        *expected.entry(path.to_owned()).or_default() += number;
        log.writer.write(&window(&program, number)).unwrap();
    };
    for number in 1..=300 {
        write(&mut log, number);
        match number {
            150 => {
                receiver.answer("die");
                wait_until("it is dead", || receiver.child.as_mut().unwrap().try_wait().unwrap().is_some());
                receiver.answer("200");
                wait_until("it is missed", || sender.told().status.problem.is_some());
                receiver.restart();
            }
            210 => {
                receiver.kill();
                thread::sleep(Duration::from_millis(1200));
                receiver.restart();
            }
            260 => {
                wait_until("all is sent", || has_all(&sender, &log));
                let position = sender.end();
                sender = Sender::start(&section, "", &log.path(), position);
            }
            _ => thread::sleep(Duration::from_millis(5)),
        }
    }
    wait_until("all is sent", || has_all(&sender, &log));
    // By the series and its start the times and values.
    type Series = (String, BTreeMap<String, String>, u64);
    let mut series: BTreeMap<Series, Vec<(u64, u64)>> = BTreeMap::new();
    for (metric, point) in receiver.points() {
        let number = |key: &str| point[key].as_str().unwrap().parse::<u64>().unwrap();
        let key = (metric, attributes(&point), number("start_time_unix_nano"));
        assert!(key.2 < number("time_unix_nano"), "{point}");
        series.entry(key).or_default().push((number("time_unix_nano"), number("as_int")));
    }
    let starts: BTreeSet<u64> = series.keys().map(|(.., start)| *start).collect();
    assert_eq!(starts.len(), 2, "the sums begin again with the sender: {starts:?}");
    let mut sums: BTreeMap<(String, String, String), u64> = BTreeMap::new();
    for ((metric, attributes, _), points) in &series {
        for pair in points.windows(2) {
            // A point that comes again is the same.
            assert!(
                pair[0] == pair[1] || (pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1),
                "{metric} {attributes:?} {points:?}"
            );
        }
        let of = |key: &str| attributes.get(key).cloned().unwrap_or_default();
        let kind = of("network.io.direction") + &of("picosnitch.event.kind") + &of("picosnitch.loss.kind");
        *sums.entry((metric.clone(), of("process.executable.path"), kind)).or_default() +=
            points.last().unwrap().1;
    }
    let sum = |metric: &str, path: &str, kind: &str| {
        sums.get(&(metric.to_owned(), path.to_owned(), kind.to_owned())).copied().unwrap_or(0)
    };
    // After the restart of the sender other programs may be among the first 200: those of 261 to 300 are few.
    for (path, expected) in &expected {
        if path != "(others)" {
            let found = sum("picosnitch.network.io", path, "transmit");
            assert_eq!((path, found), (path, *expected));
            assert_eq!(sum("picosnitch.network.io", path, "receive"), 2 * expected);
        }
    }
    assert_eq!(sum("picosnitch.network.io", "(others)", "transmit"), expected["(others)"]);
    let connections: u64 = sums
        .iter()
        .filter(|((metric, ..), _)| metric == "picosnitch.network.connections")
        .map(|(_, sum)| sum)
        .sum();
    assert_eq!(connections, 300, "an execution is no connection");
    assert_eq!(sum("picosnitch.losses", "", "names"), 900);
    assert_eq!(sum("picosnitch.events", "", "loss"), 300);
    assert!(receiver.requests("logs").is_empty());
}

#[test]
fn a_collector_may_ask_for_a_pause_and_refuse_for_good() {
    let (receiver, mut log) = (Receiver::start(), Log::new());
    let section = receiver.section("kinds = [\"alert\"]\nmetrics = false\ncompression = \"none\"");
    receiver.answer("503 4");
    log.write(1);
    let sender = Sender::start(&section, "", &log.path(), None);
    wait_until("it asks for a pause", || !receiver.requests("logs").is_empty());
    receiver.answer("429 4");
    wait_until("it asks again", || receiver.requests("logs").len() == 2);
    receiver.answer("200");
    wait_until("it is asked a third time", || receiver.requests("logs").len() == 3);
    let requests = receiver.requests("logs");
    let times: Vec<f64> = requests.iter().map(|request| request["time"].as_f64().unwrap()).collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 3.9), "{times:?}");
    assert_eq!(requests[0]["encoding"], Value::Null);
    wait_until("it has all", || has_all(&sender, &log));
    assert!(
        sender.told().problems.iter().any(|text| text.contains("status 503: /v1/logs: no")),
        "{:?}",
        sender.told().problems
    );
    // What is wrong with the collector, and not with what is sent, is tried again.
    for status in ["401", "404", "500", "502"] {
        receiver.answer(status);
        log.write(1);
        wait_until("the problem is told", || sender.told().status.problem.is_some());
        receiver.answer("200");
        wait_until("it is over", || sender.told().status.problem.is_none());
    }
    assert_eq!(receiver.log_records().len(), 5);
    // At most ten at once: halves, until they fit.
    receiver.answer("at-most 10");
    let before = receiver.log_records().len();
    log.write(70);
    wait_until("all is sent", || has_all(&sender, &log));
    assert_eq!(receiver.log_records().len() - before, 70);
    assert_eq!(sender.told().problems.iter().filter(|text| text.contains("refuses")).count(), 0);
    // What it refuses is told, and not sent again.
    receiver.answer("partial 2");
    log.write(1);
    wait_until("it goes on", || has_all(&sender, &log));
    let problems = sender.told().problems.clone();
    let expected = "refuses 2 log records for good (too \\x1b[31mred)";
    assert!(problems.iter().any(|text| text.contains(expected)), "{problems:?}");
    receiver.answer("400");
    log.write(3);
    wait_until("it goes on", || has_all(&sender, &log));
    thread::sleep(Duration::from_millis(1500));
    let requests = receiver.requests("logs");
    let wrong: Vec<usize> = requests
        .iter()
        .filter(|request| request["status"] == 400)
        .map(|request| parts(&request["request"], &["resource_logs", "scope_logs", "log_records"]).len())
        .collect();
    assert_eq!(wrong.iter().sum::<usize>(), 3, "each was sent once: {wrong:?}");
    assert_eq!(
        sender.told().problems.iter().filter(|text| text.contains("refuses")).count(),
        1,
        "once an hour"
    );
}
