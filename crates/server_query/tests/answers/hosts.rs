//! Several hosts and branches on one server.

use std::sync::Arc;

use model::{Counters, Event, EventKind, LossKind, Sha256, Window};
use server_query::ServerReader;
use store::{Dimension, Filter, Find, Query, Range, Row, SeenFilter, Sort, Source, Value, Writer};

use super::{
    log::{Log, Random, record, typed},
    server_process::{ServerProcess, System, with_each_system},
};

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

with_each_system! {
    heartbeats
    hosts_and_branches
    seen_on_hosts
}
