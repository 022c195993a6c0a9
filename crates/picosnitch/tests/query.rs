//! `picosnitch query` as a user runs it, on a log made through the library.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::PermissionsExt,
        process::{CommandExt, ExitStatusExt},
    },
    path::Path,
    process::{Command, Output, Stdio},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use model::{
    Counters, Event, EventKind, FlowTuple, GeoInfo, Loss, LossKind, ProcessContext, Program, Record, Sha256,
    Window,
};
use serde_json::{Value, json};
use store::Writer;

#[allow(dead_code, reason = "tests/daemon uses the rest")]
mod executables;

/// A user that no machine has.
const UID: u32 = 1_000_000_007;
const ODD: &[u8] = b"/tmp/\x1b]0;x\x07\n\xff,\"=1";

fn run(base: &Path, command: &str, arguments: &[impl AsRef<OsStr>]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_picosnitch"))
        .arg("--base-dir")
        .arg(base)
        .arg(command)
        .args(arguments)
        .env_remove("PICOSNITCH_BASE_DIR")
        .env("TZ", "Europe/Berlin")
        .output()
        .unwrap()
}

fn query(base: &Path, arguments: &[impl AsRef<OsStr>]) -> String {
    let output = run(base, "query", arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json_query(base: &Path, arguments: &[&str]) -> Value {
    let mut answer: Value = serde_json::from_str(&query(base, &[&["--json"], arguments].concat())).unwrap();
    // Events and programs are an array; the answer about records has its rows beside other things.
    if answer.is_array() { answer } else { answer["rows"].take() }
}

fn refuse(base: &Path, arguments: &[impl AsRef<OsStr>], expected: &str) {
    let output = run(base, "query", arguments);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && output.stdout.is_empty(), "{message}");
    assert!(message.contains(expected), "expected {expected:?} in {message}");
    assert!(!message.chars().any(|character| character.is_control() && character != '\n'), "{message:?}");
}

fn record(path: &[u8], address: &str, port: model::Port, counters: (u64, u64, u64)) -> Record {
    let program = Program {
        path: path.to_vec(),
        name: b"name".to_vec(),
        command_line: b"line".to_vec(),
        sha256: Some(Sha256([0xab; 32])),
    };
    let parent = Program { path: b"/bin/sh".to_vec(), ..Program::default() };
    Record {
        context: Arc::new(ProcessContext {
            program,
            parent,
            uid: UID,
            network_namespace: 4_026_531_840,
            ..ProcessContext::default()
        }),
        tuple: FlowTuple {
            family: if address.contains(':') { 10 } else { 2 },
            protocol: 6,
            remote_address: address.parse().ok(),
            remote_port: port,
            ..FlowTuple::default()
        },
        geo: GeoInfo::default(),
        counters: Counters { connections: counters.0, sent: counters.1, received: counters.2 },
        opened: false,
        folded: 0,
    }
}

/// A log with windows that ended at 1,700,000,000, ten minutes ago and now; the last with losses.
fn log() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let mut writer = Writer::open(&place.path().join("snitch.db")).unwrap();
    let mut write = |time, records: Vec<Record>, losses| {
        writer.write(&Window { time, records, losses, ..Window::default() }).unwrap();
    };
    write(1_700_000_000, vec![record(b"/bin/old", "192.0.2.1", 443, (1, 10, 20))], vec![]);
    write(now - 600, vec![record(b"/bin/a", "192.0.2.1", 443, (1, 1_000, 12_400_000))], vec![]);
    let losses = vec![Loss { kind: LossKind::Channel, count: 7 }];
    let records = vec![
        record(b"/bin/a", "2001:db8::1", 80, (2, 5, 0)),
        record(ODD, "192.0.2.2", 53, (1, u64::from(u32::MAX) * 8, 0)),
    ];
    write(now, records, losses);
    place
}

