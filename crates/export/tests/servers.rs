//! Copies of logs on real servers, whatever happens to either.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod server_process;

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

use config::TlsMode;
use export::{ClientCertificate, ServerSettings, SinkNews, SinkStatus, Unsent, grant_sql, run, schema_sql};
use model::{
    Address, CgroupInfo, Counters, DomainSource, Event, EventKind, FlowTuple, GeoInfo, ProcessContext,
    Program, Record, Sha256, Window, text::lossless,
};
use server_process::{DATABASE, PASSWORD, ServerCertificate, ServerProcess, System};
use store::{ImportSource, ImportWindow, WindowReader, Writer};
use tempfile::TempDir;

/// Longest wait for anything on a slow, busy machine.
const TIMEOUT: Duration = Duration::from_secs(180);

/// A log, in a directory of its own.
struct Log {
    _directory: TempDir,
    path: PathBuf,
    time: i64,
}

impl Log {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("snitch.db");
        drop(Writer::open(&path).unwrap());
        Self { _directory: directory, path, time: 1_700_000_000 }
    }

    /// A copy of the log as another machine or an administrator makes one.
    fn copy(&self) -> Self {
        Writer::open(&self.path).unwrap().checkpoint().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("snitch.db");
        fs::copy(&self.path, &path).unwrap();
        Self { _directory: directory, path, time: self.time }
    }

    /// Puts another log at the place of this one.
    fn replace_by(&self, other: &Self) {
        for suffix in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{suffix}", self.path.display()));
        }
        fs::copy(&other.path, &self.path).unwrap();
    }

    fn write(&mut self, windows: i64) {
        let mut writer = Writer::open(&self.path).unwrap();
        for _ in 0..windows {
            self.time += 10;
            writer.write(&window(self.time, 1 + self.time as u64 / 10 % 7)).unwrap();
        }
    }

    fn copied(&self) -> Copied {
        let reader = WindowReader::open(&self.path).unwrap();
        let mut copied = Copied::default();
        let mut last = 0;
        loop {
            let windows = reader.after(last, 1000).unwrap();
            let Some(end) = windows.last() else { return copied };
            last = end.mark.number;
            for window in windows {
                copied.windows += 1;
                copied.records += window.records.len() as i64;
                copied.events += window.events.len() as i64;
                for record in &window.records {
                    copied.sent += record.record.counters.sent as i64;
                    copied.received += record.record.counters.received as i64;
                }
            }
        }
    }
}

/// Counts and sums of a log or of its copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Copied {
    windows: i64,
    records: i64,
    events: i64,
    sent: i64,
    received: i64,
}

impl std::ops::Add for Copied {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            windows: self.windows + other.windows,
            records: self.records + other.records,
            events: self.events + other.events,
            sent: self.sent + other.sent,
            received: self.received + other.received,
        }
    }
}

/// All that a server has in a database.
fn on_server(server: &ServerProcess, database: &str) -> Copied {
    let sql = "SELECT (SELECT count(*) FROM picosnitch_window), (SELECT count(*) FROM picosnitch_record), \
               (SELECT count(*) FROM picosnitch_event), (SELECT coalesce(sum(sent), 0) FROM picosnitch_record), \
               (SELECT coalesce(sum(received), 0) FROM picosnitch_record)";
    let numbers = server.numbers_in(database, sql);
    let [windows, records, events, sent, received] = numbers[..] else { panic!("{numbers:?}") };
    Copied { windows, records, events, sent, received }
}

