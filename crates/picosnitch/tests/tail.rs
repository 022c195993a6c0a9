//! `picosnitch tail` as a user runs it, on a log that is written and replaced meanwhile.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[allow(dead_code, reason = "tests/questions uses the rest")]
mod logs;

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    os::unix::{
        fs::PermissionsExt,
        process::{CommandExt, ExitStatusExt},
    },
    path::Path,
    process::{Child, ChildStdout, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use logs::{Answer, Log, TRAFFIC, Traffic, UID, picosnitch, run};
use model::{Event, EventKind, Window, text::time::now};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use store::Writer;

/// The longest wait for a line.
const TIMEOUT: Duration = Duration::from_secs(20);
const ZONE: &str = "Europe/Berlin";

fn tail(log: &Log, arguments: &[&str]) -> Answer {
    run(log.path(), ZONE, "tail", arguments)
}

/// The lines of JSON of what is there.
fn lines(log: &Log, arguments: &[&str]) -> Vec<Value> {
    let answer = tail(log, &[&["--no-follow", "--json"], arguments].concat());
    assert_eq!(answer.code, Some(0), "{}", answer.err);
    answer.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn alert(time: i64, path: &[u8]) -> Event {
    let mut event = Event::new(EventKind::Alert, time, "A program is new.");
    (event.subject, event.path, event.uid) = ("new exe".into(), path.to_vec(), Some(UID));
    event
}

fn traffic(exe: &[u8], sent: u64) -> Traffic<'_> {
    Traffic { exe, sent, domain: "example.org", unit: "a.service", ..TRAFFIC }
}

fn window(time: i64, sent: u64) -> Window {
    Window { time, records: vec![traffic(b"/usr/bin/curl", sent).record()], ..Window::default() }
}

/// A log with two windows: an event and a record in the first, two records in the second.
fn two_windows() -> Log {
    let log = Log::new(ZONE, &[]);
    let odd = Traffic { domain: "", address: "10.0.0.1", ..traffic(b"/tmp/\x1b]0;x\x07\n\xff", 5) };
    log.write([
        Window { events: vec![alert(1_699_999_995, b"/usr/bin/curl")], ..window(1_700_000_000, 3) },
        Window {
            records: vec![traffic(b"/usr/bin/curl", 4).record(), odd.record()],
            ..window(1_700_000_010, 0)
        },
    ]);
    log
}

#[test]
fn a_line_of_json_has_all_of_a_record_or_an_event() {
    let log = two_windows();
    let lines = lines(&log, &["--range", "all"]);
    let kinds: Vec<&str> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["event", "record", "record", "record"]);
    let uuid = lines[0]["log"].as_str().unwrap().to_owned();
    assert_eq!(uuid.len(), 32);
    let ids: Vec<&str> = lines.iter().map(|line| line["id"].as_str().unwrap()).collect();
    let expected = ["1/event/0", "1/0", "2/0", "2/1"].map(|end| format!("{uuid}/1/{end}"));
    assert_eq!(ids, expected);
    let expected = json!({
        "type": "event", "id": expected[0], "log": uuid, "epoch": 1, "window": 1, "event_number": 0,
        "time": 1_699_999_995, "time_iso": "2023-11-14T23:13:15+01:00", "begin": null, "begin_iso": null, "kind": "alert",
        "subject": "new exe", "uid": UID, "exe": "/usr/bin/curl", "name": null, "sha256": null, "count": 1,
        "text": "A program is new.", "writer": null,
    });
    assert_eq!(lines[0], expected);
    let expected = json!({
        "type": "record", "id": ids[1], "log": uuid, "epoch": 1, "window": 1, "sequence": 0, "time": 1_700_000_000,
        "time_iso": "2023-11-14T23:13:20+01:00", "exe": "/usr/bin/curl", "name": "curl", "cmdline": "curl",
        "sha256": "ab".repeat(32), "uid": UID, "pexe": "", "pname": "", "pcmdline": "", "psha256": null, "gpexe": "",
        "gpname": "", "gpcmdline": "", "gpsha256": null, "domain": "example.org", "domain-source": "unknown",
        "address": "198.51.100.1", "port": 443, "laddress": null, "lport": 0, "protocol": "tcp", "family": "ipv4",
        "netns": 0, "cgroup": "", "unit": "a.service", "container": "", "app": "", "country": "", "asn": 0, "network": "",
        "conns": 1, "received": 0, "sent": 3, "folded": 0,
    });
    assert_eq!(lines[1], expected);
    assert_eq!(lines[3]["exe"], "/tmp/\u{1b}]0;x\u{7}\n\\xff", "as in every JSON of picosnitch");
    let answer = tail(&log, &["--no-follow", "--json", "--range", "all"]);
    assert!(
        answer.out.chars().all(|character| character == '\n' || !character.is_control()),
        "{}",
        answer.out
    );
}