#[test]
fn json_is_one_object_with_rows_of_numbers() {
    let place = log();
    let text =
        query(place.path(), &["--json", "--group-by", "exe", "--group-by", "port", "--until", "1700000000"]);
    let expected = json!({
        "range": {"since": 1699913601, "since_iso": "2023-11-13T23:13:21+01:00",
                  "until": 1700000000, "until_iso": "2023-11-14T23:13:20+01:00"},
        "scope": null, "losses": [], "sums_of_quarter_hours_before": null, "sums_of_quarter_hours_before_iso": null, "notes": [], "row_count": 1,
        "total": {"conns": 1, "received": 20, "sent": 10},
        "rows": [{"exe": "/bin/old", "port": 443, "conns": 1, "received": 20, "sent": 10}],
    });
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
    let rows = json_query(place.path(), &["--group-by", "exe", "--group-by", "port", "--range", "all"]);
    let expected = json!([
        {"exe": "/tmp/\u{1b}]0;x\u{7}\n\\xff,\"=1", "port": 53, "conns": 1, "sent": 34359738360u64, "received": 0},
        {"exe": "/bin/a", "port": 443, "conns": 1, "sent": 1000, "received": 12400000},
        {"exe": "/bin/old", "port": 443, "conns": 1, "sent": 10, "received": 20},
        {"exe": "/bin/a", "port": 80, "conns": 2, "sent": 5, "received": 0},
    ]);
    assert_eq!(rows, expected);
    let rows = json_query(
        place.path(),
        &[
            "-g",
            "uid",
            "-g",
            "sha256",
            "-g",
            "psha256",
            "-g",
            "protocol",
            "-g",
            "family",
            "-g",
            "netns",
            "-g",
            "pexe",
            "-g",
            "time",
            "--until",
            "1700000000",
            "--range",
            "5m",
        ],
    );
    let expected = json!([{
        "uid": UID, "sha256": "ab".repeat(32), "psha256": null, "protocol": "tcp", "family": "ipv4",
        "netns": 4026531840u32, "pexe": "/bin/sh", "time": 1700000000, "time_iso": "2023-11-14T23:13:20+01:00",
        "conns": 1, "sent": 10, "received": 20,
    }]);
    assert_eq!(rows, expected);
    assert_eq!(json_query(place.path(), &["--where", "exe=/nowhere"]), json!([]));
}

#[test]
fn ranges_and_filters_select() {
    let place = log();
    let names = |arguments: &[&str]| -> Vec<String> {
        let rows = json_query(place.path(), arguments);
        rows.as_array().unwrap().iter().map(|row| row["exe"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&["--range", "all"]).len(), 3);
    assert_eq!(names(&[]).len(), 2);
    assert_eq!(names(&["--range", "5m", "--where", "exe=/bin/a"]), ["/bin/a"]);
    assert_eq!(names(&["--range", "5m", "--where", "port=443"]), [""; 0]);
    assert_eq!(names(&["--since", "1h", "--until", "5m"]), ["/bin/a"]);
    // 1,700,000,000 is 2023-11-14 23:13:20 in Berlin.
    assert_eq!(names(&["--since", "2023-11-14 23:13:20", "--until", "2023-11-14 23:13:20"]), ["/bin/old"]);
    assert_eq!(names(&["--since", "2023-11-14 23:13:21", "--until", "2023-11-15"]), [""; 0]);
    assert_eq!(names(&["--since", "2023-11-14", "--until", "2023-11-15"]), ["/bin/old"]);
    assert_eq!(names(&["--exclude", "exe=/bin/a", "--exclude", "port=53", "--range", "all"]), ["/bin/old"]);
    assert_eq!(
        names(&["--where", "address=192.0.2.0/24", "--range", "all", "--sort", "received"]),
        ["/bin/a", "/bin/old", "/tmp/\u{1b}]0;x\u{7}\n\\xff,\"=1"]
    );
    assert_eq!(names(&["--range", "all", "--limit", "1", "--sort", "conns"]), ["/bin/a"]);
    assert_eq!(names(&["--range", "all", "--sort", "exe", "--limit", "2"]), ["/bin/a", "/bin/old"]);
    // Raw bytes find raw bytes.
    let filter = [b"exe=".as_slice(), ODD].concat();
    let text = query(place.path(), &[OsStr::new("--csv"), OsStr::new("--where"), OsStr::from_bytes(&filter)]);
    assert_eq!(
        text,
        "exe,conns,received,sent\r\n\"/tmp/\\x1b]0;x\\x07\\x0a\\xff,\"\"=1\",1,0,34359738360\r\n"
    );
}

#[test]
fn the_table_is_for_people_and_safe_for_terminals() {
    let place = log();
    let text = query(place.path(), &["--range", "all", "-g", "exe", "-g", "uid"]);
    let expected = "\
exe                            uid         conns  received     sent
/tmp/\\x1b]0;x\\x07\\x0a\\xff,\"=1  1000000007      1         ·  34.4 GB
/bin/a                         1000000007      3   12.4 MB  1.00 kB
/bin/old                       1000000007      1      20 B     10 B
total of 3 rows                                5   12.4 MB  34.4 GB
";
    assert_eq!(text.trim_end(), expected.trim_end());
    let raw = query(place.path(), &["--range", "all", "--json"]);
    assert!(!raw.contains(['\u{1b}', '\u{7}']));
}

