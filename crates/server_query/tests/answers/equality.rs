//! Random questions, comparisons and charts: the answers of a server are those of the log.

use std::time::{Duration, Instant};

use export::ServerSettings;
use model::{Event, EventKind};
use server_query::ServerReader;
use store::{CompareOrder, Dimension, Query, Range, Source};

use super::{
    log::{Log, Random, SEND_TIMEOUT, edges, question},
    server_process::{DATABASE, ServerProcess, System, with_each_system},
};

/// Questions to each server, and comparisons of two ranges beside them.
const QUESTIONS: u64 = 1000;
const COMPARISONS: u64 = 200;
const CHARTS: u64 = 200;
/// Questions of which is counted how many are answered by sums.
const BY_SUMS: u64 = 300;

/// Adds a number to the connections of all sums.
fn add_to_sums(server: &ServerProcess, number: i64) {
    let add = |sql: &str| server.execute_as("owner", sql).unwrap();
    if !server.system.is_clickhouse() {
        return add(&format!("UPDATE picosnitch_sum SET connections = connections + {number}"));
    }
    let columns = server.texts(
        "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = 'picosnitch_sum'",
    );
    let value = |name: &String| match name.as_str() {
        "connections" => format!("connections + {number}"),
        name => name.to_owned(),
    };
    let values: Vec<String> = columns.iter().map(value).collect();
    add("RENAME TABLE picosnitch_sum TO before");
    add("CREATE TABLE picosnitch_sum AS before");
    add(&format!(
        "INSERT INTO picosnitch_sum ({}) SELECT {} FROM before",
        columns.join(", "),
        values.join(", ")
    ));
    add("DROP TABLE before");
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
    add_to_sums(&server, 1);
    let mut by_sums = 0;
    for number in 0..BY_SUMS {
        let query = question(&mut random, first, last);
        let expected = local.answer(&query).unwrap();
        by_sums += u64::from(remote.answer(&query).unwrap() != expected);
        if number % 10 == 0 {
            assert_eq!(of_records.answer(&query).unwrap(), expected, "question {number}: {query:#?}");
        }
    }
    assert!(by_sums > BY_SUMS / 10, "only {by_sums} questions are answered by sums");
    add_to_sums(&server, -1);
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

/// A ClickHouse knows no duplicates: what was sent twice counts once all the same, before and after it has merged equal rows.
fn what_comes_twice_counts_once(system: System) {
    let server = ServerProcess::start(system);
    let settings = server.settings("owner");
    let mut random = Random(0x0bad_cafe_1234_5678);
    let log = Log::new();
    let first = 1_700_000_000;
    let mut last = log.write(&mut random, first, 20, 10_000);
    log.send(&settings, "one");
    server.administer(DATABASE, "SYSTEM STOP MERGES picosnitch_record");
    server.administer(DATABASE, "SYSTEM STOP MERGES picosnitch_event");
    let count = |sql: &str| server.numbers(&format!("SELECT count(*) FROM {sql}"))[0];
    for round in 0..3 {
        last = log.write(&mut random, last + 10_000, 20, 10_000);
        log.send(&settings, "one");
        // As if the exporter had been killed before it sent the last windows, which come behind their records.
        let unsent = format!("picosnitch_window WHERE window_number > {}", 20 + 20 * round + 5);
        let delete = format!("ALTER TABLE {}", unsent.replace(" WHERE", " DELETE WHERE"));
        server.administer(DATABASE, &delete);
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
        DATABASE,
        "INSERT INTO picosnitch_repeated (log, window_number, time) SELECT 1, number, number FROM system.numbers LIMIT 6000",
    );
    equal(&mut random, 20);
    server.administer(DATABASE, "SYSTEM START MERGES picosnitch_record");
    server.administer(DATABASE, "OPTIMIZE TABLE picosnitch_record FINAL");
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
}
