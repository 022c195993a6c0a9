//! The user is told: exe.log, record.json, conn.log, notifications, the live socket.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpListener},
    os::unix::{
        ffi::OsStringExt,
        fs::{OpenOptionsExt, PermissionsExt},
        net::UnixStream,
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    fcntl::OFlag,
    pty::{grantpt, posix_openpt, ptsname_r, unlockpt},
    sys::signal::{Signal, kill},
};
use serde_json::Value;

use super::{
    desktop::RunUser,
    harness::{
        Daemon, SmallDisk, WINDOW, assert_recorded, base, configure, error_log, fresh_address, picosnitch,
        refused, root, root_alone, talk, wait_until,
    },
};

/// Users of the machine that have no desktop, for sessions of the tests.
const USER: u32 = 2;
const OTHER_USER: u32 = 3;
/// From the start of an unknown program, a little before its first packet, to the notification.
const NOTIFIED_WITHIN: Duration = Duration::from_millis(500);

pub fn lines(base: &Path, file: &str) -> Vec<String> {
    fs::read_to_string(base.join(file)).unwrap_or_default().lines().map(str::to_owned).collect()
}

pub fn record(base: &Path) -> Value {
    serde_json::from_slice(&fs::read(base.join("record.json")).unwrap()).unwrap()
}

/// A copy of a shell, under a name of any bytes: a program that nobody knows.
pub fn program(base: &Path, name: &[u8]) -> PathBuf {
    let path = base.join(OsString::from_vec(name.to_vec()));
    fs::copy("/bin/bash", &path).unwrap();
    path
}

/// Lets a program connect, and live until it was looked at; the moment before it was started.
pub fn run(program: &Path, address: Ipv4Addr) -> Instant {
    run_to(program, &TcpListener::bind((address, 0)).unwrap())
}

/// The same, to a listener.
pub fn run_to(program: &Path, listener: &TcpListener) -> Instant {
    let (address, port) = (listener.local_addr().unwrap().ip(), listener.local_addr().unwrap().port());
    let script = format!("exec 3<>/dev/tcp/{address}/{port}; printf hello >&3; read -r -n 3 answer <&3");
    let started = Instant::now();
    let mut child = loop {
        // Another test may fork while the copy is open for writing.
        match Command::new(program).args(["-c", &script]).stdin(Stdio::null()).spawn() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                thread::sleep(Duration::from_millis(10))
            }
            child => break child.unwrap(),
        }
    };
    let (mut connection, _) = listener.accept().unwrap();
    connection.read_exact(&mut [0; 5]).unwrap();
    thread::sleep(Duration::from_millis(1500));
    connection.write_all(b"bye").unwrap();
    child.wait().unwrap();
    started
}

fn with_desktop(run_user: &RunUser, base: &Path) -> Daemon {
    let mut command = picosnitch(base, &["start-no-daemon"]);
    command.env("PICOSNITCH_RUN_USER", run_user.path());
    Daemon::start_as(command)
}

#[test]
#[ignore = "needs root"]
fn a_new_program_is_told_once_also_after_a_restart() {
    let _root = root();
    let base = base("");
    let path = program(base.path(), b"stranger");
    for start in 0..2 {
        let daemon = Daemon::start(base.path());
        run(&path, fresh_address());
        run(&path, fresh_address());
        daemon.stop(Signal::SIGTERM);
        let told: Vec<_> = lines(base.path(), "exe.log")
            .into_iter()
            .filter(|line| line.contains("/stranger ") && !line.contains("parent)"))
            .collect();
        assert_eq!(told.len(), 1, "start {start}: {told:?}");
        let expected = format!(" stranger         {} (new name, exe)", path.display());
        assert_eq!(told[0][19..], expected);
    }
    let record = record(base.path());
    let path = path.to_str().unwrap();
    assert_eq!(record["Executables"][path], serde_json::json!(["stranger"]));
    assert_eq!(record["Names"]["stranger"], serde_json::json!([path]));
    assert_eq!(record["SHA256"][path].as_object().unwrap().len(), 1);
    for file in ["exe.log", "record.json"] {
        let mode = fs::metadata(base.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640, "{file}");
    }
    // Another content under the same path.
    let daemon = Daemon::start(base.path());
    File::options().append(true).open(path).unwrap().write_all(b"changed").unwrap();
    run(Path::new(path), fresh_address());
    daemon.stop(Signal::SIGTERM);
    let changed: Vec<_> =
        lines(base.path(), "exe.log").into_iter().filter(|line| line.ends_with("(new hash)")).collect();
    assert_eq!(changed.len(), 1, "{changed:?}");
}

