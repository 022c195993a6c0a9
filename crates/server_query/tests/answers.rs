//! Answers of real servers, and of the log that was copied to them: they must be equal.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../../store/src/tests/random.rs"]
mod random;
#[path = "../../export/tests/server_process/mod.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod server_process;

use std::{
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use calendar::TimeZone;
use export::{ServerSettings, SinkNews, SumKind};
use model::{
    Address, CgroupInfo, Counters, Event, EventKind, FlowTuple, GeoInfo, LossKind, Port, ProcessContext,
    Program, Record, Sha256, Window,
};
use server_process::{ServerProcess, System, clickhouse::Agent, with_each_system};
use server_query::{ServerQueryError, ServerReader};
use store::{
    CompareOrder, Dimension, Filter, Find, Query, Range, Reader, Row, SeenFilter, Sort, Source, Value,
    WindowReader, Writer,
};
use tempfile::TempDir;

use random::Random;

/// Questions to each server, and comparisons of two ranges beside them.
const QUESTIONS: u64 = 1000;
const COMPARISONS: u64 = 200;
const CHARTS: u64 = 200;
/// Questions of which is counted how many are answered by sums.
const BY_SUMS: u64 = 300;
const SEND_TIMEOUT: Duration = Duration::from_secs(60);

fn record(path: &[u8], remote: &str, port: Port, sent: u64, received: u64) -> Record {
    let program = |path: &[u8], name: &[u8]| Program {
        path: path.to_vec(),
        name: name.to_vec(),
        command_line: [path, b"\0-x\0it's \xff\0\\x41"].concat(),
        sha256: Some(Sha256([path.len() as u8; 32])),
    };
    Record {
        context: Arc::new(ProcessContext {
            program: program(path, b"tool"),
            // Blanks at the end count, and long texts differ at their ends.
            parent: program(if sent.is_multiple_of(2) { b"/bin/sh" } else { b"/bin/sh " }, b"sh"),
            grandparent: Program {
                command_line: [&vec![b'y'; 3000][..], received.to_string().as_bytes()].concat(),
                ..Program::default()
            },
            uid: 4_294_967_294,
            network_namespace: 4_026_531_840,
            cgroup: CgroupInfo {
                path: b"/system.slice/tool.service".to_vec(),
                unit: b"tool.service".to_vec(),
                container: b"docker web-1".to_vec(),
                app: b"Snap tool".to_vec(),
            },
        }),
        tuple: FlowTuple {
            family: match remote.parse().unwrap() {
                Address::Ip(IpAddr::V4(_)) => 2,
                Address::Ip(IpAddr::V6(_)) => 10,
                Address::Vsock(_) | Address::Many => 40,
            },
            protocol: 6,
            local_address: Some("192.0.2.9".parse().unwrap()),
            remote_address: Some(remote.parse().unwrap()),
            local_port: 50_000,
            remote_port: port,
            domain: b"example.com".to_vec(),
            ..FlowTuple::default()
        },
        geo: GeoInfo { country: "NL".into(), network_number: 64496, network: "Example".into() },
        counters: Counters { connections: 1, sent, received },
        opened: false,
        folded: 0,
    }
}

fn typed(dimension: Dimension, value: &[u8], exclude: bool) -> Vec<Filter> {
    Filter::parse(dimension, value, exclude, &TimeZone::UTC).unwrap()
}

/// A log in a directory of its own.
struct Log {
    directory: TempDir,
}

impl Log {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("snitch.db")
    }

    fn reader(&self) -> Reader {
        Reader::open(&self.path()).unwrap()
    }

    /// Writes windows with random records, from `first` on; returns the time of the last one.
    fn write(&self, random: &mut Random, first: i64, windows: i64, step: i64) -> i64 {
        let mut writer = Writer::open(&self.path()).unwrap();
        let mut time = first;
        for number in 0..windows {
            time = first + number * step + random.below(10) as i64;
            let records = (0..1 + random.below(6)).map(|_| random.record()).collect();
            let mut event = Event::new(EventKind::Loss, time, "");
            event.subject = LossKind::ALL[random.below(LossKind::ALL.len() as u64) as usize].name();
            event.count = 1 + random.below(100);
            let mut events = vec![event];
            if random.below(3) == 0 {
                let kind = random.pick(&[EventKind::Alert, EventKind::Error, EventKind::LateDigest]);
                let mut event = Event::new(kind, time - random.below(20) as i64, "what\u{1b}[0m \\x41 \0");
                event.begin = (random.below(2) == 0).then_some(time - 30);
                event.uid = (random.below(2) == 0).then_some(u32::MAX);
                (event.path, event.name) = (b"/a\0\xff b ".to_vec(), b"\xfe".to_vec());
                event.sha256 = Some(Sha256([random.below(3) as u8; 32]));
                event.writer = Some(model::Writer {
                    pid: 5,
                    path: b"/w\xff".to_vec(),
                    name: b"w".to_vec(),
                    uid: (random.below(2) == 0).then_some(7),
                });
                events.push(event);
            }
            writer.write(&Window { time, records, events, ..Window::default() }).unwrap();
        }
        writer.checkpoint().unwrap();
        time
    }

    /// A copy, as of a machine that is cloned.
    fn copy(&self) -> Self {
        let copy = Self::new();
        std::fs::copy(self.path(), copy.path()).unwrap();
        copy
    }

    /// Sends all windows to a server.
    fn send(&self, settings: &ServerSettings, host: &str) {
        self.send_until(settings, host, || true);
    }

    /// Sends all windows to a server, and goes on until the sums that are due are made.
    fn send_with_sums(&self, server: &ServerProcess, host: &str) {
        if server.system.is_clickhouse() {
            // It has no sums.
            return self.send(&server.settings("owner"), host);
        }
        let is_due = |kind: SumKind| {
            let (number, seconds) = (kind.number(), kind.seconds());
            let sql = format!(
                "SELECT count(*) FROM picosnitch_log l JOIN picosnitch_window w ON w.log = l.id \
                 WHERE l.host = '{host}' AND w.time < (SELECT max(time) - max(time) % {seconds} FROM picosnitch_window WHERE log = l.id) \
                 AND w.window_number > (SELECT coalesce(max(last_window), 0) FROM picosnitch_sum_claim WHERE kind = {number} AND log = l.id)"
            );
            server.numbers(&sql) != [0]
        };
        let settings = server.settings("owner");
        self.send_until(&settings, host, || !SumKind::ALL.into_iter().any(is_due));
    }

    fn send_until(&self, settings: &ServerSettings, host: &str, is_done: impl Fn() -> bool + Sync) {
        let last = WindowReader::open(&self.path()).unwrap().state().unwrap().last_window;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let news = runtime.block_on(async {
            let (sent, is_sent) = tokio::sync::oneshot::channel();
            let mut sent = Some(sent);
            let news = std::cell::RefCell::new(Vec::new());
            let report = |found: SinkNews| {
                if let SinkNews::Status(status) = &found
                    && status.last_window == last
                    && status.lag_windows == Some(0)
                    && let Some(sent) = sent.take()
                {
                    let _ = sent.send(());
                }
                news.borrow_mut().push(found);
            };
            tokio::select! {
                never = export::run(settings, self.path(), host, report) => match never {},
                _ = async {
                    let _ = is_sent.await;
                    // In a thread of its own, since it waits with a runtime of its own.
                    while !std::thread::scope(|scope| scope.spawn(&is_done).join().unwrap()) {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                } => None,
                () = tokio::time::sleep(SEND_TIMEOUT) => Some(format!("{:?}", news.borrow())),
            }
        });
        assert_eq!(news, None, "the windows are not sent");
    }
}

/// The questions of the log, with others that only `query` asks.
fn question(random: &mut Random, first: i64, last: i64) -> Query {
    let mut query = random.query(first, last);
    query.reverse = random.below(3) == 0;
    query.offset = (random.below(4) == 0).then(|| random.below(3));
    query.limit = (random.below(3) == 0).then(|| 1 + random.below(5));
    if let Some(dimension) = query.group_by.first().filter(|_| random.below(4) == 0) {
        query.sort = Sort::Dimension(*dimension);
    }
    match random.below(12) {
        0 => query.filters.extend(typed(Dimension::ParentExecutable, b"/bin/sh ", random.below(2) == 0)),
        1 => query.filters.extend(typed(Dimension::CommandLine, b"/a -x 'it'\\''s \\xff' '\\x5cx41'", false)),
        2 => query.filters.extend(typed(Dimension::CommandLine, b"*it's*", random.below(2) == 0)),
        3 => query.filters.extend(typed(Dimension::DomainSource, b"unknown", random.below(2) == 0)),
        4 => query.filters.extend(typed(Dimension::Country, b"private", random.below(2) == 0)),
        5 => query.filters.extend(typed(Dimension::Asn, b"AS64496", random.below(2) == 0)),
        6 => query.filters.extend(typed(Dimension::Cgroup, b"/user.slice", random.below(2) == 0)),
        7 => query.filters.extend(typed(Dimension::Executable, b"/d\\x00", random.below(2) == 0)),
        _ => {}
    }
    if query.group_by.len() == 1 && random.below(3) == 0 {
        let time = |random: &mut Random| {
            (random.below(3) == 0).then(|| first + random.below((last - first) as u64) as i64)
        };
        query.seen = Some(SeenFilter { new_since: time(random), changed_since: time(random) });
        if random.below(2) == 0 {
            query.sort = random.pick(&[Sort::FirstSeen, Sort::LastSeen, Sort::Digests]);
        }
    }
    query
}

/// Edges of a chart: even ones, or some at random.
fn edges(random: &mut Random, first: i64, last: i64) -> Vec<i64> {
    let mut edges: Vec<i64> = match random.below(2) {
        0 => calendar::divide(first, last + 1, 1 + random.below(300) as usize, &TimeZone::UTC),
        _ => (0..random.below(9)).map(|_| first + random.below((last - first) as u64) as i64).collect(),
    };
    edges.sort_unstable();
    edges.dedup();
    edges
}

fn equal_answers(system: System) {
    let server = ServerProcess::start(system);
    let settings = server.settings("owner");
    let mut random = Random(0x1234_5678_9abc_def1);
    let log = Log::new();
    // Half a year, with clock changes.
    let first = 1_690_000_000;
    let last = log.write(&mut random, first, 400, 40_000);
    log.send_with_sums(&server, "one");
    // What is in no sum yet: of now, and of a time long ago.
    log.write(&mut random, first + 5_000_000, 20, 10_000);
    let last = log.write(&mut random, last + 10, 20, 10_000);
    log.send(&settings, "one");
    let (local, remote) = (log.reader(), ServerReader::connect(settings.clone()).unwrap());
    let of_records = ServerReader::connect(ServerSettings { asks_sums: false, ..settings }).unwrap();
    assert_eq!(remote.extent().unwrap(), local.extent().unwrap());
    let everything = Query { group_by: Dimension::ALL.to_vec(), ..Query::default() };
    assert_eq!(remote.answer(&everything).unwrap(), local.answer(&everything).unwrap());
    let mut rows = 0;
    for number in 0..QUESTIONS {
        let query = question(&mut random, first, last);
        let expected = local.answer(&query).unwrap();
        rows += expected.rows.len();
        assert_eq!(remote.answer(&query).unwrap(), expected, "question {number}: {query:#?}");
    }
    assert!(rows as u64 > 5 * QUESTIONS, "the questions find only {rows} rows");
    // Sums that are wrong give wrong answers to many of the questions, unless only records are asked.
    let has_sums = !system.is_clickhouse();
    if has_sums {
        server.execute_as("owner", "UPDATE picosnitch_sum SET connections = connections + 1").unwrap();
    }
    let mut by_sums = 0;
    for number in 0..if has_sums { BY_SUMS } else { 0 } {
        let query = question(&mut random, first, last);
        let expected = local.answer(&query).unwrap();
        by_sums += u64::from(remote.answer(&query).unwrap() != expected);
        if number % 10 == 0 {
            assert_eq!(of_records.answer(&query).unwrap(), expected, "question {number}: {query:#?}");
        }
    }
    if has_sums {
        assert!(by_sums > BY_SUMS / 10, "only {by_sums} questions are answered by sums");
        server.execute_as("owner", "UPDATE picosnitch_sum SET connections = connections - 1").unwrap();
    }
    for number in 0..COMPARISONS {
        let query = question(&mut random, first, last);
        let before = random.query(first, last).range;
        let order = random.pick(&[CompareOrder::Difference, CompareOrder::Now]);
        let expected = local.compare(&query, before, order).unwrap();
        assert_eq!(
            remote.compare(&query, before, order).unwrap(),
            expected,
            "comparison {number} with {before:?}: {query:#?}"
        );
        assert_eq!(remote.losses(before, &[]).unwrap(), local.losses(before).unwrap());
    }
    for number in 0..CHARTS {
        let query = Query { seen: None, ..question(&mut random, first, last) };
        let edges = edges(&mut random, first, last);
        let top = random.below(5) as usize;
        assert_eq!(
            remote.series_by(&query, &edges, top).unwrap(),
            local.series_by(&query, &edges, top).unwrap(),
            "chart {number} in {edges:?}: {query:#?}"
        );
        assert_eq!(remote.series(&query, &edges).unwrap(), local.series(&query, &edges).unwrap());
        assert_eq!(remote.losses_between(&edges, &[]).unwrap(), local.losses_between(&edges).unwrap());
    }
    assert_eq!(remote.programs_seen(&[]).unwrap(), local.programs_seen().unwrap());
    for kinds in [&[][..], &[EventKind::Loss], &[EventKind::Alert, EventKind::Error], &[EventKind::Stop]] {
        for limit in [0, 7, u64::MAX] {
            let range = random.query(first, last).range;
            let of_log = local.events(range, kinds, limit).unwrap();
            let of_server = remote.events(range, kinds, limit, &|_| true).unwrap();
            assert!(of_server.iter().all(|found| found.host == b"one"));
            let of_server: Vec<Event> = of_server.into_iter().map(|found| found.event).collect();
            assert_eq!(of_server, of_log, "{kinds:?} in {range:?}");
        }
    }
    println!(
        "{system:?}: {QUESTIONS} questions with {rows} rows, {by_sums} of {BY_SUMS} by sums, {COMPARISONS} comparisons"
    );
}

fn by_host(rows: &[Row]) -> Vec<(String, Counters)> {
    let host = |row: &Row| match &row.values[..] {
        [Value::Bytes(host)] => String::from_utf8(host.clone()).unwrap(),
        other => panic!("{other:?}"),
    };
    rows.iter().map(|row| (host(row), row.counters)).collect()
}

/// Hosts are told apart, and what logs have in common counts once.
fn hosts_and_branches(system: System) {
    let server = ServerProcess::start(system);
    let settings = server.settings("owner");
    let mut random = Random(0xfeed_beef_1234_5678);
    let (one, two) = (Log::new(), Log::new());
    let last = one.write(&mut random, 1_700_000_000, 40, 40_000);
    two.write(&mut random, 1_700_000_000, 40, 40_000);
    let clone = one.copy();
    let past = one.reader().answer(&Query::default()).unwrap().total;
    one.send_with_sums(&server, "one");
    two.send_with_sums(&server, "two");
    one.write(&mut random, last + 10, 40, 40_000);
    clone.write(&mut random, last + 10, 40, 40_000);
    clone.send_with_sums(&server, "clone");
    one.send(&settings, "one");
    let total = |log: &Log| log.reader().answer(&Query::default()).unwrap().total;
    let minus = |a: Counters, b: Counters| Counters {
        connections: a.connections - b.connections,
        sent: a.sent - b.sent,
        received: a.received - b.received,
    };
    let remote = ServerReader::connect(settings).unwrap();
    let query =
        Query { group_by: vec![Dimension::Host], sort: Sort::Dimension(Dimension::Host), ..Query::default() };
    if !system.is_clickhouse() {
        let claims = "SELECT count(DISTINCT log), count(DISTINCT kind) FROM picosnitch_sum_claim";
        assert_eq!(server.numbers(claims), [3, 4]);
    }
    // The clone has only what it recorded itself: its past is that of the first host.
    let expected = [
        ("clone".to_owned(), minus(total(&clone), past)),
        ("one".to_owned(), total(&one)),
        ("two".to_owned(), total(&two)),
    ];
    let answer = remote.answer(&query).unwrap();
    assert_eq!(by_host(&answer.rows), expected);
    let mut all = Counters::default();
    expected.iter().for_each(|(_, counters)| all += *counters);
    assert_eq!(answer.total, all);
    assert_eq!(remote.answer(&Query::default()).unwrap().total, all);
    for (value, hosts) in [("two", vec!["two"]), ("*o*", vec!["clone", "one", "two"]), ("three", vec![])] {
        let filtered = Query { filters: typed(Dimension::Host, value.as_bytes(), false), ..query.clone() };
        let found = by_host(&remote.answer(&filtered).unwrap().rows);
        assert_eq!(found.iter().map(|(host, _)| host.as_str()).collect::<Vec<_>>(), hosts, "{value}");
    }
    let found = Query { find: Some(Find::new(Dimension::Host, b"LONE", [])), ..query };
    assert_eq!(by_host(&remote.answer(&found).unwrap().rows), expected[..1]);
}

/// A host without traffic is not silent as long as it sends heartbeats; tables without them are asked all the same.
fn heartbeats(system: System) {
    let server = ServerProcess::start(system);
    let settings = server.settings("owner");
    let mut random = Random(4711);
    let (one, two) = (Log::new(), Log::new());
    let last = one.write(&mut random, 1_700_000_000, 3, 10);
    two.write(&mut random, 1_700_000_100, 3, 10);
    one.send(&settings, "one");
    two.send(&settings, "two");
    let remote = ServerReader::connect(settings).unwrap();
    let hosts = || -> Vec<(String, i64)> {
        let hosts = remote.hosts().unwrap().into_iter();
        hosts.map(|sight| (String::from_utf8(sight.host).unwrap(), sight.last)).collect()
    };
    assert_eq!(hosts()[0], ("one".to_owned(), last));
    for time in [last + 5000, last + 4000] {
        let beat = format!(
            "INSERT INTO picosnitch_heartbeat SELECT id, {time} FROM picosnitch_log WHERE host = 'one'"
        );
        server.execute_as("owner", &beat).unwrap();
    }
    assert_eq!(hosts()[1], ("one".to_owned(), last + 5000));
    server.execute_as("owner", "DROP TABLE picosnitch_heartbeat").unwrap();
    assert_eq!(hosts()[0], ("one".to_owned(), last));
    if system.is_clickhouse() {
        return;
    }
    // Nor do questions need the tables of sums.
    let query = Query::default();
    let expected = remote.answer(&query).unwrap();
    server.execute_as("owner", "DROP TABLE picosnitch_sum").unwrap();
    let remote = ServerReader::connect(server.settings("owner")).unwrap();
    assert_eq!(remote.answer(&query).unwrap(), expected);
}

/// What is seen is seen on the hosts that are asked; what is lost is lost there.
fn seen_on_hosts(system: System) {
    let server = ServerProcess::start(system);
    let settings = server.settings("owner");
    let program = |path: &[u8], digest: u8| {
        let mut record = record(path, "192.0.2.1", 443, 1, 1);
        let context = Arc::make_mut(&mut record.context);
        context.program.sha256 = Some(Sha256([digest; 32]));
        record
    };
    for (host, first, digest) in [("early", 1_700_000_000, 1), ("late", 1_700_001_000, 2)] {
        let log = Log::new();
        let mut writer = Writer::open(&log.path()).unwrap();
        for (time, digest) in [(first, digest), (first + 10, 3)] {
            let mut loss = Event::new(EventKind::Loss, time, "");
            (loss.subject, loss.count) = (LossKind::ALL[0].name(), 5);
            let records = vec![program(b"/bin/x", digest)];
            writer.write(&Window { time, records, events: vec![loss], ..Window::default() }).unwrap();
        }
        writer.checkpoint().unwrap();
        drop(writer);
        log.send(&settings, host);
    }
    let remote = ServerReader::connect(settings).unwrap();
    let seen = |filters: Vec<Filter>| {
        let query = Query {
            group_by: vec![Dimension::Executable],
            filters,
            seen: Some(SeenFilter::default()),
            ..Query::default()
        };
        let seen = remote.answer(&query).unwrap().rows[0].seen.unwrap();
        (seen.first, seen.last, seen.digests, seen.changed)
    };
    let late = typed(Dimension::Host, b"late", false);
    assert_eq!(seen(vec![]), (1_700_000_000, 1_700_001_010, 3, Some(1_700_001_000)));
    assert_eq!(seen(late.clone()), (1_700_001_000, 1_700_001_010, 2, Some(1_700_001_010)));
    let lost = |filters: &[Filter]| remote.losses(Range::default(), filters).unwrap()[0].count;
    assert_eq!((lost(&[]), lost(&late)), (20, 10));
    let between = remote.losses_between(&[1_700_000_000, 1_700_000_500, 1_700_002_000], &late).unwrap();
    assert_eq!((between[0].len(), between[1][0].count), (0, 10));
    assert_eq!(remote.programs_seen(&[]).unwrap().len(), 3);
    assert_eq!(remote.programs_seen(&late).unwrap().len(), 2);
}

/// A question can be given up from another thread, also while the server works on it, and then the next one is answered.
fn interruptions(system: System) {
    let mut server = ServerProcess::start(system);
    let log = Log::new();
    log.write(&mut Random(5), 1_700_000_000, 3, 10);
    log.send(&server.settings("owner"), "one");
    let remote = ServerReader::connect(server.settings("owner")).unwrap();
    let interrupter = remote.interrupter();
    let lock = match system {
        System::PostgreSql => "BEGIN; LOCK TABLE picosnitch_record; SELECT pg_sleep(4); COMMIT",
        System::MariaDb => "LOCK TABLES picosnitch_record WRITE; SELECT SLEEP(4); UNLOCK TABLES",
        // Nothing can be locked there: this only takes a while.
        System::ClickHouse | System::Chdb => "SELECT sleep(3)",
    };
    std::thread::scope(|scope| {
        let server = &server;
        scope.spawn(move || server.administer(server_process::DATABASE, lock));
        std::thread::sleep(Duration::from_secs(1));
        let begun = std::time::Instant::now();
        let interrupter = &interrupter;
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            interrupter.interrupt();
        });
        if system.is_clickhouse() {
            std::thread::sleep(Duration::from_millis(600));
        }
        assert!(remote.answer(&Query::default()).unwrap_err().is_interrupted());
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        // Until it is resumed.
        assert!(remote.hosts().unwrap_err().is_interrupted());
        interrupter.resume();
        assert_eq!(remote.hosts().unwrap().len(), 1);
        // The server does not go on with it either: there are this reader, and the one who counts.
        let own = match system {
            System::PostgreSql => "SELECT integer(count(*)) FROM pg_stat_activity WHERE usename = 'owner'",
            System::MariaDb => {
                "SELECT integer(count(*)) FROM information_schema.processlist WHERE user = 'owner'"
            }
            // This one was given up before it began: another one is below.
            System::ClickHouse | System::Chdb => return,
        };
        while server.numbers(own) != [2] {
            assert!(begun.elapsed() < Duration::from_millis(2500), "{:?}", server.numbers(own));
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let answer = remote.answer(&Query::default()).unwrap();
    match system {
        System::ClickHouse => an_endless_question_is_ended(&server, &remote),
        System::Chdb => println!("as a module it answers one question after the other: none can end another"),
        System::PostgreSql | System::MariaDb => {}
    }
    // A server that was started again is asked without an error; one that is away is one.
    server.restart();
    assert_eq!(remote.answer(&Query::default()).unwrap(), answer);
    server.kill();
    let away = remote.answer(&Query::default()).unwrap_err().to_string();
    assert!(away.contains("nothing listens there"), "{away}");
    server.restart();
    assert_eq!(remote.answer(&Query::default()).unwrap(), answer);
}

/// A ClickHouse is told to end a question that was given up; otherwise it would work on it for ever.
fn an_endless_question_is_ended(server: &ServerProcess, remote: &ServerReader) {
    let endless = "SELECT toInt64(number) AS time, toInt64(1) AS log, toInt64(1) AS connections, toInt64(1) AS sent, toInt64(1) AS received \
                   FROM system.numbers";
    for statement in
        ["RENAME TABLE picosnitch_record TO kept", &format!("CREATE VIEW picosnitch_record AS {endless}")]
    {
        server.administer(server_process::DATABASE, statement);
    }
    server.allow_agent(Agent::Reader);
    // An account that may only read may end its own questions.
    let reader = ServerReader::connect(server.settings("agent")).unwrap();
    let interrupter = reader.interrupter();
    let at_work = || server.numbers("SELECT count() FROM system.processes WHERE user = 'agent'") != [0];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let deadline = Instant::now() + SEND_TIMEOUT;
            while !at_work() {
                assert!(Instant::now() < deadline);
                std::thread::sleep(Duration::from_millis(20));
            }
            std::thread::sleep(Duration::from_millis(300));
            interrupter.interrupt();
        });
        assert!(reader.answer(&Query::default()).unwrap_err().is_interrupted());
    });
    interrupter.resume();
    assert!(at_work());
    assert_eq!(reader.hosts().unwrap().len(), 1);
    let deadline = Instant::now() + Duration::from_secs(10);
    while at_work() {
        assert!(Instant::now() < deadline, "the server still works on a question that was given up");
        std::thread::sleep(Duration::from_millis(50));
    }
    for statement in ["DROP TABLE picosnitch_record", "RENAME TABLE kept TO picosnitch_record"] {
        server.administer(server_process::DATABASE, statement);
    }
    let total = |reader: &ServerReader| reader.answer(&Query::default()).unwrap().total;
    assert_eq!(total(&reader), total(remote));
}

