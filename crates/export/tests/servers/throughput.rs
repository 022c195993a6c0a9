//! How fast records are sent.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use store::Writer;

use super::{
    exporter::Exporter,
    log::{Log, busy_window, on_server},
    server_process::{DATABASE, ServerProcess, System},
};

/// Prints how fast records are sent: `cargo test --release -p export --test servers -- --ignored --nocapture`.
fn measure(system: System) {
    const WINDOWS: i64 = 500;
    const RECORDS: u64 = 1000;
    let server = ServerProcess::start(system);
    let log = Log::new();
    let mut writer = Writer::open(&log.path).unwrap();
    for number in 0..WINDOWS {
        writer.write(&busy_window(log.time + 10 * number, 0, RECORDS)).unwrap();
    }
    let memory = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    };
    drop(writer);
    let before = memory();
    let begin = Instant::now();
    let exporter = Exporter::start(&server.settings("owner"), &log.path, "host");
    exporter.wait_until_sent(&log);
    let (seconds, after) = (begin.elapsed().as_secs_f64(), memory());
    let bytes = match system {
        System::PostgreSql => "SELECT pg_database_size(current_database())",
        System::MariaDb => {
            "SELECT CAST(sum(data_length + index_length) AS SIGNED) FROM information_schema.tables WHERE table_schema = database()"
        }
        System::ClickHouse | System::Chdb => {
            "SELECT sum(bytes_on_disk) FROM system.parts WHERE database = currentDatabase() AND active"
        }
    };
    let (records, bytes) = (log.copied().records, server.numbers(bytes)[0]);
    println!(
        "{system:?}: {records} records in {seconds:.1} s, {:.0} records/s, {:.0} bytes a record on the server; memory {before} MB before, {after} MB after",
        records as f64 / seconds,
        bytes as f64 / records as f64
    );
    assert_eq!(on_server(&server, DATABASE), log.copied());
}

#[test]
#[ignore = "a measurement"]
fn measure_postgresql() {
    measure(System::PostgreSql);
}

#[test]
#[ignore = "a measurement"]
fn measure_mariadb() {
    measure(System::MariaDb);
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

/// Prints how long the recorder takes to write a window while nothing is sent, and while an exporter sends a long backlog.
#[test]
#[ignore = "a measurement"]
fn measure_recording() {
    const BACKLOG: i64 = 1500;
    const WINDOWS: i64 = 100;
    const RECORDS: u64 = 1000;
    let server = ServerProcess::start(System::PostgreSql);
    let log = Log::new();
    let mut writer = Writer::open(&log.path).unwrap();
    let mut number = 0;
    let mut write = |windows: i64| -> Vec<Duration> {
        let time = |_| {
            let window = busy_window(log.time + 10 * number, 0, RECORDS);
            number += 1;
            let begin = Instant::now();
            writer.write(&window).unwrap();
            begin.elapsed()
        };
        (0..windows).map(time).collect()
    };
    write(BACKLOG);
    let mut told = Vec::new();
    for is_sent in [false, true] {
        let exporter = is_sent.then(|| Exporter::start(&server.settings("owner"), &log.path, "host"));
        // It has connected and is in the middle of the backlog.
        thread::sleep(Duration::from_secs(2));
        let mut times = write(WINDOWS);
        times.sort_unstable();
        if let Some(exporter) = exporter {
            assert_ne!(exporter.status().lag_windows, Some(0), "the backlog was too short");
        }
        let [median, most] =
            [50, 95].map(|percent| times[times.len() * percent / 100].as_secs_f64() * 1000.0);
        let what = if is_sent { "beside the exporter" } else { "alone" };
        told.push(format!("{what} {median:.1} ms, 95 % within {most:.1} ms"));
    }
    println!("a window of {RECORDS} records is written {}", told.join("; "));
}
