//! `picosnitch forget` as a user runs it, also if it is killed.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use config::layout::Layout;
use known_programs::{Rank, RecordFile};
use model::{
    Counters, Event, EventKind, FlowTuple, GeoInfo, ProcessContext, Program, Record, Window, text::time,
};
use store::{Dimension, Filter, Query, Range, Reader, Writer};

const SECRET: &str = "/opt/secret/bin/tool";
const DOMAIN: &str = "secret.example.net";
const ADDRESS: &str = "2001:db8:5ec:2e7::7";
const START: i64 = 1_700_000_000;

fn picosnitch(base: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_picosnitch"));
    command.arg("--base-dir").arg(base).arg("forget").args(arguments).env_remove("PICOSNITCH_BASE_DIR");
    command
}

fn run(base: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        picosnitch(base, arguments).stdin(Stdio::null()).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn record(path: &str, parent: &str, domain: &str, address: &str, line: &str) -> Record {
    let program = |path: &str, line: &str| Program {
        path: path.into(),
        name: b"x".to_vec(),
        command_line: line.into(),
        ..Program::default()
    };
    let context = ProcessContext {
        program: program(path, line),
        parent: program(parent, ""),
        ..ProcessContext::default()
    };
    let tuple = FlowTuple {
        family: 2,
        protocol: 6,
        remote_port: 443,
        remote_address: Some(address.parse().unwrap()),
        domain: domain.into(),
        ..FlowTuple::default()
    };
    let counters = Counters { connections: 1, sent: 1, received: 0 };
    Record { context: Arc::new(context), tuple, geo: GeoInfo::default(), counters, opened: false, folded: 0 }
}

/// Makes all files in `base` with `windows` windows, each with a record of the secrets and two of others.
fn make(base: &Path, windows: i64) {
    let layout = Layout::new(Some(base), None);
    let mut writer = Writer::open(&layout.database).unwrap();
    writer.set_configuration(&format!("a = \"{SECRET}\"\nb = \"{DOMAIN} {ADDRESS}\"")).unwrap();
    for number in 0..windows {
        let records = vec![
            record(SECRET, "/bin/sh", DOMAIN, ADDRESS, SECRET),
            record("/bin/child", SECRET, "other.example", "192.0.2.1", ""),
            record(
                "/bin/curl",
                "/bin/sh",
                "other.example",
                "192.0.2.2",
                &format!("curl\0{SECRET}\0https://{DOMAIN}/\0[{ADDRESS}]:1"),
            ),
        ];
        let mut alert = Event::new(EventKind::Alert, START, format!("{DOMAIN} {ADDRESS}"));
        alert.path = SECRET.into();
        let events = if number % 100 == 0 { vec![alert] } else { vec![] };
        writer.write(&Window { time: START + number * 10, records, events, ..Window::default() }).unwrap();
    }
    while writer.catch_up().unwrap() {}
    drop(writer);
    let (mut file, _) = RecordFile::open(&layout.record_json);
    for path in [SECRET, "/bin/kept"] {
        for rank in Rank::ALL {
            file.known().lock().observe(rank, path.as_bytes(), b"x");
        }
    }
    file.save(Instant::now());
    file.known().lock().observe(Rank::Program, SECRET.as_bytes(), b"y");
    file.save(Instant::now());
    let at = time::local(START);
    let later = time::local(START + 100_000);
    let lines =
        format!("{at} x {SECRET} (new exe)\n{later} x /bin/kept (new exe)\n{at} {DOMAIN} {ADDRESS}\n");
    for path in [&layout.exe_log, &layout.error_log] {
        fs::write(path, &lines).unwrap();
        fs::write(format!("{}.1", path.display()), &lines).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
    }
    let line = |path: &str, time: i64| {
        format!("{path},x,line,,{time},{DOMAIN},{ADDRESS},443,0,/bin/sh,sh,,,1,1,0\n")
    };
    let kept =
        format!("/bin/kept,x,line,,{},a.example,192.0.2.1,443,0,/bin/sh,sh,,,1,1,0\n", START + 100_000);
    fs::write(&layout.conn_log, line(SECRET, START) + &kept).unwrap();
    fs::write(
        base.join("record.json.damaged-20260101-000000"),
        format!("{{\n \"{SECRET}\": [\n{DOMAIN} {ADDRESS}\n"),
    )
    .unwrap();
}

/// The files below `base` that have these bytes.
fn files_with(base: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let has = |path: &PathBuf| {
        path.is_file() && fs::read(path).unwrap().windows(bytes.len()).any(|window| window == bytes)
    };
    let mut found: Vec<_> =
        fs::read_dir(base).unwrap().map(|entry| entry.unwrap().path()).filter(has).collect();
    found.sort();
    found
}

fn sent(base: &Path) -> u64 {
    Reader::open(&base.join("snitch.db")).unwrap().query(&Query::default()).unwrap()[0].counters.sent
}

#[test]
fn nothing_of_it_stays_in_any_file() {
    for (what, secrets) in [
        (format!("exe={SECRET}"), vec![SECRET.as_bytes()]),
        (format!("domain={DOMAIN}"), vec![DOMAIN.as_bytes()]),
        (format!("address={ADDRESS}"), vec![ADDRESS.as_bytes(), &[0x20, 1, 0xd, 0xb8, 5, 0xec, 2, 0xe7]]),
        ("address=2001:db8:5ec::/48".to_owned(), vec![ADDRESS.as_bytes()]),
    ] {
        let base = tempfile::tempdir().unwrap();
        let base = base.path();
        make(base, 300);
        assert!(files_with(base, secrets[0]).len() > 5, "{:?}", files_with(base, secrets[0]));
        // Nothing is deleted without a confirmation.
        let (code, out, err) = run(base, &[&what]);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
        assert!(err.contains("deleted for ever: 300 records, ") && err.contains("--yes"), "{err}");
        assert_eq!(sent(base), 900);
        for name in ["exe.log.2.gz", "snitch.db.damaged-1"] {
            fs::write(base.join(name), "?").unwrap();
        }
        let (code, out, err) = run(base, &[&what, "--yes"]);
        assert_eq!(code, Some(0), "{err}");
        assert!(
            err.contains("exe.log.2.gz was not looked at") && err.contains("snitch.db.damaged-1 was"),
            "{err}"
        );
        assert!(out.starts_with("Deleted: 300 records, ") && !out.contains("secret"), "{out}");
        for secret in &secrets {
            assert_eq!(files_with(base, secret), [""; 0].map(PathBuf::from), "{what}");
        }
        assert_eq!(sent(base), 600);
        let reader = Reader::open(&base.join("snitch.db")).unwrap();
        let events = reader.events(Range::default(), &[EventKind::Forget], 10).unwrap();
        assert_eq!((events.len(), events[0].count), (1, 300));
        for name in ["exe.log", "error.log", "exe.log.1", "error.log.1", "conn.log", "record.json"] {
            let text = fs::read_to_string(base.join(name)).unwrap();
            assert!(text.contains("/bin/kept"), "{name} {text}");
        }
        assert_eq!(fs::metadata(base.join("exe.log")).unwrap().permissions().mode() & 0o7777, 0o640);
        assert!(!base.join("snitch.forget").exists());
        let (code, _, err) = run(base, &[&what, "--yes"]);
        assert!(code == Some(1) && err.contains("nothing to forget"), "{err}");
    }
}

#[test]
fn a_span_of_time_is_forgotten_in_all_files_with_times() {
    let base = tempfile::tempdir().unwrap();
    let base = base.path();
    make(base, 300);
    let (from, to) = ((START + 500).to_string(), (START + 999).to_string());
    let (code, out, err) = run(base, &["--since", &from, "--until", &to, "--yes"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("Deleted: 150 records"), "{out}");
    assert_eq!(sent(base), 750);
    assert!(fs::read_to_string(base.join("exe.log")).unwrap().contains(SECRET));
    let (code, ..) = run(base, &["--until", &(START + 10).to_string(), "--yes"]);
    assert_eq!(code, Some(0));
    assert_eq!(sent(base), 744);
    for name in ["exe.log", "error.log.1", "conn.log"] {
        let text = fs::read_to_string(base.join(name)).unwrap();
        assert!(!text.contains("secret") && text.contains("/bin/kept"), "{name} {text}");
    }
}

#[test]
fn what_cannot_be_forgotten_is_refused() {
    let base = tempfile::tempdir().unwrap();
    let base = base.path();
    let (code, _, err) = run(base, &["exe=/x", "--yes"]);
    assert!(code == Some(1) && err.contains("there is no log"), "{err}");
    make(base, 3);
    for (arguments, expected) in [
        (vec![], "name what to forget"),
        (vec!["exe="], "cannot be forgotten"),
        (vec!["domain=many"], "cannot be forgotten"),
        (vec!["port=443"], "cannot be forgotten"),
        (vec!["curl"], "is not DIMENSION=VALUE"),
        (vec!["app=x", "--since", "5"], "cannot be used with"),
        (vec!["address=x"], "expected an address"),
        (vec!["nothing=x"], "there is no dimension"),
        (vec!["--since", "tomorrow"], "is no time"),
        (vec!["--since", "7", "--until", "6"], "later than"),
        (vec!["exe=/none", "--yes"], "nothing to forget"),
    ] {
        let (code, out, err) = run(base, &arguments);
        assert!(code != Some(0) && out.is_empty() && err.contains(expected), "{arguments:?}: {err}");
    }
    assert_eq!(sent(base), 9);
    // While picosnitch records.
    let lock = fs::File::options().write(true).open(base.join(".picosnitch.lock")).unwrap();
    lock.lock().unwrap();
    let (code, _, err) = run(base, &[&format!("exe={SECRET}"), "--yes"]);
    assert!(code == Some(1) && err.contains("stop it (sudo "), "{err}");
    // Not only closed: a process that another test starts has it open until it executes its program.
    lock.unlock().unwrap();
    // While a reader has the log: it can be ended then.
    let reader = rusqlite::Connection::open(base.join("snitch.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM log").unwrap();
    let (code, _, err) = run(base, &[&format!("exe={SECRET}"), "--yes"]);
    assert!(code == Some(1) && err.contains("has not ended") && err.contains("without arguments"), "{err}");
    let (code, _, err) = run(base, &[&format!("domain={DOMAIN}"), "--yes"]);
    assert!(code == Some(1) && err.contains("without arguments first"), "{err}");
    drop(reader);
    let (code, out, err) = run(base, &[]);
    assert!(code == Some(0) && out.contains("interrupted is ended"), "{err}");
    assert_eq!(files_with(base, SECRET.as_bytes()), [""; 0].map(PathBuf::from));
    assert_eq!(sent(base), 6);
    // Half a request: nothing was begun.
    fs::write(base.join("snitch.forget"), "picosnitch forget\nprogram 2f62").unwrap();
    let (code, out, _) = run(base, &[]);
    assert!(code == Some(0) && out.contains("before it began"), "{out}");
    assert!(!base.join("snitch.forget").exists());
}

#[test]
fn a_kill_at_any_moment_leaves_all_or_what_is_ended_later() {
    let original = tempfile::tempdir().unwrap();
    make(original.path(), 3000);
    let sum = sent(original.path());
    let mut duration = Duration::from_millis(400);
    let (mut pending, mut before, mut done) = (0, 0, 0);
    let mut seed = 12_345_u64;
    for kill in 0..40 {
        let copy = tempfile::tempdir().unwrap();
        let base = copy.path();
        for entry in fs::read_dir(original.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::copy(&path, base.join(path.file_name().unwrap())).unwrap();
            }
        }
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let wait = match kill {
            0 => Duration::from_secs(60),
            _ => duration.mul_f64((seed >> 33) as f64 / (1_u64 << 31) as f64),
        };
        let begin = Instant::now();
        let mut child = picosnitch(base, &[&format!("exe={SECRET}"), "--yes"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while begin.elapsed() < wait && child.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        let _ = child.kill();
        child.wait().unwrap();
        if kill == 0 {
            duration = begin.elapsed();
        }
        let mut has_begun = false;
        if base.join("snitch.forget").exists() {
            let (code, out, err) = run(base, &[]);
            assert_eq!(code, Some(0), "kill {kill} {err}");
            // It may have been killed while it wrote the request, or removed it.
            has_begun = !out.contains("nothing left to do");
        }
        if has_begun {
            pending += 1;
        } else if !files_with(base, SECRET.as_bytes()).is_empty() {
            // As before.
            before += 1;
            assert_eq!(sent(base), sum, "kill {kill}");
            let (code, _, err) = run(base, &[&format!("exe={SECRET}"), "--yes"]);
            assert_eq!(code, Some(0), "kill {kill} {err}");
        } else {
            done += 1;
        }
        assert_eq!(files_with(base, SECRET.as_bytes()), [""; 0].map(PathBuf::from), "kill {kill}");
        assert!(files_with(base, b"2f6f70742f736563726574").is_empty(), "kill {kill}");
        assert!(!base.join("snitch.forget").exists());
        assert_eq!(sent(base), sum / 3 * 2, "kill {kill}");
        let reader = Reader::open(&base.join("snitch.db")).unwrap();
        assert_eq!(
            reader.events(Range::default(), &[EventKind::Forget], 10).unwrap().len(),
            1,
            "kill {kill}"
        );
        let exe = Filter::equal(Dimension::Executable, store::Value::Bytes(b"/bin/curl".to_vec()), false);
        let curl = reader.query(&Query { filters: vec![exe], ..Query::default() }).unwrap()[0].counters.sent;
        assert_eq!(curl, sum / 3);
    }
    let mut out = std::io::stderr().lock();
    writeln!(out, "{pending} pending, {before} before, {done} done, {duration:?} each").unwrap();
    assert!(pending > 5 && before > 2, "{pending} {before} {done}");
}