/// A server that takes a connection and then says nothing, over HTTP, holds up nobody who gives the question up.
#[test]
fn silence_holds_nobody_up() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("clickhouse://u@{}?tls=disable", silent.local_addr().unwrap());
    let settings = server_query::server_at(&address, None, |_| None).unwrap().unwrap();
    let reader = ServerReader::new(settings).unwrap();
    let interrupter = reader.interrupter();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            interrupter.interrupt();
        });
        assert!(reader.answer(&Query::default()).unwrap_err().is_interrupted());
    });
    drop(reader);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// What a server cannot answer is an error that says so, and an account that may only read can ask.
fn limits(system: System) {
    let server = ServerProcess::start(system);
    let error = |user: &str| match ServerReader::connect(server.settings(user)) {
        Ok(_) => panic!("it answers"),
        Err(error) => (matches!(error, ServerQueryError::NoTables(_)), error.to_string()),
    };
    let (is_without_tables, text) = error("owner");
    assert!(is_without_tables && text.contains("no tables of picosnitch"), "{text}");
    let mut wrong = server.settings("owner");
    wrong.password = "wrong".into();
    let refused = ServerReader::connect(wrong).err().unwrap().to_string();
    assert!(refused.contains("is the user or the password wrong"), "{refused}");
    let log = Log::new();
    let mut random = Random(77);
    log.write(&mut random, 1_700_000_000, 3, 10);
    log.send(&server.settings("owner"), "one");
    let tables: &[&str] = match system {
        System::ClickHouse => {
            server.allow_agent(Agent::Reader);
            &[]
        }
        // Its accounts may do anything.
        System::Chdb => &[],
        System::PostgreSql | System::MariaDb => {
            &["schema", "log", "record", "context", "program", "endpoint", "event"]
        }
    };
    for table in tables {
        let account = if system == System::MariaDb { "'agent'@'%'" } else { "agent" };
        let sql = format!("GRANT SELECT ON picosnitch_{table} TO {account}");
        server.administer(server_process::DATABASE, &sql);
    }
    let remote = ServerReader::connect(server.settings("agent")).unwrap();
    assert_eq!(
        remote.answer(&Query::default()).unwrap().total,
        log.reader().answer(&Query::default()).unwrap().total
    );
    // A range that no clock has.
    let far = Query {
        range: Range { since: Some(i64::MIN), until: Some(i64::MAX) },
        group_by: vec![Dimension::Month],
        ..Query::default()
    };
    assert_eq!(remote.answer(&far).unwrap(), log.reader().answer(&far).unwrap());
}