#[test]
#[ignore = "needs root"]
fn names_of_any_bytes_reach_the_files_without_control_characters() {
    let _root = root();
    let base = base("text = true\n");
    let name = b"we\x1b[31m\n\xff,\"<b>";
    let path = program(base.path(), name);
    let daemon = Daemon::start(base.path());
    run(&path, fresh_address());
    daemon.stop(Signal::SIGTERM);
    let again = Daemon::start(base.path());
    run(&path, fresh_address());
    again.stop(Signal::SIGTERM);
    for file in ["exe.log", "conn.log"] {
        let text = fs::read_to_string(base.path().join(file)).unwrap();
        let raw = text.chars().find(|character| character.is_control() && *character != '\n');
        assert_eq!(raw, None, "{file}: {text:?}");
    }
    let told =
        lines(base.path(), "exe.log").into_iter().filter(|line| line.contains("/we\\x1b[31m\\x0a\\xff"));
    assert_eq!(told.count(), 1);
    assert!(lines(base.path(), "conn.log").iter().all(|line| line.split(',').count() == 16));
    let key = format!("{}/we\u{1b}[31m\n\\xff,\"<b>", base.path().display());
    assert!(record(base.path())["Executables"].as_object().unwrap().contains_key(&key));
}

#[test]
#[ignore = "needs root"]
fn a_damaged_record_is_refused_and_left_alone() {
    let _root = root();
    let base = base("");
    let path = base.path().join("record.json");
    for damaged in ["{\"Executables\": {", "", "[1]"] {
        fs::write(&path, damaged).unwrap();
        let (code, text) = refused(picosnitch(base.path(), &["start-no-daemon"]));
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("record.json is damaged") && text.contains("move it away"), "{text}");
        assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
    }
    fs::remove_file(&path).unwrap();
    Daemon::start(base.path()).stop(Signal::SIGTERM);
}

#[test]
#[ignore = "needs root"]
fn the_record_is_whole_after_a_kill_at_any_moment() {
    let _root = root();
    let base = base("");
    let mut known = 0;
    for (round, milliseconds) in [300, 900, 1100, 1350, 1700, 2100].into_iter().enumerate() {
        let daemon = Daemon::start(base.path());
        let place = base.path().to_owned();
        let traffic = thread::spawn(move || {
            for number in 0..30 {
                let path = program(&place, format!("p{round}-{number}").as_bytes());
                let listener = TcpListener::bind((fresh_address(), 0)).unwrap();
                let here = listener.local_addr().unwrap();
                let script = format!("exec 3<>/dev/tcp/{}/{}", here.ip(), here.port());
                assert!(Command::new(&path).args(["-c", &script]).status().unwrap().success());
                fs::remove_file(path).unwrap();
                thread::sleep(Duration::from_millis(60));
            }
        });
        thread::sleep(Duration::from_millis(milliseconds));
        let victim = if round % 2 == 0 { daemon.monitor() } else { daemon.recorder() };
        kill(victim, Signal::SIGKILL).unwrap();
        daemon.end();
        traffic.join().unwrap();
        if base.path().join("record.json").exists() {
            let now = record(base.path())["Executables"].as_object().unwrap().len();
            assert!(now >= known, "{now} < {known}");
            known = now;
        }
    }
    assert!(known > 10, "{known}: nothing was saved before the kills");
}

