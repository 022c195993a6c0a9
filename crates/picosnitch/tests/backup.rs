//! `picosnitch backup` and `picosnitch version` as a user runs them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::Path,
    process::{Command, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use model::{Counters, FlowTuple, GeoInfo, ProcessContext, Program, Record, Window};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rusqlite::Connection;
use store::{Query, Reader, Writer};

fn picosnitch(base: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_picosnitch"));
    command.arg("--base-dir").arg(base).env_remove("PICOSNITCH_BASE_DIR");
    command
}

fn run(base: &Path, arguments: &[&OsStr]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = picosnitch(base).args(arguments).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn write(path: &Path) -> Writer {
    let mut writer = Writer::open(path).unwrap();
    for number in 0..50 {
        let program = Program { path: b"/bin/a".to_vec(), ..Program::default() };
        let record = Record {
            context: Arc::new(ProcessContext { program, ..ProcessContext::default() }),
            tuple: FlowTuple { family: 2, protocol: 6, remote_port: 443, ..FlowTuple::default() },
            geo: GeoInfo::default(),
            counters: Counters { connections: 1, sent: 2, received: 3 },
            opened: false,
            folded: 0,
        };
        let time = 1_700_000_000 + number * 10;
        writer.write(&Window { time, records: vec![record], ..Window::default() }).unwrap();
    }
    writer
}

#[test]
fn a_backup_is_made_while_a_writer_has_the_log() {
    let base = tempfile::tempdir().unwrap();
    let _writer = write(&base.path().join("snitch.db"));
    let to = base.path().join(OsStr::from_bytes(b"a b\xff.db"));
    let (code, out, err) = run(base.path(), &["backup".as_ref(), to.as_os_str()]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("a b\\xff.db: 50 records, ") && out.contains(", from 2023-11-1"), "{out}");
    assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o7777, 0o600);
    let total = Reader::open(&to).unwrap().query(&Query::default()).unwrap()[0].counters;
    assert_eq!((total.sent, total.received), (100, 150));
    // Nothing is replaced.
    let (code, out, err) = run(base.path(), &["backup".as_ref(), to.as_os_str()]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("exists; name a file that does not"), "{err}");
    for (name, expected) in [
        ("snitch.db", "exists"),
        ("snitch.db-new", "cannot be the name"),
        (".", "exists"),
        ("no/where", "cannot write"),
    ] {
        let path = base.path().join(name);
        let (code, _, err) = run(base.path(), &["backup".as_ref(), path.as_os_str()]);
        assert_eq!(code, Some(1), "{name}");
        assert!(err.contains(expected), "{name}: {err}");
    }
    let (code, _, err) = run(&base.path().join("other"), &["backup".as_ref(), "x".as_ref()]);
    assert!(code == Some(1) && err.contains("there is no log at"), "{err}");
}

#[test]
fn an_interrupted_backup_leaves_nothing_and_a_killed_one_a_name_that_says_so() {
    let base = tempfile::tempdir().unwrap();
    let log = base.path().join("snitch.db");
    write(&log).checkpoint().unwrap();
    let connection = Connection::open(&log).unwrap();
    connection.execute_batch("CREATE TABLE large (x)").unwrap();
    for _ in 0..3 {
        connection.execute("INSERT INTO large VALUES (zeroblob(100000000))", []).unwrap();
    }
    drop(connection);
    let to = base.path().join("copy.db");
    let half = || {
        let names = fs::read_dir(base.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).find(|name| name.starts_with("copy.db.unfinished-"))
    };
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGKILL] {
        let child = picosnitch(base.path()).arg("backup").arg(&to).stderr(Stdio::piped()).spawn().unwrap();
        let begin = Instant::now();
        while half().is_none() && begin.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(1));
        }
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        let Output { status, stderr, .. } = child.wait_with_output().unwrap();
        assert!(!status.success() && !to.exists(), "{signal}");
        let text = String::from_utf8(stderr).unwrap();
        assert_eq!(half().is_some(), signal == Signal::SIGKILL, "{signal} {text}");
        assert!(signal == Signal::SIGKILL || text.contains("was interrupted"), "{signal} {text}");
    }
    // The next one is made all the same.
    let (code, ..) = run(base.path(), &["backup".as_ref(), to.as_os_str()]);
    assert_eq!(code, Some(0));
    assert!(to.exists());
}

#[test]
fn the_version_says_more_than_the_option() {
    let base = tempfile::tempdir().unwrap();
    let (_, short, _) = run(base.path(), &["--version".as_ref()]);
    let (code, long, _) = run(base.path(), &["version".as_ref()]);
    assert_eq!(code, Some(0));
    assert_eq!(long.lines().next(), Some(short.trim_end()));
    assert!(long.contains(&format!("log: schema version {}", store::SCHEMA_VERSION)), "{long}");
    let (_, json, _) = run(base.path(), &["version".as_ref(), "--json".as_ref()]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(json["schema"], store::SCHEMA_VERSION);
    assert!(json["kernel"].as_str().unwrap().contains('.') && json["sqlite"].is_string(), "{json}");
}