/// A ClickHouse knows no duplicates: what was sent twice counts once all the same, before and after it has merged equal rows.
fn what_comes_twice_counts_once(system: System) {
    let server = ServerProcess::start(system);
    let settings = server.settings("owner");
    let mut random = Random(0x0bad_cafe_1234_5678);
    let log = Log::new();
    let first = 1_700_000_000;
    let mut last = log.write(&mut random, first, 20, 10_000);
    log.send(&settings, "one");
    server.administer(server_process::DATABASE, "SYSTEM STOP MERGES picosnitch_record");
    server.administer(server_process::DATABASE, "SYSTEM STOP MERGES picosnitch_event");
    let count = |sql: &str| server.numbers(&format!("SELECT count(*) FROM {sql}"))[0];
    for round in 0..3 {
        last = log.write(&mut random, last + 10_000, 20, 10_000);
        log.send(&settings, "one");
        // As if the exporter had been killed before it sent the last windows, which come behind their records.
        let unsent = format!("picosnitch_window WHERE window_number > {}", 20 + 20 * round + 5);
        let delete = format!("ALTER TABLE {}", unsent.replace(" WHERE", " DELETE WHERE"));
        server.administer(server_process::DATABASE, &delete);
        let deadline = Instant::now() + SEND_TIMEOUT;
        while count(&unsent) > 0 {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    log.send(&settings, "one");
    let (local, remote) = (log.reader(), ServerReader::connect(settings.clone()).unwrap());
    let (twice, once) = (count("picosnitch_record"), count("picosnitch_record FINAL"));
    let everything = Query { group_by: Dimension::ALL.to_vec(), ..Query::default() };
    let equal = |random: &mut Random, questions: u64| {
        assert_eq!(remote.answer(&everything).unwrap(), local.answer(&everything).unwrap());
        for number in 0..questions {
            let query = question(random, first, last);
            assert_eq!(
                remote.answer(&query).unwrap(),
                local.answer(&query).unwrap(),
                "question {number}: {query:#?}"
            );
        }
        let range = Range { since: None, until: None };
        assert_eq!(remote.losses(range, &[]).unwrap(), local.losses(range).unwrap());
    };
    equal(&mut random, 100);
    assert!(twice > once + once / 4, "{twice} {once}");
    println!("{system:?}: {twice} rows of {once} records");
    // More repeated windows than a statement names: the whole range is read so.
    server.administer(
        server_process::DATABASE,
        "INSERT INTO picosnitch_repeated (log, window_number, time) SELECT 1, number, number FROM system.numbers LIMIT 6000",
    );
    equal(&mut random, 20);
    server.administer(server_process::DATABASE, "SYSTEM START MERGES picosnitch_record");
    server.administer(server_process::DATABASE, "OPTIMIZE TABLE picosnitch_record FINAL");
    equal(&mut random, 20);
}

#[test]
fn what_comes_twice_counts_once_on_clickhouse() {
    what_comes_twice_counts_once(System::ClickHouse);
}

#[test]
fn what_comes_twice_counts_once_on_a_current_clickhouse() {
    what_comes_twice_counts_once(System::Chdb);
}

with_each_system! {
    equal_answers
    heartbeats
    hosts_and_branches
    seen_on_hosts
    interruptions
    limits
}
