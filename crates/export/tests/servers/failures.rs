//! Servers, exporters and networks that fail in the middle: nothing is lost or doubled.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use export::ServerSettings;

use super::{
    exporter::{Exporter, TIMEOUT, send_all},
    log::{Log, on_server},
    server_process::{DATABASE, ServerProcess, System, with_each_system},
};

with_each_system! {
    tables_that_were_made_in_part_are_completed
    servers_and_exporters_are_killed_at_any_moment
    a_network_that_falls_silent_holds_nothing_up
}

/// A random number below `end` (xorshift).
fn random(state: &mut u64, end: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state % end
}
/// The server was killed while they were made: the version is what is made last.
fn tables_that_were_made_in_part_are_completed(system: System) {
    let server = ServerProcess::start(system);
    let settings = server.settings("owner");
    let mut log = Log::new();
    log.write(5);
    let part = match system.is_clickhouse() {
        true => {
            "CREATE TABLE picosnitch_schema (version Int64) ENGINE = ReplacingMergeTree() ORDER BY version"
        }
        false => "CREATE TABLE picosnitch_schema (version BIGINT NOT NULL PRIMARY KEY)",
    };
    server.execute_as("owner", part).unwrap();
    send_all(&settings, &log);
    assert_eq!(on_server(&server, DATABASE), log.copied());
}

fn servers_and_exporters_are_killed_at_any_moment(system: System) {
    let mut server = ServerProcess::start(system);
    let settings = server.settings("owner");
    let mut log = Log::new();
    log.write(400);
    let mut state = 0x9e37_79b9_7f4a_7c15;
    for _ in 0..25 {
        log.write(40);
        let exporter = Exporter::start(&settings, &log.path, "host");
        thread::sleep(Duration::from_millis(random(&mut state, 150)));
        drop(exporter);
    }
    for _ in 0..5 {
        log.write(400);
        let exporter = Exporter::start(&settings, &log.path, "host");
        thread::sleep(Duration::from_millis(20 + random(&mut state, 150)));
        server.kill();
        thread::sleep(Duration::from_millis(random(&mut state, 300)));
        server.restart();
        if random(&mut state, 2) == 0 {
            exporter.wait_until_sent(&log);
        }
    }
    send_all(&settings, &log);
    assert_eq!(on_server(&server, DATABASE), log.copied());
    assert_eq!(server.numbers("SELECT count(DISTINCT id) FROM picosnitch_log"), [1]);
    let joined = "SELECT count(*) FROM connections";
    assert_eq!(server.numbers(joined), [log.copied().records], "no text is missing");
}

/// PostgreSQL has no bound of its own; a file system that is full gives an error of the same kind (SQLSTATE 53100).
#[test]
fn a_disk_that_is_full_loses_nothing() {
    let mut server = ServerProcess::start(System::MariaDb);
    server.disk_megabytes = Some(16);
    server.restart();
    let settings = server.settings("owner");
    let mut log = Log::new();
    log.write(5000);
    let exporter = Exporter::start(&settings, &log.path, "host");
    let problem = exporter.wait_for_problem("the disk of the server is full");
    assert!(problem.contains("What is recorded waits in the log"), "{problem}");
    let part = on_server(&server, DATABASE);
    assert!(part.windows > 0 && part.windows < 5000, "{part:?}");
    let [batch] = server.numbers("SELECT max(window_number) FROM picosnitch_window")[..] else { panic!() };
    assert_eq!(part.windows, batch, "no window is left out");
    log.write(10);
    server.disk_megabytes = Some(500);
    server.restart();
    exporter.wait_until_sent(&log);
    assert_eq!(on_server(&server, DATABASE), log.copied());
}

/// What a network does when it has carried all that it carries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// It keeps both connections and carries nothing more.
    Silent,
    /// It breaks both connections, as if the client had died.
    Broken,
}

