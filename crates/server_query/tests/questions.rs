//! How long a ClickHouse takes for the questions of people: a measurement.
//! `cargo test --release -p server_query --test questions -- --ignored --nocapture`, with PICOSNITCH_MILLIONS=50 for other sizes than 10.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../../export/tests/server_process/mod.rs"]
#[allow(dead_code, unused_imports, unused_macros, reason = "not all of it is needed here")]
mod server_process;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use calendar::TimeZone;
use export::SumKind;
use model::{Counters, FlowTuple, GeoInfo, ProcessContext, Program, Record, Sha256, Window};
use server_process::{DATABASE, ServerProcess, System};
use server_query::ServerReader;
use store::{Dimension, Filter, Query, Range, Source, Writer};

/// The beginning of a week of sums.
const FIRST: i64 = 2794 * 604_800;
const DAY: i64 = 86_400;
/// Four weeks, so that sums of weeks stay what they are when they are shifted by it.
const MONTH: i64 = 28 * DAY;
const WINDOWS: i64 = 500;
/// Windows of the last days, of which there are no sums yet.
const BEHIND: i64 = 60;
const RECORDS: i64 = 200;

/// A record of one of 60 programs; one peer in four is new.
fn record(window: i64, number: i64) -> Record {
    let program = number % 60;
    let peer = if number % 4 == 0 { window * RECORDS + number } else { number };
    let path = format!("/usr/bin/program-{program}").into_bytes();
    let octets = [10, (peer >> 16) as u8, (peer >> 8) as u8, peer as u8];
    Record {
        context: Arc::new(ProcessContext {
            program: Program {
                name: path[9..].to_vec(),
                command_line: [&path[..], b"\0--window\0", (window % 20).to_string().as_bytes()].concat(),
                sha256: Some(Sha256([program as u8; 32])),
                path,
            },
            parent: Program { path: b"/bin/bash".to_vec(), name: b"bash".to_vec(), ..Program::default() },
            uid: 1000,
            ..ProcessContext::default()
        }),
        geo: GeoInfo {
            country: "NL".into(),
            network_number: 64496 + peer as u32 % 50,
            network: "Example".into(),
        },
        tuple: FlowTuple {
            family: 2,
            protocol: 6,
            local_address: Some(std::net::IpAddr::from([192, 0, 2, 1]).into()),
            remote_address: Some(std::net::IpAddr::from(octets).into()),
            local_port: 20_000 + (window * 7 + number) % 30_000,
            remote_port: if number % 5 == 0 { 80 } else { 443 },
            domain: format!("host-{}.example.org", peer % 5000).into_bytes(),
            ..FlowTuple::default()
        },
        counters: Counters {
            connections: 1,
            sent: (number * 977) as u64,
            received: (window * 31 + number) as u64,
        },
        opened: true,
        folded: 0,
    }
}

/// Four weeks of one host, and a window behind them, without which those are not over.
fn write(path: &Path) {
    let mut writer = Writer::open(path).unwrap();
    for window in 0..=WINDOWS {
        let time = FIRST + window * MONTH / WINDOWS;
        let records = (0..RECORDS).map(|number| record(window, number)).collect();
        writer.write(&Window { time, records, ..Window::default() }).unwrap();
    }
    writer.checkpoint().unwrap();
}