fn window(time: i64, records: u64) -> Window {
    let records = (0..records).map(|number| {
        let program = Program {
            path: format!("/usr/bin/program-{}", number % 3).into_bytes(),
            name: b"program".to_vec(),
            command_line: format!("program\0{time}").into_bytes(),
            sha256: Some(Sha256([number as u8; 32])),
        };
        let tuple = FlowTuple {
            family: 2,
            protocol: 6,
            local_address: Some([192, 0, 2, 1].into_address()),
            remote_address: Some([198, 51, 100, number as u8].into_address()),
            local_port: 50_000,
            remote_port: 443,
            domain: b"example.org".to_vec(),
            domain_source: DomainSource::Tls,
        };
        Record {
            context: Arc::new(ProcessContext { program, uid: 1000, ..ProcessContext::default() }),
            geo: GeoInfo { country: "NL".into(), network_number: 64496, network: "Example".into() },
            tuple,
            counters: Counters { connections: 1, sent: time as u64 % 1000 + number, received: number },
            opened: true,
            folded: 0,
        }
    });
    Window {
        time,
        uptime: time - 1_600_000_000,
        records: records.collect(),
        events: vec![Event::new(EventKind::Alert, time, format!("An alert at {time}."))],
        ..Window::default()
    }
}

trait IntoAddress {
    fn into_address(self) -> Address;
}

impl IntoAddress for [u8; 4] {
    fn into_address(self) -> Address {
        std::net::IpAddr::from(self).into()
    }
}