#[test]
fn losses_in_the_range_are_told() {
    let place = log();
    let output = run(place.path(), "query", &["--range", "5m"]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success()
            && message.contains("incomplete in this range: some traffic is in no record (7 flows)\n"),
        "{message}"
    );
    assert_eq!(message.lines().count(), 1);
    let output = run(place.path(), "query", &["--since", "1h", "--until", "5m"]);
    assert!(output.stderr.is_empty());
}

#[test]
fn the_grain_of_old_times_is_told() {
    let place = tempfile::tempdir().unwrap();
    let database = place.path().join("snitch.db");
    let mut writer = Writer::open(&database).unwrap();
    for number in 0..200 {
        let records = (1..60).map(|port| record(b"/bin/a", "192.0.2.1", port, (1, 1, 1))).collect();
        writer.write(&Window { time: 1_700_000_000 + number * 600, records, ..Window::default() }).unwrap();
    }
    writer.checkpoint().unwrap();
    let size = fs::metadata(&database).unwrap().len();
    while writer.limit_size(size / 10 * 9).unwrap() {}
    let told = |arguments: &[&str]| {
        let output = run(place.path(), "query", arguments);
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{message}");
        message.contains("the log has sums of quarters of an hour only: times are rounded to them")
    };
    assert!(told(&["--range", "all", "--json"]));
    assert!(told(&["--since", "1700000000", "--until", "1700010000"]));
    assert!(!told(&["--since", "1700118000"]));
    assert!(!told(&["--range", "1h"]));
    assert!(!told(&["--range", "all", "--events"]));
}

/// A log with events of yesterday and of now.
fn eventful_log() -> tempfile::TempDir {
    let place = log();
    let mut writer = Writer::open(&place.path().join("snitch.db")).unwrap();
    let event = |kind, time, uid, path: &[u8], text: &str| Event {
        uid,
        path: path.into(),
        name: b"name".into(),
        sha256: Some(Sha256([0xab; 32])),
        ..Event::new(kind, time, text)
    };
    let mut alert = event(EventKind::Alert, 1_700_000_000, Some(0), b"/bin/name", "");
    alert.subject = "new exe".to_owned();
    alert.writer =
        Some(model::Writer { pid: 7, path: b"/bin/sh".into(), name: b"sh".into(), uid: Some(UID) });
    let mut gap = Event::new(EventKind::Gap, 1_700_000_030, "Nothing was recorded.");
    gap.begin = Some(1_699_999_990);
    let error = event(EventKind::Error, 1_700_000_020, Some(4_000_000_000), ODD, "=cannot hash \u{1b}[31m");
    let losses = vec![Loss { kind: LossKind::Names, count: 12 }];
    writer
        .write(&Window { time: 1_700_000_010, losses, events: vec![alert, gap, error], ..Window::default() })
        .unwrap();
    place
}