#[test]
#[ignore = "needs root"]
fn a_full_disk_is_told_and_everything_is_written_later() {
    let _root = root();
    let place = tempfile::tempdir().unwrap();
    let base = place.path().join("small");
    fs::create_dir(&base).unwrap();
    let _disk = SmallDisk::mount(&base, "6m");
    configure(&base, "sqlite = false\ntext = true\n");
    let elsewhere = tempfile::tempdir().unwrap();
    let path = program(elsewhere.path(), b"late");
    let daemon = Daemon::start(&base);
    let mut filler = File::create(base.join("filler")).unwrap();
    let page = [1; 4096];
    while filler.write_all(&page).is_ok() {}
    drop(filler);
    run(&path, fresh_address());
    for file in ["exe.log", "conn.log", "record.json"] {
        let says = |text: &str| {
            text.lines().any(|line| {
                line.contains(file)
                    && (line.contains("could not be written") || line.contains("cannot be written"))
            })
        };
        wait_until(file, || says(&daemon.text()));
    }
    assert_eq!(lines(&base, "exe.log").len(), 0);
    fs::remove_file(base.join("filler")).unwrap();
    daemon.wait_for("record.json can be written again");
    daemon.wait_for("exe.log can be written again; 0 alerts are missing");
    talk(fresh_address(), 1, 1);
    daemon.wait_for("conn.log can be written again.");
    daemon.stop(Signal::SIGTERM);
    assert!(lines(&base, "exe.log").iter().any(|line| line.contains("/late ")));
    assert!(lines(&base, "conn.log").iter().all(|line| line.split(',').count() == 16));
    assert!(record(&base)["Names"].as_object().unwrap().contains_key("late"));
}

#[test]
#[ignore = "needs root"]
fn sighup_opens_the_logs_again() {
    let _root = root();
    let base = base("text = true\n");
    let daemon = Daemon::start(base.path());
    let first = program(base.path(), b"first");
    run(&first, fresh_address());
    let is_first = |line: &String| line.contains("/first,");
    wait_until("the first window", || lines(base.path(), "conn.log").iter().any(is_first));
    thread::sleep(WINDOW * 3);
    for file in ["conn.log", "exe.log"] {
        fs::rename(base.path().join(file), base.path().join(format!("{file}.old"))).unwrap();
    }
    daemon.signal(Signal::SIGHUP);
    let address = fresh_address();
    talk(address, 7, 8);
    run(&program(base.path(), b"second"), fresh_address());
    wait_until("the new file", || {
        lines(base.path(), "conn.log").iter().any(|line| line.contains("/second,"))
    });
    daemon.stop(Signal::SIGTERM);
    assert_recorded(base.path(), address, 1, 7, 8);
    assert!(lines(base.path(), "exe.log.old").iter().any(|line| line.contains("/first ")));
    assert!(lines(base.path(), "exe.log").iter().any(|line| line.contains("/second ")));
    assert!(!lines(base.path(), "conn.log").iter().any(is_first));
}