/// Sends the log, until there are the sums of the four weeks.
fn send(server: &ServerProcess, log: &Path) {
    let claimed = "SELECT count() FROM picosnitch_sum_claim WHERE last_window = 500";
    let settings = server.settings("owner");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::select! {
            never = export::run(&settings, log.to_owned(), "host", |_| {}) => match never {},
            () = async {
                let has_tables = "SELECT count() FROM system.tables WHERE name = 'picosnitch_schema'";
                // In a thread of its own, since it waits with a runtime of its own.
                let ask = |sql| std::thread::scope(|scope| scope.spawn(|| server.numbers(sql)[0]).join().unwrap());
                while ask(has_tables) == 0 || ask(claimed) < SumKind::ALL.len() as i64 {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            } => {}
        }
    });
    for table in ["picosnitch_record", "picosnitch_window"] {
        server.administer(DATABASE, &format!("ALTER TABLE {table} DELETE WHERE window_number > {WINDOWS}"));
    }
    while server.numbers("SELECT max(window_number) FROM picosnitch_record") != [WINDOWS]
        || server.numbers("SELECT max(window_number) FROM picosnitch_window") != [WINDOWS]
    {
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Makes of what is there as much again: other months of the same hosts, or other hosts.
fn double(server: &ServerProcess, number: usize) {
    let (shift, offset) = match number {
        0..3 => (MONTH << number, 0),
        _ => (0, 1 << number),
    };
    let windows = if offset == 0 { WINDOWS << number } else { 0 };
    let tables = ["picosnitch_record", "picosnitch_window", "picosnitch_sum", "picosnitch_sum_claim"];
    repeat(server, &tables, [offset, windows, shift], "1 = 1");
    if offset > 0 {
        server.administer(
            DATABASE,
            &format!(
                "INSERT INTO picosnitch_log SELECT id + {offset}, uuid, epoch, concat(host, '-{offset}'), parent, parent_window, began \
                 FROM picosnitch_log"
            ),
        );
    }
}

/// Adds what tables have once more, with other logs, windows and times.
fn repeat(server: &ServerProcess, tables: &[&str], [offset, windows, shift]: [i64; 3], condition: &str) {
    for table in tables {
        let columns = server.texts(&format!(
            "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = '{table}'"
        ));
        let value = |name: &String| match name.as_str() {
            "log" => format!("log + {offset}"),
            "window_number" | "first_window" | "last_window" => format!("{name} + {windows}"),
            "time" | "start" | "first_time" | "last_time" => format!("{name} + {shift}"),
            // Each claim has its own.
            "attempt" => format!("attempt + {}", 1 + offset + windows),
            name => name.to_owned(),
        };
        let values: Vec<String> = columns.iter().map(value).collect();
        server.administer(
            DATABASE,
            &format!(
                "INSERT INTO {table} ({}) SELECT {} FROM {table} WHERE {condition}",
                columns.join(", "),
                values.join(", ")
            ),
        );
    }
}

/// What people ask of a range.
fn questions(range: Range) -> Vec<(&'static str, Query)> {
    let by = |dimensions: &[Dimension]| Query {
        range,
        group_by: dimensions.to_vec(),
        limit: Some(20),
        ..Query::default()
    };
    let only = |query: Query, dimension, value: &[u8]| Query {
        filters: Filter::parse(dimension, value, false, &TimeZone::UTC).unwrap(),
        ..query
    };
    vec![
        ("total", by(&[])),
        ("by host", by(&[Dimension::Host])),
        ("by program", by(&[Dimension::Executable])),
        ("by domain", by(&[Dimension::Domain])),
        ("by address", by(&[Dimension::Address])),
        ("by country", by(&[Dimension::Country])),
        ("by day", by(&[Dimension::Day])),
        ("by hour of a program", only(by(&[Dimension::Hour]), Dimension::Executable, b"/usr/bin/program-7")),
        (
            "domains of a program",
            only(by(&[Dimension::Domain]), Dimension::Executable, b"/usr/bin/program-7"),
        ),
        ("programs of a host", only(by(&[Dimension::Executable]), Dimension::Host, b"host")),
        (
            "programs by a pattern of domains",
            only(by(&[Dimension::Executable]), Dimension::Domain, b"*-77.example.org"),
        ),
        ("hosts of a domain", only(by(&[Dimension::Host]), Dimension::Domain, b"host-77.example.org")),
    ]
}

fn measure(system: System) {
    let millions: i64 = std::env::var("PICOSNITCH_MILLIONS").map_or(10, |number| number.parse().unwrap());
    let server = ServerProcess::start(system);
    let settings = server.settings("owner");
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("snitch.db");
    write(&log);
    send(&server, &log);
    let mut doublings = 0;
    let mut records = WINDOWS * RECORDS;
    while records < millions * 1_000_000 {
        double(&server, doublings);
        doublings += 1;
        records *= 2;
    }
    repeat(
        &server,
        &["picosnitch_record", "picosnitch_window"],
        [0, WINDOWS << doublings.min(3), MONTH << doublings.min(3)],
        &format!("window_number <= {BEHIND}"),
    );
    let count = server.numbers("SELECT count(*) FROM picosnitch_record")[0];
    let records = records + (records >> doublings.min(3)) * BEHIND / WINDOWS;
    assert!(count > records - records / 10 && count <= records, "{count} of {records}");
    let [bytes, sum_bytes, sums] = server.numbers(
        "SELECT sum(bytes_on_disk), sumIf(bytes_on_disk, table = 'picosnitch_sum'), sumIf(rows, table = 'picosnitch_sum') \
         FROM system.parts WHERE database = currentDatabase() AND active",
    )[..] else {
        panic!()
    };
    println!(
        "{system:?}: {count} records, {sums} sums; {} MB on disk, {} MB of them sums",
        bytes / 1_000_000,
        sum_bytes / 1_000_000
    );
    let reader = ServerReader::connect(settings).unwrap();
    let (_, last) = reader.extent().unwrap().unwrap();
    for (name, days) in [("a day", 1), ("a week", 7), ("30 days", 30), ("all", 400)] {
        let mut times: Vec<(Duration, &str)> = Vec::new();
        for _ in 0..3 {
            for (question, query) in questions(Range { since: Some(last - days * DAY), until: Some(last) }) {
                let begin = Instant::now();
                let answer = reader.answer(&query).unwrap();
                assert!(
                    !answer.rows.is_empty() || question == "programs by a pattern of domains",
                    "{question}"
                );
                times.push((begin.elapsed(), question));
            }
        }
        times.sort();
        let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
        println!("{name}: median {:?}, p95 {:?}, longest {:?}", at(50).0, at(95).0, at(100));
        let mut by_question: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
        times.iter().for_each(|(time, question)| by_question.entry(question).or_default().push(*time));
        for (question, times) in by_question {
            println!("    {question}: {:?}", times[1]);
        }
    }
}

#[test]
#[ignore = "a measurement"]
fn measure_clickhouse() {
    measure(System::ClickHouse);
}

#[test]
#[ignore = "a measurement"]
fn measure_current_clickhouse() {
    measure(System::Chdb);
}