/// An exporter in a thread; it ends in the middle of whatever it does when this is dropped, as a process that is killed.
struct Exporter {
    news: Arc<Mutex<Vec<SinkNews>>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Exporter {
    fn start(settings: &ServerSettings, log: &Path, host: &str) -> Self {
        let (settings, log, host) = (settings.clone(), log.to_owned(), host.to_owned());
        let news = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let told = Arc::clone(&news);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let report = |news| told.lock().unwrap().push(news);
                tokio::select! {
                    never = run(&settings, log, &host, report) => match never {},
                    _ = stopped => {}
                }
            });
        });
        Self { news, stop: Some(stop), thread: Some(thread) }
    }

    fn news(&self) -> Vec<SinkNews> {
        self.news.lock().unwrap().clone()
    }

    fn status(&self) -> SinkStatus {
        let news = self.news();
        let status = news.into_iter().rev().find_map(|news| match news {
            SinkNews::Status(status) => Some(status),
            _ => None,
        });
        status.unwrap_or_default()
    }

    fn problems(&self) -> Vec<String> {
        let problem = |news| match news {
            SinkNews::Problem(text) => Some(text),
            _ => None,
        };
        self.news().into_iter().filter_map(problem).collect()
    }

    /// Waits until all windows of the log are sent.
    fn wait_until_sent(&self, log: &Log) {
        let last = WindowReader::open(&log.path).unwrap().state().unwrap().last_window;
        wait_until(&format!("window {last} is sent"), || {
            let status = self.status();
            let is_sent = status.is_connected && status.last_window == last && status.lag_windows == Some(0);
            is_sent.then_some(()).ok_or_else(|| format!("{:?}", self.news()))
        });
    }

    /// Waits for a problem with this text in it.
    fn wait_for_problem(&self, text: &str) -> String {
        wait_until(text, || {
            let problems = self.problems();
            problems.iter().find(|problem| problem.contains(text)).cloned().ok_or(format!("{problems:?}"))
        })
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn wait_until<T>(what: &str, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match condition() {
            Ok(value) => return value,
            Err(state) => assert!(Instant::now() < deadline, "waited in vain: {what}; {state}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Sends all windows of a log with an exporter of its own.
fn send_all(settings: &ServerSettings, log: &Log) {
    Exporter::start(settings, &log.path, "host").wait_until_sent(log);
}

/// A random number below `end` (xorshift).
fn random(state: &mut u64, end: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state % end
}

/// Runs a test with each database system.
macro_rules! with_each_system {
    ($($test:ident)*) => {
        mod postgresql {
            $(#[test] fn $test() { super::$test(super::System::PostgreSql) })*
        }
        mod mariadb {
            $(#[test] fn $test() { super::$test(super::System::MariaDb) })*
        }
    };
}

with_each_system! {
    every_record_is_there_once_with_all_its_values
    nothing_but_insert_and_select_is_needed
    tables_that_were_made_in_part_are_completed
    servers_and_exporters_are_killed_at_any_moment
    a_network_that_falls_silent_holds_nothing_up
    copies_of_a_log_share_their_past_only
    what_retention_deleted_is_told
    what_is_wrong_is_said_and_others_go_on
    certificates_are_checked
    an_account_is_known_by_its_certificate
}

fn every_record_is_there_once_with_all_its_values(system: System) {
    let server = ServerProcess::start(system);
    let settings = server.settings("owner");
    let mut log = Log::new();
    let path = b"/opt/\xff\0\\x41 \xf0\x9f\xa6\x80'\"".to_vec();
    let mut odd = window(log.time, 2);
    let program = Program {
        path: path.clone(),
        name: b"caf\xc3\xa9".to_vec(),
        command_line: [&b"tool\0a b\0"[..], &vec![b'x'; 100_000]].concat(),
        sha256: None,
    };
    odd.records[0].context = Arc::new(ProcessContext {
        program,
        parent: Program { path: b"/bin/sh".to_vec(), ..Program::default() },
        uid: 4_294_967_294,
        network_namespace: 4_026_531_840,
        cgroup: CgroupInfo { unit: b"u.service".to_vec(), ..CgroupInfo::default() },
        ..ProcessContext::default()
    });
    odd.records[0].counters = Counters { connections: 3, sent: 1 << 52, received: 5_000_000_000 };
    odd.records[0].tuple.local_port = 4_294_967_294;
    odd.records[0].tuple.remote_address = Some("2001:db8::1".parse().unwrap());
    odd.records[1].tuple.remote_address = Some(Address::Many);
    odd.records[1].folded = 1 << 40;
    odd.events[0].path = path.clone();
    odd.events[0].text = "An odd\0 event".into();
    Writer::open(&log.path).unwrap().write(&odd).unwrap();
    log.write(300);
    send_all(&settings, &log);
    assert_eq!(on_server(&server, DATABASE), log.copied());
    // Others see what it was; a second exporter sends nothing.
    let exporter = Exporter::start(&settings, &log.path, "host");
    exporter.wait_until_sent(&log);
    assert_eq!(exporter.status().sent_windows, 0);
    log.write(3);
    exporter.wait_until_sent(&log);
    let status = exporter.status();
    assert_eq!((status.sent_windows, status.problem, status.lacks_since), (3, None, None));
    assert_eq!(on_server(&server, DATABASE), log.copied());
    assert_eq!(exporter.problems(), [""; 0]);

    let shown = server.texts("SELECT executable FROM connections WHERE window_number = 1 AND sequence = 0");
    assert_eq!(lossless::from_text(&shown[0]), path);
    assert_eq!(server.texts("SELECT path FROM picosnitch_event WHERE window_number = 1"), shown);
    let numbers = "SELECT conns, sent, received, uid, netns, lport FROM connections WHERE window_number = 1 AND sequence = 0";
    let expected = [3, 1 << 52, 5_000_000_000, 4_294_967_294, 4_026_531_840, 4_294_967_294];
    assert_eq!(server.numbers(numbers), expected);
    let line =
        server.texts("SELECT cmdline FROM connections WHERE window_number = 1 AND sequence = 0").remove(0);
    assert!(line.starts_with("tool 'a b' xxx") && line.len() > 100_000, "{}", line.len());
    let text = |column: &str, sequence| {
        let sql =
            format!("SELECT {column} FROM connections WHERE window_number = 1 AND sequence = {sequence}");
        server.texts(&sql).remove(0)
    };
    assert_eq!((text("ip", 0), text("ip", 1)), ("2001:db8::1".into(), "many".into()));
    assert_eq!(
        (text("parent_exe", 0), text("sha256", 0), text("host", 0)),
        ("/bin/sh".into(), "".into(), "host".into())
    );
    assert_eq!((text("sha256", 1), text("country", 1)), ("01".repeat(32), "NL".into()));
    assert_eq!(server.numbers("SELECT count(*) FROM connections"), [log.copied().records]);
    // Texts are there once.
    assert_eq!(server.numbers("SELECT count(*) FROM picosnitch_endpoint"), [9]);
}

fn nothing_but_insert_and_select_is_needed(system: System) {
    let server = ServerProcess::start(system);
    let mut log = Log::new();
    log.write(20);
    let mut settings = server.settings("agent");
    if system == System::MariaDb {
        // Without any right an account does not even get to the database.
        server.administer("mysql", &format!("GRANT SELECT ON {DATABASE}.* TO 'agent'@'%'"));
    }
    let exporter = Exporter::start(&settings, &log.path, "host");
    exporter.wait_for_problem("export-sql log.server");
    if system == System::MariaDb {
        server.administer("mysql", &format!("REVOKE SELECT ON {DATABASE}.* FROM 'agent'@'%'"));
    }
    // What the command prints is what an administrator needs.
    for statement in schema_sql(&settings).iter() {
        server.execute_as("owner", statement).unwrap();
    }
    for statement in grant_sql(&settings) {
        server.administer(DATABASE, &statement);
    }
    exporter.wait_until_sent(&log);
    assert_eq!(on_server(&server, DATABASE), log.copied());
    for table in ["record", "window", "event", "log", "program", "context", "endpoint", "schema"] {
        let column = if table == "schema" {
            "version"
        } else if table == "log" {
            "id"
        } else {
            "0"
        };
        for statement in [
            format!("DELETE FROM picosnitch_{table}"),
            format!("DROP TABLE picosnitch_{table}"),
            format!("UPDATE picosnitch_{table} SET {} = {column}", first_column(table)),
            format!("ALTER TABLE picosnitch_{table} ADD COLUMN more BIGINT"),
        ] {
            assert!(server.execute_as("agent", &statement).is_err(), "{statement}");
        }
    }
    // A part of the rights: what is missing is said.
    let revoke = match system {
        System::PostgreSql => "REVOKE INSERT ON picosnitch_event FROM agent".to_owned(),
        System::MariaDb => format!("REVOKE INSERT ON {DATABASE}.picosnitch_event FROM 'agent'@'%'"),
    };
    server.administer(DATABASE, &revoke);
    log.write(5);
    let problem = exporter.wait_for_problem("cannot send events");
    assert!(problem.contains("the account lacks rights"), "{problem}");
    assert_eq!(
        server.numbers("SELECT count(*) FROM picosnitch_window"),
        [20],
        "a batch is whole or not there"
    );
    server.administer(DATABASE, &grant_sql(&settings).join(";"));
    exporter.wait_until_sent(&log);
    assert_eq!(on_server(&server, DATABASE), log.copied());
    // Old tables do not need the view.
    settings.view = "other".into();
    let exporter = Exporter::start(&settings, &log.path, "host");
    exporter.wait_for_problem("cannot make the view");
    log.write(1);
    exporter.wait_until_sent(&log);
    assert_eq!(on_server(&server, DATABASE), log.copied());
}

fn first_column(table: &str) -> &'static str {
    match table {
        "record" | "window" | "event" => "log",
        "log" => "id",
        "schema" => "version",
        _ => "digest",
    }
}

/// The server was killed while they were made: the version is what is made last.
fn tables_that_were_made_in_part_are_completed(system: System) {
    let server = ServerProcess::start(system);
    let settings = server.settings("owner");
    let mut log = Log::new();
    log.write(5);
    let part = "CREATE TABLE picosnitch_schema (version BIGINT NOT NULL PRIMARY KEY)";
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
    assert_eq!(server.numbers("SELECT count(*) FROM picosnitch_log"), [1]);
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

/// Carries bytes between clients and a server, until so many have gone to the server: then it keeps both connections and carries
/// nothing more, as a network that is cut, and says so.
fn start_network(to: u16, bytes: usize) -> (u16, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (cut, is_cut) = channel();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut server) = (client.unwrap(), TcpStream::connect(("127.0.0.1", to)).unwrap());
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
                    server.write_all(&buffer[..carried]).unwrap();
                }
                let _ = cut.send(());
                thread::sleep(Duration::from_secs(3600));
            });
        }
    });
    (port, is_cut)
}