/// Carries bytes between clients and a server, until so many have gone to the server on a connection, and says so.
fn start_network(to: u16, bytes: usize, cut_as: Cut) -> (u16, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (cut, is_cut) = channel();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut server) = (client.unwrap(), TcpStream::connect(("127.0.0.1", to)).unwrap());
            // Requests and answers go to and fro, and must not wait for each other's acknowledgements.
            [&client, &server].into_iter().for_each(|stream| stream.set_nodelay(true).unwrap());
            let (mut answers, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || io::copy(&mut answers, &mut back));
            let cut = cut.clone();
            thread::spawn(move || {
                let mut left = bytes;
                let mut buffer = [0; 4096];
                while left > 0 {
                    let read = client.read(&mut buffer).unwrap_or(0);
                    if read == 0 {
                        return;
                    }
                    let carried = read.min(left);
                    left -= carried;
                    if server.write_all(&buffer[..carried]).is_err() {
                        return;
                    }
                }
                let _ = cut.send(());
                if cut_as == Cut::Broken {
                    let _ = server.shutdown(Shutdown::Both);
                    let _ = client.shutdown(Shutdown::Both);
                    return;
                }
                thread::sleep(Duration::from_secs(3600));
            });
        }
    });
    (port, is_cut)
}

fn a_network_that_falls_silent_holds_nothing_up(system: System) {
    if system.is_clickhouse() {
        return println!("it has no transactions that could hold something up");
    }
    let server = ServerProcess::start(system);
    // The network ends before, in and between the statements of the transaction; MariaDB gets the same rows in more bytes.
    let points = match system {
        System::PostgreSql => [120_000, 200_000, 280_000, 300_000, 320_000],
        _ => [360_000, 420_000, 480_000, 540_000, 570_000],
    };
    // Each has a database of its own: one that waits for another's transaction would not come to its point.
    let cut_at = |bytes: usize| {
        let database = format!("cut_{bytes}");
        server.create_database(&database);
        let settings = ServerSettings { database: database.clone(), ..server.settings("owner") };
        let mut log = Log::new();
        log.write(3);
        send_all(&settings, &log);
        log.write(300);
        let (port, is_cut) = start_network(server.port, bytes, Cut::Silent);
        let cut = Exporter::start(&ServerSettings { port, ..settings.clone() }, &log.path, "host");
        // It ends if fewer bytes are sent.
        is_cut.recv_timeout(TIMEOUT).unwrap();
        assert_eq!(on_server(&server, &database).windows, 3);
        let begin = Instant::now();
        send_all(&settings, &log);
        let waited = begin.elapsed();
        assert_eq!(on_server(&server, &database), log.copied());
        drop(cut);
        waited
    };
    let cut_at = &cut_at;
    let waited = thread::scope(|scope| {
        points.map(|bytes| scope.spawn(move || cut_at(bytes))).map(|point| point.join().unwrap())
    });
    assert!(
        waited.iter().any(|waited| *waited > Duration::from_secs(5)),
        "no connection was cut in its transaction: {waited:?}"
    );
}

/// A ClickHouse takes of a statement what has come, if that ends with a row: parts of batches stay.
#[test]
fn connections_to_clickhouse_break_at_any_byte() {
    let server = ServerProcess::start(System::ClickHouse);
    let settings = server.settings("owner");
    let mut log = Log::new();
    let mut state = 0x2545_f491_4f6c_dd1d;
    let mut breaks = 0;
    for _ in 0..25 {
        log.write(12);
        let bytes = 8_000 + random(&mut state, 120_000) as usize;
        let (port, is_cut) = start_network(server.port, bytes, Cut::Broken);
        let exporter = Exporter::start(&ServerSettings { port, ..settings.clone() }, &log.path, "host");
        breaks += i32::from(is_cut.recv_timeout(Duration::from_secs(3)).is_ok());
        drop(exporter);
    }
    send_all(&settings, &log);
    assert_eq!(on_server(&server, DATABASE), log.copied());
    assert_eq!(server.numbers("SELECT count(*) FROM connections"), [log.copied().records]);
    let [rows, sessions] = server.numbers("SELECT count(*), uniqExact(session) FROM picosnitch_record")[..]
    else {
        panic!()
    };
    println!("{breaks} breaks, {rows} rows of {} records from {sessions} sessions", log.copied().records);
    assert!(breaks > 5 && sessions > 3, "{breaks} breaks, {sessions} sessions");
}