/// A process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "needs root"]
fn the_end_of_its_terminal_is_the_end_of_a_foreground_run() {
    let _root = root();
    let base = base("");
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let terminal = posix_openpt(flags).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    // Not the terminal of this process, whom its end would end.
    let path = ptsname_r(&terminal).unwrap();
    let slave = File::options().read(true).write(true).custom_flags(libc::O_NOCTTY).open(path).unwrap();
    let mut command = picosnitch(base.path(), &["start-no-daemon"]);
    command.stdin(slave).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = Killed(command.spawn().unwrap());
    drop(command);
    wait_until("the start", || base.path().join("run/live.sock").exists());
    thread::sleep(Duration::from_secs(2));
    let daemon = nix::unistd::Pid::from_raw(child.0.id() as i32);
    kill(daemon, Signal::SIGHUP).unwrap();
    thread::sleep(Duration::from_millis(500));
    assert!(child.0.try_wait().unwrap().is_none(), "its terminal is there");
    drop(terminal);
    kill(daemon, Signal::SIGHUP).unwrap();
    let mut status = None;
    wait_until("the end", || {
        status = child.0.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(0));
}

#[test]
#[ignore = "needs root"]
fn a_new_program_is_notified_at_once_while_the_hasher_is_busy() {
    // Alone: what other tests run would be folded with it.
    let _root = root_alone();
    let Some(run_user) = RunUser::new() else { return };
    let base = base("");
    let session = run_user.log_in(USER);
    let service = session.service();
    let daemon = with_desktop(&run_user, base.path());
    // Four gibibytes of which nothing is on the disk.
    let giant = program(base.path(), b"giant");
    File::options().append(true).open(&giant).unwrap().set_len(4 << 30).unwrap();
    let giant_runs = thread::spawn(move || run(&giant, fresh_address()));
    wait_until("the giant", || lines(base.path(), "exe.log").iter().any(|line| line.contains("/giant ")));
    thread::sleep(Duration::from_secs(3));
    // The best of some: this machine may have other work to do. Waiting for the hasher would take seconds each time.
    let mut best = Duration::MAX;
    for number in 0..8 {
        let quick = program(base.path(), format!("quick{number}<b>").as_bytes());
        let started = run(&quick, fresh_address());
        // Among many others that run on this machine now it may be folded, and not be named.
        if let Some(shown) = service.find(&format!("/quick{number}&lt;b&gt;")) {
            best = best.min(shown.at.saturating_duration_since(started));
            assert_eq!(shown.urgency, 1, "{shown:?}");
        }
        // What comes sooner is folded.
        thread::sleep(Duration::from_secs(2));
    }
    eprintln!("notified after {best:?}");
    assert!(best < NOTIFIED_WITHIN, "{best:?}");
    giant_runs.join().unwrap();
    let text = fs::read_to_string(base.path().join("run/picosnitch.pid")).unwrap();
    assert_eq!(text.trim(), daemon.monitor().to_string());
    // The notifier is that user and nothing more.
    let notifier = notifiers(&daemon).pop().expect("no notifier");
    let status = fs::read_to_string(format!("/proc/{notifier}/status")).unwrap();
    for line in [
        format!("Uid:\t{USER}\t{USER}\t{USER}\t{USER}"),
        format!("Gid:\t{USER}\t{USER}\t{USER}\t{USER}"),
        "NoNewPrivs:\t1".to_owned(),
        "CapEff:\t0000000000000000".to_owned(),
        "CapPrm:\t0000000000000000".to_owned(),
    ] {
        assert!(status.lines().any(|found| found.trim_end() == line), "{line}: {status}");
    }
    assert!(status.lines().any(|line| line.starts_with("Groups:") && line.split_whitespace().count() == 1));
    drop(service);
    daemon.stop(Signal::SIGTERM);
    wait_until("the end of the notifier", || !Path::new(&format!("/proc/{notifier}")).exists());
}

/// Process ids of the daemon's notifiers.
fn notifiers(daemon: &Daemon) -> Vec<u32> {
    daemon
        .children()
        .into_iter()
        .filter(|pid| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            command.split(|byte| *byte == 0).any(|word| word == b"notifier")
        })
        .collect()
}

#[test]
#[ignore = "needs root"]
fn notifications_find_sessions_that_come_late_go_and_come_back() {
    let _root = root();
    let Some(run_user) = RunUser::new() else { return };
    let base = base("");
    let daemon = with_desktop(&run_user, base.path());
    run(&program(base.path(), b"before"), fresh_address());
    assert!(notifiers(&daemon).is_empty(), "a notifier without a session");
    // A session without a notification service, which comes later.
    let session = run_user.log_in(USER);
    run(&program(base.path(), b"without-service"), fresh_address());
    let service = session.service();
    service.wait_for("/before");
    service.wait_for("/without-service");
    // The service restarts.
    drop(service);
    run(&program(base.path(), b"between"), fresh_address());
    let service = session.service();
    service.wait_for("/between");
    // A killed notifier is started again.
    for notifier in notifiers(&daemon) {
        kill(nix::unistd::Pid::from_raw(notifier as i32), Signal::SIGKILL).unwrap();
    }
    run(&program(base.path(), b"after-kill"), fresh_address());
    service.wait_for("/after-kill");
    // The session goes and another one comes, and another user.
    drop(service);
    drop(session);
    wait_until("the notifier to end", || notifiers(&daemon).is_empty());
    run(&program(base.path(), b"nobody-there"), fresh_address());
    let (session, other) = (run_user.log_in(USER), run_user.log_in(OTHER_USER));
    let (service, other_service) = (session.service(), other.service());
    run(&program(base.path(), b"both"), fresh_address());
    for service in [&service, &other_service] {
        service.wait_for("/both");
    }
    service.wait_for("/nobody-there");
    daemon.stop(Signal::SIGTERM);
}