fn a_network_that_falls_silent_holds_nothing_up(system: System) {
    let server = ServerProcess::start(system);
    // The network ends before, in and between the statements of the transaction; MariaDB gets the same rows in more bytes.
    let points = match system {
        System::PostgreSql => [120_000, 200_000, 280_000, 300_000, 320_000],
        System::MariaDb => [360_000, 420_000, 480_000, 540_000, 570_000],
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
        let (port, is_cut) = start_network(server.port, bytes);
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

fn copies_of_a_log_share_their_past_only(system: System) {
    let server = ServerProcess::start(system);
    let settings = server.settings("owner");
    let mut log = Log::new();
    log.write(50);
    let older = log.copy();
    let mut expected = log.copied();
    log.write(30);
    send_all(&settings, &log);
    // An older copy takes the place of the log: its epoch is a new one, and its past is not sent again.
    log.replace_by(&older);
    log.write(20);
    let epoch = WindowReader::open(&log.path).unwrap().state().unwrap().name.epoch;
    assert_eq!(epoch, 2);
    let lost = Copied { windows: 30, ..Copied::default() }.windows;
    send_all(&settings, &log);
    let there = on_server(&server, DATABASE);
    assert_eq!(there.windows, log.copied().windows + lost);
    expected = Copied { windows: there.windows, ..expected };
    assert_eq!(server.numbers("SELECT max(parent_window) FROM picosnitch_log"), [50]);

    // Two clones of a machine, with one name, at the same time; the exporter of one was there first.
    let mut clone = log.copy();
    let mut third = clone.copy();
    let mut exporters = Vec::new();
    for log in [&log, &clone, &third] {
        exporters.push(Exporter::start(&settings, &log.path, "host"));
    }
    let shared = log.copied();
    for _ in 0..5 {
        for log in [&mut log, &mut clone, &mut third] {
            log.write(7);
        }
    }
    for (exporter, log) in exporters.iter().zip([&log, &clone, &third]) {
        exporter.wait_until_sent(log);
    }
    let own = |log: &Log| log.copied().windows - shared.windows;
    expected.windows += own(&log) + own(&clone) + own(&third);
    assert_eq!(on_server(&server, DATABASE).windows, expected.windows);
    assert_eq!(own(&log), 35);
    // They find their own branch again.
    drop(exporters);
    clone.write(3);
    for log in [&clone, &third, &log] {
        send_all(&settings, log);
    }
    expected.windows += 3;
    assert_eq!(on_server(&server, DATABASE).windows, expected.windows);
    // Each branch, with its past, is the whole log of its machine.
    let sums = "SELECT id, coalesce(parent, 0), parent_window FROM picosnitch_log ORDER BY 1";
    let branches: Vec<i64> = server.numbers(&format!("SELECT count(*) FROM ({sums}) AS branches"));
    assert_eq!(branches, [4], "the log, its older copy, and one each for the other two clones");

    let lengths = lengths_with_past(&server);
    for log in [&log, &clone, &third] {
        assert!(lengths.contains(&log.copied().windows), "{lengths:?}");
    }
    assert!(lengths.contains(&80), "the log that the older copy replaced: {lengths:?}");

    // A machine that gets another name is told apart from then on, and sends nothing again.
    let renamed = Exporter::start(&settings, &log.path, "renamed");
    log.write(4);
    renamed.wait_until_sent(&log);
    assert_eq!(renamed.status().sent_windows, 4);
    drop(renamed);
    expected.windows += 4;
    assert!(server.numbers("SELECT count(*) FROM connections WHERE host = 'renamed'")[0] > 0);

    // Another machine of the same name; and history that is imported late, whose times are old.
    let mut other = Log::new();
    other.write(10);
    send_all(&settings, &other);
    let old = ImportWindow { time: 1_500_000_000, records: window(1_500_000_000, 5).records };
    Writer::open(&other.path).unwrap().write_import(&[old], &mut ImportSource::new(0), None).unwrap();
    send_all(&settings, &other);
    expected.windows += 11;
    assert_eq!(on_server(&server, DATABASE).windows, expected.windows);
    assert_eq!(server.numbers("SELECT count(*) FROM connections WHERE time = 1500000000"), [5]);

    // Without its past, only the last window and what follows.
    let mut recent = Log::new();
    recent.write(10);
    let settings = ServerSettings { backfill: false, ..settings };
    let exporter = Exporter::start(&settings, &recent.path, "recent");
    exporter.wait_until_sent(&recent);
    recent.write(2);
    exporter.wait_until_sent(&recent);
    drop(exporter);
    recent.write(2);
    Exporter::start(&settings, &recent.path, "recent").wait_until_sent(&recent);
    expected.windows += 5;
    assert_eq!(on_server(&server, DATABASE).windows, expected.windows);
}

/// The number of windows of each branch with its past, by the question of docs/export.md.
fn lengths_with_past(server: &ServerProcess) -> Vec<i64> {
    let text = include_str!("../../../docs/export.md");
    let question = text.split("```sql\n").find(|part| part.starts_with("WITH RECURSIVE")).unwrap();
    let question = question.split("```").next().unwrap().replace("SELECT w.*", "SELECT count(*)");
    let (question, _) = question.split_once(" ORDER BY").unwrap();
    let ids = server.texts("SELECT CAST(id AS CHAR(20)) FROM picosnitch_log");
    let length = |id: &String| server.numbers(&question.replace("4711", id.trim()))[0];
    ids.iter().map(length).collect()
}

fn what_retention_deleted_is_told(system: System) {
    let server = ServerProcess::start(system);
    let settings = server.settings("owner");
    let mut log = Log::new();
    log.write(20);
    // What was deleted before the first connection does not count.
    Writer::open(&log.path).unwrap().purge(1_700_000_000 + 55).unwrap();
    send_all(&settings, &log);
    assert_eq!(server.numbers("SELECT count(*), min(window_number) FROM picosnitch_window"), [15, 6]);
    log.write(30);
    // Those up to 40 are deleted, and the last one that was sent with them.
    Writer::open(&log.path).unwrap().purge(1_700_000_000 + 401).unwrap();
    log.write(5);
    let exporter = Exporter::start(&settings, &log.path, "host");
    exporter.wait_until_sent(&log);
    let deleted: Vec<(String, Unsent)> = exporter
        .news()
        .into_iter()
        .filter_map(|news| match news {
            SinkNews::Deleted(text, unsent) => Some((text, unsent)),
            _ => None,
        })
        .collect();
    let [(text, unsent)] = &deleted[..] else { panic!("{deleted:?}") };
    assert_eq!(*unsent, Unsent { windows: 20, records: 0 });
    assert!(text.contains("20 windows"), "{text}");
    assert_eq!(exporter.status().unsent, *unsent);
    assert_eq!(server.numbers("SELECT count(*) FROM picosnitch_window"), [15 + 15]);
    assert_eq!(server.numbers("SELECT count(*) FROM picosnitch_log"), [1], "it goes on where it was");
}

fn what_is_wrong_is_said_and_others_go_on(system: System) {
    let server = ServerProcess::start(system);
    let settings = server.settings("owner");
    let mut log = Log::new();
    log.write(5);
    let wrong = |change: &dyn Fn(&mut ServerSettings)| {
        let mut settings = settings.clone();
        change(&mut settings);
        Exporter::start(&settings, &log.path, "host")
    };
    let password = wrong(&|settings| settings.password = "wrong".into()).wait_for_problem("password");
    assert!(password.contains("is the user or the password wrong"), "{password}");
    assert!(
        !password.contains(PASSWORD) && password.contains(&format!("127.0.0.1:{}", server.port)),
        "{password}"
    );
    wrong(&|settings| settings.user = "nobody-there".into())
        .wait_for_problem("is the user or the password wrong");
    if system == System::PostgreSql {
        wrong(&|settings| settings.database = "nowhere".into()).wait_for_problem("create the database first");
    }
    wrong(&|settings| settings.port = 1).wait_for_problem("nothing listens there");
    wrong(&|settings| settings.host = "name.invalid".into()).wait_for_problem("cannot connect");
    wrong(&|settings| settings.tls = TlsMode::Require).wait_for_problem("TLS");
    // A table that was altered by hand: precise, and the copy in another database goes on.
    server.create_database("other");
    let other = ServerSettings { database: "other".into(), ..settings.clone() };
    send_all(&settings, &log);
    let altered = match system {
        System::PostgreSql => {
            "DROP VIEW connections; ALTER TABLE picosnitch_record ALTER COLUMN sent TYPE integer; ALTER TABLE \
                               picosnitch_event DROP COLUMN message; ALTER TABLE picosnitch_window DROP CONSTRAINT picosnitch_window_pkey"
        }
        System::MariaDb => {
            "ALTER TABLE picosnitch_record MODIFY sent INT; ALTER TABLE picosnitch_event DROP COLUMN message; ALTER \
                            TABLE picosnitch_window DROP PRIMARY KEY"
        }
    };
    server.execute_as("owner", altered).unwrap();
    let [broken, fine] = [&settings, &other].map(|settings| Exporter::start(settings, &log.path, "host"));
    let problem = broken.wait_for_problem("not as picosnitch made them");
    for what in [
        "picosnitch_record.sent is int",
        "and must be bigint",
        "picosnitch_event.message is missing",
        "primary key of picosnitch_window must be (log, window_number)",
    ] {
        assert!(problem.contains(what), "{problem}");
    }
    log.write(5);
    fine.wait_until_sent(&log);
    assert_eq!(on_server(&server, "other"), log.copied());
    let repaired = match system {
        System::PostgreSql => {
            "DROP VIEW connections; ALTER TABLE picosnitch_record ALTER COLUMN sent TYPE bigint; ALTER TABLE picosnitch_event ADD COLUMN \
                               message text NOT NULL DEFAULT ''; ALTER TABLE picosnitch_window ADD PRIMARY KEY (log, window_number)"
        }
        System::MariaDb => {
            "ALTER TABLE picosnitch_record MODIFY sent BIGINT NOT NULL; ALTER TABLE picosnitch_event ADD COLUMN message \
                            MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL; ALTER TABLE picosnitch_window ADD PRIMARY \
                            KEY (log, window_number)"
        }
    };
    server.execute_as("owner", repaired).unwrap();
    broken.wait_until_sent(&log);
    assert_eq!(on_server(&server, DATABASE), log.copied());
    assert_eq!(broken.status().problem, None);
    // Tables of a later version.
    server.execute_as("owner", "INSERT INTO picosnitch_schema (version) VALUES (99)").unwrap();
    let newer = Exporter::start(&settings, &log.path, "host");
    newer.wait_for_problem("have version 99");
}

/// Prints how fast records are sent: `cargo test --release -p export --test servers -- --ignored --nocapture`.
fn measure(system: System) {
    const WINDOWS: i64 = 500;
    const RECORDS: u64 = 1000;
    let server = ServerProcess::start(system);
    let log = Log::new();
    let mut writer = Writer::open(&log.path).unwrap();
    for number in 0..WINDOWS {
        // As on a busy machine: few programs, and one peer in four is new.
        let time = log.time + 10 * number;
        let mut busy = window(time, 40);
        let base = busy.records.clone();
        for number in 40..RECORDS {
            let mut record = base[number as usize % 40].clone();
            record.tuple.local_port = 20_000 + number as i64;
            let [high, low] = [(time / 10 % 250) as u8, (number % 250) as u8];
            record.tuple.remote_address = Some([10, high, 0, low].into_address());
            busy.records.push(record);
        }
        writer.write(&busy).unwrap();
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

/// An authority and what it vouches for.
struct Authority {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).unwrap();
        Self { certificate, issuer: rcgen::Issuer::new(parameters, key) }
    }

    fn server(&self, name: &str, year: i32) -> ServerCertificate {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let client_authority = self.certificate.pem();
        ServerCertificate { certificate: certificate.pem(), key: key.serialize_pem(), client_authority }
    }

    /// The certificate of an account.
    fn client(&self, name: &str) -> ClientCertificate {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        ClientCertificate { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

fn an_account_is_known_by_its_certificate(system: System) {
    let authority = Authority::new();
    let mut server = ServerProcess::start_with(system, Some(&authority.server("127.0.0.1", 2100)));
    server.create_certified();
    let mut log = Log::new();
    log.write(5);
    send_all(&server.settings("owner"), &log);
    log.write(5);
    let settings = ServerSettings {
        user: "certified".into(),
        password: String::new(),
        tls: TlsMode::VerifyFull,
        authority: authority.certificate.pem(),
        ..server.settings("owner")
    };
    let with = |client_certificate| ServerSettings { client_certificate, ..settings.clone() };
    Exporter::start(&with(None), &log.path, "host").wait_for_problem("cannot connect");
    let foreign = Authority::new().client("certified");
    Exporter::start(&with(Some(foreign)), &log.path, "host").wait_for_problem("cannot connect");
    send_all(&with(Some(authority.client("certified"))), &log);
    assert_eq!(on_server(&server, DATABASE), log.copied());
}

fn certificates_are_checked(system: System) {
    let authority = Authority::new();
    let mut log = Log::new();
    log.write(5);
    let servers: BTreeMap<&str, ServerProcess> =
        [("right", "127.0.0.1", 2100), ("other name", "db.example", 2100), ("expired", "127.0.0.1", 2001)]
            .into_iter()
            .map(|(key, name, year)| {
                let certificate = authority.server(name, year);
                (key, ServerProcess::start_with(system, Some(&certificate)))
            })
            .collect();
    let start = |server: &str, tls, authority: &str| {
        let mut settings = servers[server].settings("owner");
        (settings.tls, settings.authority) = (tls, authority.to_owned());
        Exporter::start(&settings, &log.path, "host")
    };
    let (pem, none) = (authority.certificate.pem(), String::new());
    let cases = [
        ("right", TlsMode::VerifyFull, &pem, true),
        ("right", TlsMode::VerifyFull, &none, false),
        ("right", TlsMode::VerifyCa, &none, false),
        ("right", TlsMode::Require, &none, true),
        ("other name", TlsMode::VerifyFull, &pem, false),
        // The client library compares the name in this mode as well: stricter than it need be.
        ("other name", TlsMode::VerifyCa, &pem, false),
        ("other name", TlsMode::Require, &none, true),
        ("expired", TlsMode::VerifyCa, &pem, false),
        ("expired", TlsMode::VerifyFull, &pem, false),
        ("expired", TlsMode::Prefer, &none, true),
    ];
    for (server, tls, authority, is_accepted) in cases {
        let exporter = start(server, tls, authority);
        match is_accepted {
            true => exporter.wait_until_sent(&log),
            false => {
                let problem = exporter.wait_for_problem("certificate");
                assert!(problem.contains("see the key `tls`"), "{server} {tls:?}: {problem}");
            }
        }
    }
}