#[test]
fn conditions_choose_records_and_events() {
    let log = two_windows();
    let ends = |arguments: &[&str]| {
        let end = |line: Value| line["id"].as_str().unwrap().splitn(3, '/').nth(2).unwrap().to_owned();
        lines(&log, &[&["--range", "all"], arguments].concat())
            .into_iter()
            .map(end)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(ends(&[]), "1/event/0 1/0 2/0 2/1");
    assert_eq!(ends(&["--events-only"]), "1/event/0");
    assert_eq!(ends(&["--kind", "start"]), "");
    assert_eq!(ends(&["--kind", "alert", "--kind", "start"]), "1/event/0");
    assert_eq!(ends(&["--records-only"]), "1/0 2/0 2/1");
    assert_eq!(ends(&["--where", "exe=curl"]), "1/event/0 1/0 2/0");
    assert_eq!(ends(&["--exclude", "exe=curl"]), "2/1");
    assert_eq!(ends(&["--where", "domain="]), "2/1", "events have no domain, and not an unknown one");
    assert_eq!(ends(&["--exclude", "domain=.example.org"]), "1/event/0 2/1");
    assert_eq!(ends(&["--internet"]), "1/0 2/0");
    assert_eq!(ends(&["--local"]), "2/1");
    assert_eq!(ends(&["--until", "1700000005"]), "1/event/0 1/0");
    let since = |arguments: &[&str]| lines(&log, arguments).len();
    assert_eq!(since(&["--since", "1700000001"]), 2);
    assert_eq!(since(&["--since", "1699999996", "--until", "1700000000"]), 1);
    assert_eq!(since(&[]), 0, "the last day");
    for (arguments, expected) in [
        (&["--events-only", "--where", "port=443"][..], "events"),
        (&["--where", "port=x"], "--where"),
        (&["--since", "never"], "--since"),
        (&["--kind", "x"], "late_digest"),
        (&["--events-only", "--records-only"], "cannot be used with"),
    ] {
        let answer = tail(&log, arguments);
        assert!(matches!(answer.code, Some(1 | 2)) && answer.out.is_empty(), "{arguments:?} {answer:?}");
        assert!(answer.err.contains(expected), "{arguments:?} {}", answer.err);
    }
    let nowhere = tempfile::tempdir().unwrap();
    let answer = run(nowhere.path(), ZONE, "tail", &[] as &[&str]);
    assert!(answer.code == Some(1) && answer.err.contains("snitch.db"), "{answer:?}");
}

#[test]
fn text_is_one_safe_line_each() {
    let answer = tail(&two_windows(), &["--no-follow", "--range", "all"]);
    let lines: Vec<&str> = answer.out.lines().collect();
    assert_eq!(lines.len(), 4, "{}", answer.out);
    assert!(
        lines[0].ends_with(&format!("  alert  /usr/bin/curl ({UID}): A program is new.")),
        "{}",
        lines[0]
    );
    let expected = format!(
        "  record  /usr/bin/curl ({UID}): tcp example.org (198.51.100.1) port 443, 1 connections, 0 B received, 3 B sent"
    );
    assert!(lines[1].ends_with(&expected), "{}", lines[1]);
    assert!(lines[1].starts_with("2023-11-14 23:13:20"), "{}", lines[1]);
    assert!(
        answer.out.chars().all(|character| character == '\n' || !character.is_control()),
        "{}",
        answer.out
    );
}

/// `picosnitch tail --json` while the log changes.
struct Following {
    child: Child,
    lines: Receiver<String>,
}

impl Following {
    fn start(base: &Path, arguments: &[&str]) -> Self {
        let mut command = picosnitch(base, ZONE, "tail");
        command.arg("--json").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (found, lines) = channel();
        let read = |out: ChildStdout| BufReader::new(out).lines().map_while(Result::ok);
        let out = read(child.stdout.take().unwrap());
        thread::spawn(move || out.for_each(|line| drop(found.send(line))));
        Self { child, lines }
    }

    /// The bytes sent by the records of the next lines.
    fn sent(&self, count: usize) -> Vec<u64> {
        let sent = |line: String| serde_json::from_str::<Value>(&line).unwrap()["sent"].as_u64().unwrap();
        (0..count).map(|_| sent(self.lines.recv_timeout(TIMEOUT).unwrap())).collect()
    }

    /// How it ended, and the lines that were not taken.
    fn end(mut self) -> (std::process::ExitStatus, usize) {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, self.lines.iter().count());
            }
            assert!(began.elapsed() < TIMEOUT, "it does not end");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Waits until the process has the log open.
fn wait_until_open(child: &Child, log: &Path) {
    let began = Instant::now();
    let directory = format!("/proc/{}/fd", child.id());
    let is_open = || {
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        entries.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| target == log)
    };
    while !is_open() {
        assert!(began.elapsed() < TIMEOUT, "the log is not opened");
        thread::sleep(Duration::from_millis(10));
    }
    // What it finds there is what it begins after.
    thread::sleep(Duration::from_millis(300));
}