#[test]
#[ignore = "needs root"]
fn a_burst_is_folded() {
    let _root = root();
    let Some(run_user) = RunUser::new() else { return };
    let base = base("");
    let session = run_user.log_in(USER);
    let service = session.service();
    let daemon = with_desktop(&run_user, base.path());
    let running: Vec<_> = (0..14)
        .map(|number| {
            let path = program(base.path(), format!("burst{number}").as_bytes());
            thread::spawn(move || run(&path, fresh_address()))
        })
        .collect();
    for thread in running {
        thread.join().unwrap();
    }
    service.wait_for("new programs");
    thread::sleep(Duration::from_secs(3));
    let shown = service.shown();
    assert!(shown.len() <= 8, "{shown:#?}");
    daemon.stop(Signal::SIGTERM);
    let told = lines(base.path(), "exe.log").into_iter().filter(|line| line.contains("/burst"));
    assert!(told.count() >= 14);
}

#[test]
#[ignore = "needs root"]
fn without_notifications_no_notifier_is_started() {
    let _root = root();
    let Some(run_user) = RunUser::new() else { return };
    let base = base("[notifications]\ndesktop = false\n");
    let session = run_user.log_in(USER);
    let service = session.service();
    let daemon = with_desktop(&run_user, base.path());
    run(&program(base.path(), b"quiet"), fresh_address());
    wait_until("exe.log", || lines(base.path(), "exe.log").iter().any(|line| line.contains("/quiet ")));
    thread::sleep(Duration::from_millis(500));
    assert!(notifiers(&daemon).is_empty() && service.shown().is_empty());
    daemon.stop(Signal::SIGTERM);
}

#[test]
#[ignore = "needs root"]
fn status_tells_what_runs_and_the_live_socket_what_happens() {
    let _root = root();
    let base = base("");
    let status = |arguments: &[&str]| {
        let output = picosnitch(base.path(), &["status"]).args(arguments).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(status(&[]), (3, "picosnitch is not running\n".to_owned()));
    let daemon = Daemon::start(base.path());
    let socket = base.path().join("run/live.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    let mut live = BufReader::new(UnixStream::connect(&socket).unwrap());
    let mut event = || -> Value {
        let mut line = String::new();
        live.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    };
    let hello = event();
    assert_eq!((&hello["event"], &hello["monitor"]), (&"hello".into(), &daemon.monitor().as_raw().into()));
    let path = program(base.path(), b"lively");
    run(&path, fresh_address());
    loop {
        let event = event();
        if event["event"] == "alert" && event["path"] == path.to_str().unwrap() {
            assert_eq!((&event["tag"], &event["rank"]), (&"new name, exe".into(), &"program".into()));
            break;
        }
    }
    let (code, text) = status(&[]);
    assert!(code == 0 && text.contains(&format!("(process {})", daemon.monitor())), "{text}");
    assert!(text.contains("snitch.db") && text.contains("nothing"), "{text}");
    let (code, text) = status(&["--json"]);
    let state: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &state["running"]), (0, &true.into()));
    assert!(state["programs"].as_u64().unwrap() >= 1, "{state:#}");
    // Without rights.
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(base.path(), fs::Permissions::from_mode(0o1771)).unwrap();
    let binary = place.path().join("picosnitch");
    fs::copy(env!("CARGO_BIN_EXE_picosnitch"), &binary).unwrap();
    let mut command = Command::new(&binary);
    command.arg("--base-dir").arg(base.path()).arg("status").uid(65_534).gid(65_534);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stdout).contains("sudo picosnitch status"));
    kill(daemon.monitor(), Signal::SIGKILL).unwrap();
    daemon.end();
    assert_eq!(status(&[]).0, 3, "a socket that was left behind");
    assert!(error_log(base.path()).contains("unexpectedly"));
}