#[test]
fn events_are_listed_like_a_log_the_latest_last() {
    let place = eventful_log();
    let text = query(
        place.path(),
        &[
            "--events",
            "--until",
            "1700000030",
            "--kind",
            "alert",
            "--kind",
            "loss",
            "--kind",
            "error",
            "--kind",
            "gap",
        ],
    );
    let expected = "\
time                 kind   user        program                               count  text
2023-11-14 23:13:20  alert  root        /bin/name                                    new exe
2023-11-14 23:13:30  loss                                                        12  12 DNS answers or connection handshakes came too fast: some connections may lack their domain.
2023-11-14 23:13:40  error  4000000000  /tmp/\\x1b]0;x\\x07\\x0a\\xff,\"=1 (name)         =cannot hash \\x1b[31m
2023-11-14 23:13:50  gap                                                             Nothing was recorded. (since 2023-11-14 23:13:10)
";
    assert_eq!(text, expected);
    let kinds = |arguments: &[&str]| -> Vec<String> {
        let rows = json_query(place.path(), &[&["--events", "--range", "all"], arguments].concat());
        rows.as_array().unwrap().iter().map(|row| row["kind"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(kinds(&["--limit", "2", "--until", "1700000030"]), ["error", "gap"]);
    assert_eq!(kinds(&["--kind", "gap", "--kind", "alert"]), ["alert", "gap"]);
    assert_eq!(kinds(&["--where", "uid=0"]), ["alert"]);
    assert_eq!(kinds(&["--where", "exe=/bin/name", "--where", "exe=/bin/other"]), ["alert"]);
    assert_eq!(kinds(&["--where", "name=name", "--exclude", "uid=0", "--limit", "1"]), ["error"]);
    assert_eq!(kinds(&["--where", "exe=/bin/name", "--where", "uid=1"]), [""; 0]);
    let rows = json_query(place.path(), &["--events", "--range", "all", "--kind", "alert", "--kind", "gap"]);
    let expected = json!([
        {"time": 1700000000, "time_iso": "2023-11-14T23:13:20+01:00", "begin": null, "begin_iso": null,
         "kind": "alert", "subject": "new exe", "uid": 0, "exe": "/bin/name", "name": "name",
         "sha256": "ab".repeat(32), "count": 1, "text": "",
         "writer": {"pid": 7, "exe": "/bin/sh", "name": "sh", "uid": UID}},
        {"time": 1700000030, "time_iso": "2023-11-14T23:13:50+01:00", "begin": 1699999990,
         "begin_iso": "2023-11-14T23:13:10+01:00", "kind": "gap", "subject": null, "uid": null, "exe": null,
         "name": null, "sha256": null, "count": 1, "text": "Nothing was recorded.", "writer": null},
    ]);
    assert_eq!(rows, expected);
    let csv =
        query(place.path(), &["--events", "--range", "all", "--kind", "error", "--kind", "alert", "--csv"]);
    let digest = "ab".repeat(32);
    assert_eq!(
        csv,
        format!(
            "time,time_iso,begin,begin_iso,kind,subject,uid,exe,name,sha256,count,text,writer_pid,writer_exe,\
             writer_name,writer_uid\r\n\
             1700000000,2023-11-14T23:13:20+01:00,,,alert,new exe,0,/bin/name,name,{digest},1,,7,/bin/sh,sh,{UID}\r\n\
             1700000020,2023-11-14T23:13:40+01:00,,,error,,4000000000,\
             \"/tmp/\\x1b]0;x\\x07\\x0a\\xff,\"\"=1\",name,{digest},1,'=cannot hash \\x1b[31m,,,,\r\n"
        )
    );
    let base = place.path();
    refuse(base, &["--events", "--kind", "colour"], "there is no such kind; there are: alert, error, loss,");
    refuse(base, &["--events", "--group-by", "exe"], "cannot be used with");
    refuse(base, &["--events", "--sort", "sent"], "cannot be used with");
    refuse(base, &["--events", "--seen"], "cannot be used with");
    refuse(base, &["--kind", "alert"], "--events");
    refuse(
        base,
        &["--events", "--where", "port=1"],
        "events have no port: they can be filtered by exe, name, uid",
    );
}

#[test]
fn programs_are_listed_by_when_they_were_first_seen() {
    let place = log();
    let digest = "ab".repeat(32);
    let rows = json_query(place.path(), &["--seen"]);
    let rows = rows.as_array().unwrap();
    let paths: Vec<_> = rows.iter().map(|row| row["exe"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/bin/old", "/bin/a", "/tmp/\u{1b}]0;x\u{7}\n\\xff,\"=1"]);
    assert_eq!(
        rows[0],
        json!({"exe": "/bin/old", "sha256": digest, "uid": UID, "first": 1700000000, "last": 1700000000,
               "first_iso": "2023-11-14T23:13:20+01:00", "last_iso": "2023-11-14T23:13:20+01:00"})
    );
    assert_eq!(rows[1]["last"].as_i64().unwrap() - rows[1]["first"].as_i64().unwrap(), 600);
    assert_eq!(json_query(place.path(), &["--seen", "--since", "5m"]).as_array().unwrap().len(), 1);
    assert_eq!(json_query(place.path(), &["--seen", "--range", "1h"]).as_array().unwrap().len(), 2);
    assert_eq!(json_query(place.path(), &["--seen", "--limit", "1"])[0], rows[2]);
    assert_eq!(json_query(place.path(), &["--seen", "--where", "exe=/bin/a"]), json!([rows[1]]));
    assert_eq!(json_query(place.path(), &["--seen", "--exclude", &format!("uid={UID}")]), json!([]));
    let text = query(place.path(), &["--seen", "--until", "1700000000", "--where", &format!("uid={UID}")]);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[1].starts_with("2023-11-14 23:13  2023-11-14 23:13  1000000007"), "{text}");
    assert!(lines[1].ends_with(&format!("  {}  /bin/old", &digest[..16])), "{text}");
    let csv = query(place.path(), &["--seen", "--csv", "--until", "1700000000"]);
    assert_eq!(
        csv,
        format!(
            "exe,sha256,uid,first,first_iso,last,last_iso\r\n/bin/old,{digest},{UID},1700000000,2023-11-14T23:13:20+01:00,\
         1700000000,2023-11-14T23:13:20+01:00\r\n"
        )
    );
    refuse(
        place.path(),
        &["--seen", "--where", "name=a"],
        "have no name: they can be filtered by exe, uid, sha256",
    );
    refuse(place.path(), &["--seen", "--group-by", "exe"], "cannot be used with");
}