#[test]
fn a_log_that_is_written_and_replaced_is_followed() {
    let log = two_windows();
    let path = log.path().join("snitch.db");
    let following = Following::start(log.path(), &["--records-only"]);
    wait_until_open(&following.child, &path);
    let mut writer = Writer::open(&path).unwrap();
    for sent in 10..20 {
        writer.write(&window(now(), sent)).unwrap();
    }
    assert_eq!(following.sent(10), (10..20).collect::<Vec<_>>(), "only what came since");
    // The same file goes on after a restart.
    writer.checkpoint().unwrap();
    drop(writer);
    let copy = log.path().join("copy");
    fs::copy(&path, &copy).unwrap();
    log.write([window(now(), 20), window(now(), 21)]);
    assert_eq!(following.sent(2), [20, 21]);
    // An older copy takes its place: windows that were printed do not come again.
    fs::remove_file(&path).unwrap();
    for end in ["snitch.db-wal", "snitch.db-shm"] {
        let _ = fs::remove_file(log.path().join(end));
    }
    fs::rename(&copy, &path).unwrap();
    log.write([window(now(), 30), window(now(), 31)]);
    assert_eq!(following.sent(2), [30, 31]);
    // A new log, after none was there.
    fs::remove_file(&path).unwrap();
    for end in ["snitch.db-wal", "snitch.db-shm", "snitch.identity"] {
        let _ = fs::remove_file(log.path().join(end));
    }
    thread::sleep(Duration::from_millis(1200));
    log.write([window(now(), 40)]);
    assert_eq!(following.sent(1), [40]);
    kill(Pid::from_raw(following.child.id() as i32), Signal::SIGINT).unwrap();
    let (status, rest) = following.end();
    assert_eq!((status.signal(), rest), (Some(Signal::SIGINT as i32), 0));
}

/// Events and records of a window, each with a number of its own as count or bytes sent.
fn full_window(time: i64, number: u64) -> Window {
    let event = |count| Event { count, ..alert(time, b"/usr/bin/curl") };
    Window {
        time,
        events: vec![event(number), event(number + 1)],
        records: vec![traffic(b"/a", number + 2).record(), traffic(b"/b", number + 3).record()],
        ..Window::default()
    }
}

