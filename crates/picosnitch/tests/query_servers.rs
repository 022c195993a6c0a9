//! `picosnitch query --source` on real servers with a copy of a log: the answers are those of the log.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../../export/tests/server_process/mod.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod server_process;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    sync::Arc,
    time::Duration,
};

use export::{ServerSettings, SinkNews};
use model::{
    Address, Counters, DomainSource, Event, EventKind, FlowTuple, GeoInfo, LossKind, ProcessContext, Program,
    Record, Sha256, Window,
};
use serde_json::{Value, json};
use server_process::{DATABASE, PASSWORD, ServerProcess, System};
use store::Writer;

const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// 2026-11-02 10:00 UTC
const TIME: i64 = 1_793_613_600;

fn record(path: &[u8], domain: &str, sent: u64) -> Record {
    let program = Program {
        path: path.to_vec(),
        name: path.rsplit(|byte| *byte == b'/').next().unwrap().to_vec(),
        command_line: [path, b"\0a b"].concat(),
        sha256: Some(Sha256([path.len() as u8; 32])),
    };
    Record {
        context: Arc::new(ProcessContext { program, uid: 1_000_000_007, ..ProcessContext::default() }),
        geo: GeoInfo::default(),
        tuple: FlowTuple {
            family: 2,
            protocol: 6,
            local_address: Some("192.0.2.1".parse::<Address>().unwrap()),
            remote_address: Some("198.51.100.7".parse::<Address>().unwrap()),
            local_port: 50_000,
            remote_port: 443,
            domain: domain.as_bytes().to_vec(),
            domain_source: DomainSource::Tls,
        },
        counters: Counters { connections: 1, sent, received: 10 * sent },
        opened: true,
        folded: 0,
    }
}

/// A log with an hour of windows and a loss.
fn write_log(path: &Path) {
    let mut writer = Writer::open(path).unwrap();
    for number in 0..60 {
        let time = TIME + 60 * number;
        let mut loss = Event::new(EventKind::Loss, time, "");
        loss.subject = LossKind::ALL[0].name();
        let records = vec![
            record(b"/usr/bin/curl", "example.org", 1 + number as u64),
            record(b"/opt/\x1b[31m\xff", "api.example.org", 500),
        ];
        let events = if number == 7 { vec![loss] } else { Vec::new() };
        writer.write(&Window { time, records, events, ..Window::default() }).unwrap();
    }
    writer.checkpoint().unwrap();
}

fn send(log: &Path, settings: &ServerSettings, host: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let is_sent = runtime.block_on(async {
        let (sent, is_sent) = tokio::sync::oneshot::channel();
        let mut sent = Some(sent);
        let report = |news: SinkNews| {
            if let SinkNews::Status(status) = news
                && status.last_window == 60
                && let Some(sent) = sent.take()
            {
                let _ = sent.send(());
            }
        };
        tokio::select! {
            never = export::run(settings, log.to_owned(), host, report) => match never {},
            _ = is_sent => true,
            () = tokio::time::sleep(SEND_TIMEOUT) => false,
        }
    });
    assert!(is_sent);
}

fn run(base: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    run_command(base, &[&["query"], arguments].concat(), environment)
}

