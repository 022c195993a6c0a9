//! Recorded traffic arrives in the log despite locks, full disks and signals.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{Read, Write},
    net::TcpListener,
    os::unix::ffi::{OsStrExt, OsStringExt},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use identity::digests;
use nix::sys::signal::Signal;
use rusqlite::Connection;
use store::Dimension;

use super::{
    executables,
    harness::{
        Daemon, SmallDisk, WINDOW, assert_intact, assert_recorded, base, configure, error_log, fresh_address,
        losses, place, query, recorded, root, root_alone, talk, wait_until,
    },
};

#[test]
#[ignore = "needs root"]
fn a_signal_ends_a_clean_run_and_what_was_in_flight_is_in_the_log() {
    // Alone: another test may run short programs while this daemon starts, which are errors in its log.
    let _alone = root_alone();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let base = base("");
        let daemon = Daemon::start(base.path());
        let address = fresh_address();
        for _ in 0..3 {
            talk(address, 10_001, 20_003);
        }
        daemon.stop(signal);
        assert_recorded(base.path(), address, 3, 30_003, 60_009);
        assert_eq!(losses(base.path()), []);
        assert_eq!(error_log(base.path()), "");
        assert_intact(&base.path().join("snitch.db"));
    }
}

#[test]
#[ignore = "needs root"]
fn traffic_is_in_the_log_soon_and_windows_add_up() {
    let _root = root();
    let base = base("");
    let daemon = Daemon::start(base.path());
    let address = fresh_address();
    talk(address, 100, 1);
    wait_until("the first window", || recorded(base.path(), Dimension::Address, address).sent == 100);
    talk(address, 200, 2);
    wait_until("the second window", || recorded(base.path(), Dimension::Address, address).sent == 300);
    daemon.stop(Signal::SIGTERM);
    assert_recorded(base.path(), address, 2, 300, 3);
}

#[test]
#[ignore = "needs root"]
fn an_exclusive_lock_for_three_windows_loses_nothing() {
    let _root = root();
    let base = base("");
    let daemon = Daemon::start(base.path());
    let address = fresh_address();
    talk(address, 1000, 0);
    let locker = Connection::open(base.path().join("snitch.db")).unwrap();
    locker.busy_timeout(Duration::from_secs(10)).unwrap();
    locker.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let before = recorded(base.path(), Dimension::Address, address).connections;
    for _ in 0..8 {
        talk(address, 1000, 0);
        thread::sleep(WINDOW * 2 / 5);
    }
    assert_eq!(
        recorded(base.path(), Dimension::Address, address).connections,
        before,
        "the lock does not lock"
    );
    locker.execute_batch("ROLLBACK").unwrap();
    drop(locker);
    talk(address, 1000, 0);
    daemon.stop(Signal::SIGTERM);
    assert_recorded(base.path(), address, 10, 10_000, 0);
    assert_eq!(losses(base.path()), []);
}

#[test]
#[ignore = "needs root"]
fn a_lock_at_the_end_is_waited_for() {
    let _root = root();
    let base = base("");
    let daemon = Daemon::start(base.path());
    let locker = Connection::open(base.path().join("snitch.db")).unwrap();
    locker.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let address = fresh_address();
    talk(address, 77, 7);
    daemon.signal(Signal::SIGTERM);
    thread::sleep(WINDOW * 2);
    locker.execute_batch("ROLLBACK").unwrap();
    let (status, text) = daemon.end();
    assert_eq!(status.code(), Some(0), "{text}");
    assert_recorded(base.path(), address, 1, 77, 7);
}

#[test]
#[ignore = "needs root"]
fn a_full_disk_is_reported_and_recording_resumes() {
    let _root = root();
    let place = place();
    let base = place.path().join("small");
    fs::create_dir(&base).unwrap();
    let _disk = SmallDisk::mount(&base, "2m");
    configure(&base, "");
    let daemon = Daemon::start(&base);
    let address = fresh_address();
    let filler = base.join("filler");
    let mut file = File::create(&filler).unwrap();
    let page = [1; 4096];
    while file.write_all(&page).is_ok() {}
    drop(file);
    let mut connections = 0;
    wait_until("the report", || {
        talk(address, 11, 13);
        connections += 1;
        daemon.text().contains("full")
    });
    assert!(daemon.text().contains("wait in memory"), "{}", daemon.text());
    for _ in 0..5 {
        talk(address, 11, 13);
        connections += 1;
        thread::sleep(WINDOW / 2);
    }
    fs::remove_file(&filler).unwrap();
    daemon.wait_for("The log can be written again");
    talk(address, 11, 13);
    connections += 1;
    daemon.stop(Signal::SIGTERM);
    assert_recorded(&base, address, connections, connections * 11, connections * 13);
    assert!(error_log(&base).contains("The log can be written again"), "{}", error_log(&base));
    assert_intact(&base.join("snitch.db"));
}

