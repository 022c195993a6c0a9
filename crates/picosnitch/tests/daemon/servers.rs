//! A copy of the log on a real SQL server, whatever happens to the exporter and the server.

use std::{
    fs,
    net::Ipv4Addr,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use model::{Counters, FlowTuple, GeoInfo, ProcessContext, Record, Window, text::time::now};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use store::{WindowReader, Writer};

use super::{
    harness::{Daemon, SmallDisk, base, error_log, fresh_address, picosnitch, place, root, talk, wait_until},
    server_process::{DATABASE, PASSWORD, ServerProcess, System},
};

/// Times that the exporter is killed. The pause before it is started again doubles each time, from a second on.
const KILLS: u64 = 5;

/// A base directory whose log has a copy on the server.
fn base_with(server: &ServerProcess, system: &str) -> tempfile::TempDir {
    let place = base("");
    let password = place.path().join("password");
    fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    // Root reads it for the exporter.
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    let text = fs::read_to_string(place.path().join("config.toml")).unwrap();
    let section = format!(
        "[log.server]\nclient = \"{system}\"\nhost = \"localhost\"\nport = {}\nuser = \"owner\"\ndatabase = \"{DATABASE}\"\n\
         password_file = \"{}\"\n",
        server.port,
        password.display()
    );
    fs::write(place.path().join("config.toml"), text + &section).unwrap();
    place
}

/// What the daemon says of its copy.
fn copy(base: &Path) -> Value {
    let output = picosnitch(base, &["status", "--json"]).output().unwrap();
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    status["servers"][0].clone()
}

pub fn exporter_of(daemon: &Daemon) -> Option<Pid> {
    let is_exporter = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == b"exporter")
    };
    daemon.children().into_iter().find(is_exporter).map(|pid| Pid::from_raw(pid.cast_signed()))
}

/// Windows, records, events and bytes of the windows up to a number.
fn in_log(base: &Path, until: i64) -> [i64; 5] {
    let windows = WindowReader::open(&base.join("snitch.db")).unwrap().after(0, u64::MAX).unwrap();
    let mut sums = [0; 5];
    for window in windows.iter().filter(|window| window.mark.number <= until) {
        sums[0] += 1;
        sums[1] += window.records.len() as i64;
        sums[2] += window.events.len() as i64;
        for record in &window.records {
            sums[3] += record.record.counters.sent as i64;
            sums[4] += record.record.counters.received as i64;
        }
    }
    sums
}

fn a_server_has_each_record_once(system: System, name: &str) {
    let _lock = root();
    let mut server = ServerProcess::start(system);
    let base = base_with(&server, name);
    let base = base.path();
    let daemon = Daemon::start(base);
    let address = fresh_address();
    talk(address, 1000, 2000);
    wait_until("the first windows are sent", || copy(base)["sent_windows"].as_u64() > Some(1));
    // The connections, the exporter and the server die at moments of no choosing.
    let mut connections = 1;
    for number in 0..KILLS {
        let until = Instant::now() + Duration::from_millis(700 + 317 * number);
        while Instant::now() < until {
            talk(address, 1000, 2000);
            connections += 1;
            thread::sleep(Duration::from_millis(20));
        }
        if number == 2 {
            server.kill();
            thread::sleep(Duration::from_millis(1500));
            server.restart();
        }
        wait_until("an exporter runs", || exporter_of(&daemon).is_some());
        kill(exporter_of(&daemon).unwrap(), Signal::SIGKILL).unwrap();
    }
    let sql = format!(
        "SELECT coalesce(sum(conns), 0), coalesce(sum(sent), 0), coalesce(sum(received), 0) FROM connections WHERE ip = '{address}'"
    );
    let expected = [connections, connections * 1000, connections * 2000];
    wait_until("all is sent", || server.numbers(&sql) == expected);
    wait_until("nothing is behind", || copy(base)["lag_windows"] == 0);
    let text = String::from_utf8(picosnitch(base, &["status"]).output().unwrap().stdout).unwrap();
    assert!(text.contains("log.server    ") && text.contains(" has all"), "{text}");
    daemon.stop(Signal::SIGTERM);
    let last = server.numbers("SELECT max(window_number) FROM picosnitch_window")[0];
    assert_eq!(server.amounts(DATABASE), in_log(base, last));
    // What was written at the end is sent at the next start.
    let daemon = Daemon::start(base);
    let written = WindowReader::open(&base.join("snitch.db")).unwrap().state().unwrap().last_window;
    wait_until("the rest is sent", || copy(base)["last_window"].as_i64() >= Some(written));
    assert_eq!(server.numbers("SELECT count(DISTINCT id) FROM picosnitch_log"), [1]);
    assert_eq!(
        server.numbers("SELECT count(DISTINCT window_number) FROM picosnitch_event WHERE kind = 'stop'"),
        [1]
    );
    // A server that is away is told.
    server.kill();
    wait_until("the server is missed", || copy(base)["problem"].is_string());
    wait_until("it is in error.log", || error_log(base).contains("log.server: "));
    assert!(!error_log(base).contains(PASSWORD), "{}", error_log(base));
    server.restart();
    wait_until("it is found again", || copy(base)["problem"].is_null() && copy(base)["lag_windows"] == 0);
    let last = daemon.stop(Signal::SIGTERM);
    assert!(!last.contains("panicked"), "{last}");
    let last = server.numbers("SELECT max(window_number) FROM picosnitch_window")[0];
    assert_eq!(server.amounts(DATABASE), in_log(base, last));
}