fn run_command(base: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_picosnitch"))
        .arg("--base-dir")
        .arg(base)
        .args(arguments)
        .env_remove("PICOSNITCH_BASE_DIR")
        .env("TZ", "Europe/Berlin")
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn answer(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn answers_are_those_of_the_log(system: System) {
    let server = ServerProcess::start(system);
    let place = tempfile::tempdir().unwrap();
    let base = place.path();
    let log = base.join("snitch.db");
    write_log(&log);
    send(&log, &server.settings("owner"), "laptop");
    let (scheme, variable, client) = match system {
        System::PostgreSql => ("postgres", "PGPASSWORD", "postgresql"),
        System::MariaDb => ("mariadb", "MYSQL_PWD", "mariadb"),
    };
    let address = format!("{scheme}://owner@127.0.0.1:{}/{DATABASE}", server.port);
    let environment = [(variable, PASSWORD)];
    let password_file = base.join("password");
    fs::write(&password_file, format!("{PASSWORD}\n")).unwrap();

    let questions: [&[&str]; 14] = [
        &[],
        &["--group-by", "domain", "--where", "domain=example.org"],
        &["--group-by", "hour", "--group-by", "name", "--zeros"],
        &["--group-by", "cmdline", "--find", "A B"],
        &["--where", "exe=curl", "--compare", "2026-11-01"],
        &["--internet", "--group-by", "sha256", "--limit", "1"],
        &["--where", "domain=*.example.org", "--exclude", "port=https"],
        &["--where", "exe=/nowhere", "--where", "uid=5"],
        &["--group-by", "weekday", "--where", "hour-of-day=11"],
        &["--where", "address=198.51.100.0/24", "--group-by", "address", "--sort", "sent", "--reverse"],
        &["--with-seen", "--sort", "first-seen"],
        &["--with-seen", "--sort", "digests", "--reverse"],
        &["--group-by", "domain", "--new-since", "2026-11-02 11:30"],
        &["--changed-since", "2026-11-01"],
    ];
    for question in questions {
        let question = [&["--range", "2026-11-02", "--json"], question].concat();
        let mut expected = answer(&run(base, &question, &[]));
        let mut found = answer(&run(base, &[&question[..], &["--source", &address]].concat(), &environment));
        if question.contains(&"exe=/nowhere") {
            // A server is not asked for what resembles a value: that would be all records once more.
            assert!(found["notes"].to_string().contains("no record passes all of these conditions"));
            (found["notes"], expected["notes"]) = (Value::Null, Value::Null);
        }
        assert_eq!(found, expected, "{question:?}");
    }
    // As a table and as CSV; with the password in a file, and of a server of the configuration.
    let password = password_file.to_str().unwrap();
    let by_file = ["--source", &address, "--password-file", password];
    let section = format!(
        "[log.server]\nclient = \"{client}\"\nhost = \"127.0.0.1\"\nport = {}\nuser = \"owner\"\ndatabase = \"{DATABASE}\"\n\
         password_file = \"{password}\"\n",
        server.port
    );
    fs::write(base.join("config.toml"), section).unwrap();
    let database = log.to_str().unwrap();
    for form in ["--csv", "--full"] {
        let expected = run(base, &["--range", "all", form], &[]);
        assert!(expected.status.success() && !expected.stdout.is_empty());
        let by_name = ["--source", "log.server"];
        let by_path = ["--source", database];
        for source in [&by_file[..], &by_name, &by_path] {
            let found = run(base, &[&["--range", "all", form], source].concat(), &[]);
            assert_eq!(found, expected, "{source:?}");
        }
    }
    // Events and programs are those of the log; of events the host is told, too.
    for list in
        [&["--events"][..], &["--events", "--kind", "loss"], &["--seen"], &["--seen", "--where", "exe=curl"]]
    {
        let list = [&["--range", "all", "--json"], list].concat();
        let mut found = answer(&run(base, &[&list[..], &by_file].concat(), &[]));
        for event in found.as_array_mut().unwrap().iter_mut().filter(|_| list.contains(&"--events")) {
            assert_eq!(event.as_object_mut().unwrap().remove("host").unwrap(), "laptop");
        }
        assert_eq!(found, answer(&run(base, &list, &[])), "{list:?}");
        assert!(!found.as_array().unwrap().is_empty(), "{list:?}");
    }
    let elsewhere = ["--range", "all", "--events", "--where", "host=elsewhere", "--json"];
    assert_eq!(answer(&run(base, &[&elsewhere[..], &by_file].concat(), &[])), json!([]));
    let hosts = ["--range", "all", "--json", "--group-by", "host", "--where", "host=lap*"];
    let hosts = answer(&run(base, &[&hosts[..], &by_file].concat(), &[]));
    assert_eq!(hosts["rows"][0]["host"], "laptop");

    let refuse = |arguments: &[&str], expected: &str| {
        let output = run(base, arguments, &environment);
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{message}");
        assert!(message.contains(expected), "{message}");
    };
    refuse(&["--group-by", "host"], "only copies on a server know hosts");
    refuse(&["--where", "host=laptop"], "only copies on a server know hosts");
    refuse(&["--source", &address.replace("owner@", "owner:secret@")], variable);
    let without_rights = match system {
        System::PostgreSql => "no tables of picosnitch that the account may read",
        System::MariaDb => "the account lacks rights",
    };
    refuse(&["--source", &address.replace("owner@", "agent@")], without_rights);
    refuse(&["--source", "elsewhere"], "no server of the configuration, which has: log.server");
    refuse(&["--source", "redis://u@h/"], "there are postgres://");
    fs::write(&password_file, "wrong").unwrap();
    refuse(&by_file, "is the user or the password wrong");
}

#[test]
fn postgresql_answers_as_the_log() {
    answers_are_those_of_the_log(System::PostgreSql);
}

#[test]
fn mariadb_answers_as_the_log() {
    answers_are_those_of_the_log(System::MariaDb);
}

/// Questions about two hosts, of which one has a program of its own.
fn fleets_are_asked(system: System) {
    let server = ServerProcess::start(system);
    let place = tempfile::tempdir().unwrap();
    let base = place.path();
    for (host, begin, programs) in [
        ("laptop", TIME, &[&b"/usr/bin/curl"[..]][..]),
        ("server", TIME - 3600, &[b"/usr/bin/curl", b"/opt/own"]),
    ] {
        let log = base.join(host);
        let mut writer = Writer::open(&log).unwrap();
        for number in 0..60 {
            let records = programs.iter().map(|path| record(path, "api.example.org", 1)).collect();
            writer.write(&Window { time: begin + number, records, ..Window::default() }).unwrap();
        }
        writer.checkpoint().unwrap();
        drop(writer);
        send(&log, &server.settings("owner"), host);
    }
    let (scheme, variable) = match system {
        System::PostgreSql => ("postgres", "PGPASSWORD"),
        System::MariaDb => ("mysql", "MYSQL_PWD"),
    };
    let address = format!("{scheme}://owner@127.0.0.1:{}/{DATABASE}", server.port);
    let fleet = |arguments: &[&str]| {
        let output = run_command(
            base,
            &[&["fleet", "--source", &address], arguments].concat(),
            &[(variable, PASSWORD)],
        );
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let rows = |arguments: &[&str]| -> Vec<Value> {
        serde_json::from_str(&fleet(&[arguments, &["--json"]].concat())).unwrap()
    };
    let of = |rows: &[Value], keys: [&str; 3]| -> Value {
        rows.iter().map(|row| keys.iter().map(|key| row[*key].clone()).collect::<Value>()).collect()
    };
    // The digest of curl is made of the length of its path.
    let digest = "0d".repeat(32);
    let curl = json!([["server", "/usr/bin/curl", TIME - 3600], ["laptop", "/usr/bin/curl", TIME]]);
    assert_eq!(of(&rows(&["digest", &digest]), ["host", "exe", "first"]), curl);
    assert_eq!(of(&rows(&["digest", "0d0d0d"]), ["host", "exe", "first"]), curl);
    let first = rows(&["first", "/usr/bin/curl"]);
    let expected = json!([["server", digest, TIME - 3600], ["laptop", digest, TIME]]);
    assert_eq!(of(&first, ["host", "sha256", "first"]), expected);
    assert_eq!(of(&first[..1], ["conns", "last", "sent"]), json!([[60, TIME - 3600 + 59, 60]]));
    assert!(rows(&["domain", "example.org"]).is_empty());
    let hosts = of(&rows(&["domain", ".example.org"]), ["host", "domain", "conns"]);
    assert_eq!(hosts, json!([["server", "api.example.org", 120], ["laptop", "api.example.org", 60]]));
    let unique = of(&rows(&["unique"]), ["host", "exe", "sent"]);
    assert_eq!(unique, json!([["server", "/opt/own", 60]]));
    // Of the time in which the laptop alone recorded.
    let unique = rows(&["unique", "--range", &format!("{TIME}..{}", TIME + 60)]);
    assert_eq!(of(&unique, ["host", "exe", "sent"]), json!([["laptop", "/usr/bin/curl", 60]]));
    let silent = of(&rows(&["silent", "--minutes", "5"]), ["host", "last", "last_iso"]);
    let expected = json!([
        ["server", TIME - 3600 + 59, "2026-11-02T10:00:59+01:00"],
        ["laptop", TIME + 59, "2026-11-02T11:00:59+01:00"]
    ]);
    assert_eq!(silent, expected);
    assert!(rows(&["silent", "--minutes", "100000000"]).is_empty());

    let csv = fleet(&["unique", "--csv"]);
    assert!(
        csv.starts_with("host,exe,first,first_iso,last,last_iso,conns,received,sent\r\nserver,/opt/own,"),
        "{csv}"
    );
    assert!(
        fleet(&["silent", "--minutes", "5", "--csv"])
            .starts_with("host,last,last_iso,silent_seconds\r\nserver,")
    );
    let table = fleet(&["first", "curl"]);
    assert!(table.lines().count() == 3 && table.contains("first seen"), "{table}");
    assert!(fleet(&["silent", "--minutes", "5"]).contains("last heard"));
    let local = run_command(base, &["fleet", "--source", "./laptop", "unique"], &[]);
    assert!(String::from_utf8_lossy(&local.stderr).contains("a log has one machine only"));
}

#[test]
fn postgresql_knows_the_fleet() {
    fleets_are_asked(System::PostgreSql);
}

#[test]
fn mariadb_knows_the_fleet() {
    fleets_are_asked(System::MariaDb);
}