#[test]
#[ignore = "needs root"]
fn names_of_any_bytes_are_recorded_and_printed_without_control_characters() {
    let _root = root();
    let base = base("");
    let odd = OsString::from_vec(b"we\x1b]0;\x07\n\xff,\"=ird".to_vec());
    let program = base.path().join(&odd);
    executables::copy("/bin/bash", &program);
    let digest = digests::hash(&File::open(&program).unwrap(), &mut [0; 65536]).unwrap();
    let daemon = Daemon::start(base.path());
    let listener = TcpListener::bind((fresh_address(), 0)).unwrap();
    let here = listener.local_addr().unwrap();
    let script =
        format!("exec 3<>/dev/tcp/{}/{}; printf hello >&3; read -r -n 3 answer <&3", here.ip(), here.port());
    let mut child = Command::new(&program)
        .args([OsStr::new("-c"), OsStr::new(&script), OsStr::from_bytes(b"\x1b[31m\xff\r\n\x9b")])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let (mut connection, _) = listener.accept().unwrap();
    let mut hello = [0; 5];
    connection.read_exact(&mut hello).unwrap();
    // It lives until its file was opened.
    thread::sleep(WINDOW * 3 / 2);
    connection.write_all(b"bye").unwrap();
    child.wait().unwrap();
    daemon.stop(Signal::SIGTERM);

    let arguments = |format: &[&str]| -> Vec<OsString> {
        let filter = format!("address={}", here.ip());
        let dimensions = ["-g", "exe", "-g", "name", "-g", "cmdline", "-g", "sha256", "--where", &filter];
        format.iter().chain(&dimensions).map(OsString::from).collect()
    };
    let rows: serde_json::Value =
        serde_json::from_slice(&query(base.path(), &arguments(&["--json"]))).unwrap();
    let rows = rows["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    let row = &rows[0];
    assert_eq!((&row["conns"], &row["sent"], &row["received"]), (&1.into(), &5.into(), &3.into()));
    assert_eq!(row["sha256"], digest.to_hex());
    let path = row["exe"].as_str().unwrap();
    assert!(path.ends_with("/we\u{1b}]0;\u{7}\n\\xff,\"=ird"), "{path:?}");
    assert!(row["name"].as_str().unwrap().starts_with("we\u{1b}]0;\u{7}\n"), "{row}");
    assert!(row["cmdline"].as_str().unwrap().contains("\u{1b}[31m\\xff\r\n"), "{row}");

    for format in [&["--json"][..], &["--csv"], &[]] {
        let printed = query(base.path(), &arguments(format));
        let text = std::str::from_utf8(&printed).expect("valid UTF-8");
        let lines = if format == ["--csv"] { text.replace("\r\n", "\n") } else { text.to_owned() };
        let raw = lines.chars().find(|character| character.is_control() && *character != '\n');
        assert_eq!(raw, None, "{format:?}: {text:?}");
        // A newline in a name would make a line of its own.
        if format != ["--json"] {
            // A table has a total below.
            let expected = if format.is_empty() { 3 } else { 2 };
            assert_eq!(lines.trim_end().lines().count(), expected, "{format:?}: {text:?}");
        }
    }
    // A filter with the raw bytes finds it.
    let mut filter = OsString::from("exe=");
    filter.push(&program);
    let found = query(base.path(), &["--csv".into(), "--where".into(), filter]);
    assert!(String::from_utf8(found).unwrap().contains("ird"), "the path as it is does not match");
}

#[test]
#[ignore = "needs root"]
fn command_lines_keep_the_boundaries_of_their_arguments() {
    let _root = root();
    let base = base("");
    let daemon = Daemon::start(base.path());
    let listener = TcpListener::bind((fresh_address(), 0)).unwrap();
    let here = listener.local_addr().unwrap();
    let script = format!("exec 3<>/dev/tcp/{}/{}; read -r answer <&3; exit 0", here.ip(), here.port());
    for arguments in [&["A", "B"][..], &["A B"], &["A"], &["A", ""], &["A", "", ""]] {
        let mut child = Command::new("/bin/bash").args(["-c", &script, "S"]).args(arguments).spawn().unwrap();
        drop(listener.accept().unwrap());
        child.wait().unwrap();
    }
    daemon.stop(Signal::SIGTERM);

    let filter = format!("address={}", here.ip());
    let arguments = ["--json", "-g", "cmdline", "--where", &filter].map(OsString::from);
    let rows: serde_json::Value = serde_json::from_slice(&query(base.path(), &arguments)).unwrap();
    let mut shown: Vec<_> =
        rows["rows"].as_array().unwrap().iter().map(|row| row["cmdline"].as_str().unwrap()).collect();
    shown.sort_unstable();
    let expected = ["'A B'", "A", "A ''", "A '' ''", "A B"];
    assert_eq!(shown, expected.map(|arguments| format!("/bin/bash -c '{script}' S {arguments}")));
}