#[test]
fn a_reader_that_remembers_its_last_line_misses_nothing_and_gets_nothing_twice() {
    let log = Log::new(ZONE, &[]);
    let state = log.path().join("state");
    let after = ["--after", state.to_str().unwrap(), "--since", "1700000000"];
    let number = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["sent"].as_u64().or(line["count"].as_u64()).unwrap()
    };
    let mut written: u32 = 0;
    let mut write = |windows: u32| {
        for _ in 0..windows {
            log.write([full_window(1_700_000_000 + i64::from(written), 4 * u64::from(written))]);
            written += 1;
        }
    };
    write(3);
    let mut read = Vec::new();
    // It ends at every place of a window, some of them twice.
    for lines in [1, 2, 3, 4, 5, 6, 7, 8] {
        let following = Following::start(log.path(), &after);
        for _ in 0..lines {
            let line = following.lines.recv_timeout(TIMEOUT).unwrap();
            read.push(number(&line));
            // As a script does it: the line as a whole, at once.
            fs::write(&state, line + "\n").unwrap();
        }
        kill(Pid::from_raw(following.child.id() as i32), Signal::SIGKILL).unwrap();
        following.end();
        // Meanwhile the log goes on.
        write(1 + lines as u32 % 2);
    }
    assert_eq!(read, (0..36).collect::<Vec<_>>());
    // The file may have all lines; what has no end was not written wholly.
    let line = format!("{}junk", fs::read_to_string(&state).unwrap());
    fs::write(&state, format!("not a line\n{line}")).unwrap();
    let following = Following::start(log.path(), &[&after[..], &["--records-only"]].concat());
    assert_eq!(following.sent(3), [38, 39, 42]);
    kill(Pid::from_raw(following.child.id() as i32), Signal::SIGKILL).unwrap();
    following.end();
    // An older copy of the log takes its place: what it gets then has other names.
    let identity = log.path().join("snitch.identity");
    let text = fs::read_to_string(&identity).unwrap();
    fs::write(&identity, text.replace(&format!("{written:>20}\n"), &format!("{:>20}\n", written + 5)))
        .unwrap();
    fs::write(&state, line.rsplit_once('\n').unwrap().0.to_owned() + "\n").unwrap();
    log.write([full_window(1_700_001_000, 4000)]);
    let following = Following::start(log.path(), &[&after[..], &["--records-only"]].concat());
    let mut found = Vec::new();
    while found.last() != Some(&4003) {
        found.extend(following.sent(1));
    }
    kill(Pid::from_raw(following.child.id() as i32), Signal::SIGKILL).unwrap();
    following.end();
    assert_eq!(
        found.first(),
        Some(&34),
        "from the time of the line on, which was one of window 9: {found:?}"
    );
    for wrong in ["{}\n", "x\n", "{\"id\": \"ab/1/2/3\", \"time\": 1}\n"] {
        fs::write(&state, wrong).unwrap();
        let answer = tail(&log, &after);
        assert!(answer.code == Some(1) && answer.err.contains("is not one of"), "{answer:?}");
    }
}

/// The script of docs/tail.md that runs a command for each alert.
fn script_for_alerts() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/tail.md");
    let text = fs::read_to_string(path).unwrap();
    let begin = text.find("#!/bin/sh").unwrap();
    text[begin..].split("```").next().unwrap().to_owned()
}