#[test]
#[ignore = "needs root"]
fn postgresql_has_each_record_once() {
    a_server_has_each_record_once(System::PostgreSql, "postgresql");
}

#[test]
#[ignore = "needs root"]
fn mariadb_has_each_record_once() {
    a_server_has_each_record_once(System::MariaDb, "mariadb");
}

#[test]
#[ignore = "needs root"]
fn clickhouse_has_each_record_once() {
    a_server_has_each_record_once(System::ClickHouse, "clickhouse");
}

/// Writes a log with 100,000 records of as many peers.
fn write_long_log(path: &Path) {
    let context: Arc<ProcessContext> = Arc::default();
    let record = |number: u32| Record {
        context: Arc::clone(&context),
        geo: GeoInfo::default(),
        tuple: FlowTuple {
            family: 2,
            protocol: 6,
            remote_address: Some(Ipv4Addr::from(0x0a00_0000 + number).into()),
            remote_port: 443,
            ..FlowTuple::default()
        },
        counters: Counters { connections: 1, sent: number.into(), received: 1 },
        opened: true,
        folded: 0,
    };
    let mut writer = Writer::open(path).unwrap();
    let first = now() - 10_000;
    for number in 0..1000 {
        let records = (100 * number..100 * (number + 1)).map(record).collect();
        let time = first + i64::from(number);
        writer.write(&Window { time, records, ..Window::default() }).unwrap();
    }
}

#[test]
#[ignore = "needs root"]
fn a_full_disk_of_a_postgresql_is_told_and_loses_nothing() {
    let _lock = root();
    let server = ServerProcess::start(System::PostgreSql);
    let place = place();
    let disk = SmallDisk::mount(place.path(), "24m");
    let owner = fs::metadata(server.directory()).unwrap().uid();
    chown(place.path(), Some(owner), None).unwrap();
    server.administer("postgres", &format!("CREATE TABLESPACE small LOCATION '{}'", place.path().display()));
    server.administer("postgres", &format!("ALTER DATABASE {DATABASE} SET TABLESPACE small"));
    let base = base_with(&server, "postgresql");
    let base = base.path();
    write_long_log(&base.join("snitch.db"));
    let daemon = Daemon::start(base);
    let full = "the disk of the server is full";
    wait_until("the full disk is told", || {
        copy(base)["problem"].as_str().is_some_and(|why| why.contains(full))
    });
    wait_until("it is in error.log", || error_log(base).contains(full));
    let [windows, records, ..] = server.amounts(DATABASE);
    assert!(
        windows > 0 && windows < 1000 && records == 100 * windows,
        "{windows} windows, {records} records"
    );
    talk(fresh_address(), 1000, 2000);
    disk.resize("500m");
    wait_until("all is sent", || copy(base)["problem"].is_null() && copy(base)["lag_windows"] == 0);
    daemon.stop(Signal::SIGTERM);
    let last = server.numbers("SELECT max(window_number) FROM picosnitch_window")[0];
    assert!(last > 1000);
    assert_eq!(server.amounts(DATABASE), in_log(base, last));
}

#[test]
#[ignore = "needs root"]
fn an_administrator_gets_the_statements() {
    let _lock = root();
    let server = ServerProcess::start(System::PostgreSql);
    let base = base_with(&server, "postgresql");
    let output = picosnitch(base.path(), &["export-sql"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        !text.contains(PASSWORD) && text.contains("GRANT SELECT, INSERT ON picosnitch_record TO \"owner\""),
        "{text}"
    );
    server.execute_as("owner", &text).unwrap();
    assert_eq!(server.numbers("SELECT count(*) FROM connections"), [0]);
    let output = picosnitch(base.path(), &["export-sql", "export.other"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("it has: log.server"));
}