#[test]
fn mistakes_are_answered_with_what_is_possible() {
    let place = log();
    let base = place.path();
    refuse(base, &["--group-by", "colour"], "there is no dimension \"colour\"; there are: exe, name,");
    refuse(base, &["--where", "colour=red"], "there is no dimension \"colour\"; there are: exe, name,");
    refuse(base, &["--where", "exe"], "write DIMENSION=VALUE");
    refuse(
        base,
        &["--where", "port=no-service"],
        "port cannot be \"no-service\": expected a port from 0 to 65535",
    );
    refuse(
        base,
        &["--where", "uid=no user"],
        "uid cannot be \"no user\": expected the name of a user or a number",
    );
    refuse(base, &["--where", "address=300.1.1.1"], "expected an address, a network");
    refuse(
        base,
        &["--since", "2023-11-15", "--until", "2023-11-14"],
        "is later than --until (2023-11-14 23:59:59)",
    );
    refuse(base, &["--since", "tomorrow"], "write 2026-11-28, \"2026-11-28 14:30\"");
    refuse(base, &["--until", "2023-02-30"], "--until: \"2023-02-30\" is no time");
    refuse(base, &["--range", "5 parsecs"], "write a length such as 5m, 1h, 30d or 1w, today");
    refuse(base, &["--range", "0m"], "\"0m\" is no range");
    refuse(base, &["--range", "1h", "--since", "1"], "cannot be used with");
    refuse(base, &["--sort", "uid"], "--sort uid needs --group-by uid");
    refuse(base, &["-g", "exe", "-g", "exe"], "twice");
    refuse(base, &["--json", "--csv"], "cannot be used with");
    refuse(base, &[OsStr::from_bytes(b"--where"), OsStr::from_bytes(b"\x1b\xff=1")], "there is no dimension");
    let empty = tempfile::tempdir().unwrap();
    refuse(empty.path(), &["--json"], "start the daemon first");
    fs::write(empty.path().join("snitch.db"), "no database at all, but long enough to look like one")
        .unwrap();
    refuse(empty.path(), &["--json"], "is not a database");
}

#[test]
fn a_lack_of_rights_says_what_to_do() {
    // As root, the test changes to an unprivileged user; any other user lacks the right already.
    let place = log();
    let binary = place.path().join("picosnitch");
    executables::copy(env!("CARGO_BIN_EXE_picosnitch"), &binary);
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let database = place.path().join("snitch.db");
    fs::set_permissions(&database, fs::Permissions::from_mode(0o000)).unwrap();
    let mut command = Command::new(&binary);
    command.arg("--base-dir").arg(place.path()).arg("query");
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } == 0 {
        command.uid(65_534).gid(65_534);
    }
    let output = command.output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("sudo picosnitch query") && message.contains("Permission denied"), "{message}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = log();
    let mut child = Command::new(env!("CARGO_BIN_EXE_picosnitch"))
        .args(["--base-dir".as_ref(), place.path().as_os_str()])
        .args(["query", "--range", "5m", "--where", "exe=/bin/a", "--csv"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.status.signal()), (Some(0), None));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!message.contains("pipe") && !message.contains("panicked"), "{message}");
}