#[test]
fn the_script_for_alerts_runs_its_command_for_each_also_if_it_fails_and_is_killed() {
    let log = Log::new(ZONE, &[]);
    let directory = log.path().join("bin");
    fs::create_dir(&directory).unwrap();
    let install = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let script = install("on-alert", &script_for_alerts());
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_picosnitch"), directory.join("picosnitch")).unwrap();
    // It fails while there is a file `fail`.
    install(
        "my-program",
        "#!/bin/sh\nprintf '%s\\n' \"$1\" >>\"$STATE_DIRECTORY/got\" && [ ! -e \"$STATE_DIRECTORY/fail\" ]\n",
    );
    let fail = log.path().join("fail");
    let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
    let start = || {
        let mut command = std::process::Command::new(&script);
        command.env("PATH", &path).env("STATE_DIRECTORY", log.path()).env("PICOSNITCH_BASE_DIR", log.path());
        // A group of its own, which ends as a unit does.
        command.process_group(0).spawn().unwrap()
    };
    let got = || -> Vec<u64> {
        let text = fs::read_to_string(log.path().join("got")).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["count"].as_u64().unwrap())
            .collect()
    };
    let wait_for = |last: u64| {
        let began = Instant::now();
        while got().last() != Some(&last) {
            assert!(began.elapsed() < TIMEOUT, "{last} does not come: {:?}", got());
            thread::sleep(Duration::from_millis(20));
        }
    };
    let write = |counts: std::ops::Range<u64>| {
        // An odd name, and two alerts in each window.
        let event = |count| Event { count, ..alert(now(), b"/tmp/$(touch x) \"`'\\\n\xff") };
        counts.step_by(2).for_each(|count| {
            log.write([Window { events: vec![event(count), event(count + 1)], ..window(now(), 1) }]);
        });
    };
    let noted = || {
        let line = fs::read_to_string(log.path().join("line")).unwrap_or_default();
        serde_json::from_str::<Value>(&line).ok().and_then(|line| line["count"].as_u64())
    };
    write(0..4);
    let mut child = start();
    wait_for(3);
    // Before that note the next start would begin with this one.
    let began = Instant::now();
    while noted() != Some(3) {
        assert!(began.elapsed() < TIMEOUT, "it is not noted: {:?}", noted());
        thread::sleep(Duration::from_millis(20));
    }
    kill(Pid::from_raw(-(child.id() as i32)), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    write(4..8);
    // Its command fails once: it ends, and the next start does it again.
    fs::write(&fail, "").unwrap();
    let mut child = start();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(got().last(), Some(&4));
    fs::remove_file(&fail).unwrap();
    let mut child = start();
    wait_for(7);
    write(8..10);
    wait_for(9);
    kill(Pid::from_raw(-(child.id() as i32)), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    let mut counts = got();
    // Killed between the command and the note of it, it may run it again.
    counts.dedup();
    assert_eq!(counts, (0..10).collect::<Vec<_>>());
    assert_eq!(got().iter().filter(|count| **count == 4).count(), 2);
}

#[test]
fn many_windows_are_each_printed_once_while_they_are_written() {
    let log = Log::new(ZONE, &[(1_700_000_000, TRAFFIC)]);
    let following = Following::start(log.path(), &["--range", "all", "--records-only"]);
    let path = log.path().join("snitch.db");
    let writer = thread::spawn(move || {
        let mut writer = Writer::open(&path).unwrap();
        for number in 0..400_u32 {
            writer.write(&window(1_700_000_010 + i64::from(number), u64::from(number) + 2)).unwrap();
        }
    });
    assert_eq!(following.sent(401), (1..=401).collect::<Vec<_>>());
    writer.join().unwrap();
    kill(Pid::from_raw(following.child.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(following.end().1, 0);
    let ids: HashSet<String> =
        lines(&log, &["--range", "all"]).iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 401);
}

#[test]
fn it_ends_with_its_range_and_with_its_reader() {
    let log = two_windows();
    let end = now() + 3600;
    let following = Following::start(log.path(), &["--records-only", "--until", &end.to_string()]);
    wait_until_open(&following.child, &log.path().join("snitch.db"));
    log.write([window(end - 5, 7), window(end + 5, 8)]);
    let sent = following.sent(1);
    let (status, rest) = following.end();
    assert!(sent == [7] && rest == 0 && status.success(), "{sent:?} {rest} {status}");
    // Nobody reads, and nothing is written.
    let mut command = picosnitch(log.path(), ZONE, "tail");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    wait_until_open(&child, &log.path().join("snitch.db"));
    drop(child.stdout.take());
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < TIMEOUT, "it does not notice that its reader is gone");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
    // A reader that takes one line only.
    let text = format!(
        "{} --base-dir {} tail --range all | head -n 1",
        env!("CARGO_BIN_EXE_picosnitch"),
        log.path().display()
    );
    let output =
        std::process::Command::new("sh").args([OsStr::new("-c"), OsStr::new(&text)]).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 1);
}
