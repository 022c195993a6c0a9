//! `start`, `stop`, `restart` and `status` without a service manager: a daemon in the background, and what is left of one that was
//! killed, hangs, or cannot start.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, symlink},
        process::CommandExt,
    },
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use model::EventKind;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use tempfile::TempDir;

use super::{
    executables,
    harness::{
        Daemon, assert_recorded, base, configure, error_log, fresh_address, picosnitch, picosnitch_elsewhere,
        place, reader, root, talk, wait_until,
    },
};

/// A daemon in the background, which is killed when dropped.
struct Background(TempDir);

impl Background {
    /// A daemon of a base directory of its own.
    fn start() -> Self {
        let background = Self(base(""));
        let (code, text) = run(background.base(), &["start"]);
        assert_eq!(code, 0, "{text}");
        background
    }

    fn base(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = picosnitch(self.base(), &["stop", "--kill"]).stderr(Stdio::null()).status();
    }
}

/// A process that is killed when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn text_of(output: &Output) -> (i32, String) {
    let text = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    (output.status.code().unwrap(), text)
}

/// Runs a command on a base directory. Returns its exit code and what it prints.
fn run(base: &Path, arguments: &[&str]) -> (i32, String) {
    text_of(&picosnitch(base, arguments).stdin(Stdio::null()).output().unwrap())
}

/// The process id in the pid file.
fn pid(base: &Path) -> i32 {
    fs::read_to_string(base.join("run/picosnitch.pid")).unwrap().trim().parse().unwrap()
}

#[test]
#[ignore = "needs root"]
fn a_daemon_in_the_background_is_started_restarted_and_stopped() {
    let _root = root();
    let background = Background(base(""));
    let base = background.base();
    let (code, text) = run(base, &["start"]);
    assert_eq!(code, 0, "{text}");
    let first = pid(base);
    assert!(text.contains(&format!("recording (process {first})")) && text.contains("daemon.log"), "{text}");
    let address = fresh_address();
    talk(address, 21, 12);
    let (code, text) = run(base, &["start"]);
    assert!(code == 0 && text.contains(&format!("running already (process {first})")), "{text}");
    // A bad configuration does not end the daemon that runs.
    configure(base, "retention_days = 0\n");
    for action in ["restart", "reload"] {
        let (code, text) = run(base, &[action]);
        assert!(code == 78 && text.contains("log.retention_days"), "{code}: {text}");
    }
    assert_eq!((pid(base), run(base, &["status"]).0), (first, 0));
    configure(base, "retention_days = 8\n");
    let (code, text) = run(base, &["reload"]);
    assert!(code == 0 && text.contains("reads its configuration anew"), "{code}: {text}");
    let log = || fs::read_to_string(base.join("daemon.log")).unwrap();
    wait_until("the reload", || log().contains("log.retention_days = 8 (was "));
    let (code, text) = run(base, &["restart"]);
    assert_eq!(code, 0, "{text}");
    assert_ne!(pid(base), first);
    talk(address, 21, 12);
    let (code, text) = run(base, &["stop"]);
    assert!(code == 0 && text.contains("everything is written"), "{text}");
    assert_recorded(base, address, 2, 42, 24);
    let (code, text) = run(base, &["stop"]);
    assert!(code == 0 && text.contains("is not running"), "{text}");
    let (code, text) = run(base, &["reload"]);
    assert!(code == 1 && text.contains("is not running"), "{text}");
    let (code, text) = run(base, &["status"]);
    assert!(code == 3 && !text.contains("It has ended"), "it was stopped: {text}");
    assert_eq!(log().matches("picosnitch: recording\n").count(), 2, "{}", log());
    assert_eq!(fs::metadata(base.join("daemon.log")).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
#[ignore = "needs root"]
fn a_daemon_that_cannot_start_says_why_and_leaves_its_code() {
    let _root = root();
    let base = base("");
    configure(base.path(), "no_such_key = 1\n");
    let (code, text) = run(base.path(), &["start"]);
    assert!(code == 78 && text.contains("no_such_key"), "{code}: {text}");
    configure(base.path(), "");
    let foreign = rusqlite::Connection::open(base.path().join("other.db")).unwrap();
    foreign.execute_batch("CREATE TABLE recipe (name TEXT)").unwrap();
    drop(foreign);
    fs::rename(base.path().join("other.db"), base.path().join("snitch.db")).unwrap();
    let (code, text) = run(base.path(), &["start"]);
    assert!(
        code == 1 && text.contains("database of another program") && text.contains("nothing is recorded"),
        "{code}: {text}"
    );
    let (code, text) = run(base.path(), &["status"]);
    assert!(code == 3 && text.contains("It has ended at") && text.contains("another program"), "{text}");
}

#[test]
#[ignore = "needs root"]
fn the_number_of_a_killed_daemon_may_be_that_of_another_process() {
    let _root = root();
    let background = Background::start();
    let base = background.base();
    kill(Pid::from_raw(pid(base)), Signal::SIGKILL).unwrap();
    wait_until("the end", || run(base, &["status"]).0 == 3);
    let (_, text) = run(base, &["status"]);
    assert!(text.contains("ended without a word") && text.contains("To start it: sudo "), "{text}");
    let mut other = Killed(Command::new("sleep").arg("600").spawn().unwrap());
    for arguments in [&["stop"][..], &["stop", "--kill"]] {
        // A stop takes the number away.
        fs::write(base.join("run/picosnitch.pid"), format!("{}\n", other.0.id())).unwrap();
        let (code, text) = run(base, arguments);
        assert!(code == 0 && text.contains("is not running: process"), "{code}: {text}");
    }
    assert!(other.0.try_wait().unwrap().is_none(), "another process was killed");
    assert_eq!(run(base, &["start"]).0, 0);
    let address = fresh_address();
    talk(address, 5, 6);
    assert_eq!(run(base, &["stop"]).0, 0);
    assert_recorded(base, address, 1, 5, 6);
}

#[test]
#[ignore = "needs root"]
fn a_stopped_daemon_is_let_go_on_and_one_that_hangs_is_killed() {
    let _root = root();
    let background = Background::start();
    let base = background.base();
    let address = fresh_address();
    talk(address, 7, 8);
    let stopped = pid(base);
    kill(Pid::from_raw(stopped), Signal::SIGSTOP).unwrap();
    let (code, text) = run(base, &["start"]);
    assert!(code == 1 && text.contains("but does not record: it is stopped by a signal"), "{code}: {text}");
    let (code, text) = run(base, &["stop"]);
    assert!(
        code == 0 && text.contains(&format!("process {stopped} is stopped by a signal")),
        "{code}: {text}"
    );
    assert_recorded(base, address, 1, 7, 8);
    // A debugger, which no signal but SIGKILL gets past.
    assert_eq!(run(base, &["start"]).0, 0);
    let traced = pid(base);
    talk(address, 7, 8);
    wait_until("the record", || {
        super::harness::recorded(base, store::Dimension::Address, address).connections == 2
    });
    // SAFETY: the calls take numbers only.
    unsafe {
        assert_eq!(libc::ptrace(libc::PTRACE_SEIZE, traced, 0, 0), 0);
        assert_eq!(libc::ptrace(libc::PTRACE_INTERRUPT, traced, 0, 0), 0);
        assert_eq!(libc::waitpid(traced, std::ptr::null_mut(), libc::__WALL), traced);
    }
    let (code, text) = run(base, &["stop", "--timeout", "3"]);
    assert!(
        code == 1 && text.contains("stopped by a debugger") && text.contains("stop --kill"),
        "{code}: {text}"
    );
    let (code, text) = run(base, &["restart", "--timeout", "1"]);
    assert!(code == 1 && text.contains("has not ended"), "{code}: {text}");
    let (code, text) = run(base, &["stop", "--kill"]);
    assert!(code == 0 && text.contains("its recorder has written"), "{code}: {text}");
    // SAFETY: the call takes numbers only; it ends the trace.
    unsafe { libc::waitpid(traced, std::ptr::null_mut(), libc::__WALL) };
    assert_recorded(base, address, 2, 14, 16);
    let (code, text) = run(base, &["status"]);
    assert!(code == 3 && text.contains("stop --kill` has killed it"), "{text}");
    assert_eq!(run(base, &["start"]).0, 0);
    assert_eq!(run(base, &["stop"]).0, 0);
}

#[test]
#[ignore = "needs root"]
fn a_read_only_run_directory_and_missing_rights_are_told() {
    let _root = root();
    let base = base("");
    fs::create_dir(base.path().join("run")).unwrap();
    let run = base.path().join("run").display().to_string();
    let prepare = format!("mount -t tmpfs -o mode=755 tmpfs '{run}' && mount -o remount,ro '{run}'");
    for command in ["start", "start-no-daemon"] {
        let output = picosnitch_elsewhere(&prepare, base.path(), &[command]).output().unwrap();
        let (code, text) = text_of(&output);
        assert!(
            code == 1 && text.contains("mount it") || text.contains("mount its file system writable"),
            "{code}: {text}"
        );
        assert!(text.contains("--base-dir"), "{text}");
    }
    for (command, expected) in [("stop", 0), ("status", 3)] {
        let output = picosnitch_elsewhere(&prepare, base.path(), &[command]).output().unwrap();
        assert_eq!(text_of(&output).0, expected, "{command}");
    }
    let place = place();
    let binary = place.path().join("picosnitch");
    executables::copy(env!("CARGO_BIN_EXE_picosnitch"), &binary);
    for action in ["start", "stop", "restart", "reload"] {
        let output = Command::new(&binary).arg(action).uid(65_534).gid(65_534).output().unwrap();
        let (code, text) = text_of(&output);
        assert!(code == 77 && text.contains("run `sudo ") && text.contains(action), "{code}: {text}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_recorder_that_hangs_is_told_and_ends_the_daemon_with_its_data_written() {
    let _root = root();
    let base = base("");
    let daemon = Daemon::start(base.path());
    let address = fresh_address();
    kill(daemon.recorder(), Signal::SIGSTOP).unwrap();
    talk(address, 3, 2);
    daemon.wait_for("has not answered for 30 s: a signal or a debugger has stopped it");
    let (status, text) = daemon.end();
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("did not answer for 60 s"), "{text}");
    assert_recorded(base.path(), address, 1, 3, 2);
    let (code, text) = run(base.path(), &["status"]);
    assert!(code == 3 && text.contains("did not answer for 60 s"), "{text}");
    assert!(error_log(base.path()).contains("did not answer for 60 s"));
}

#[test]
#[ignore = "needs root"]
fn the_service_manager_is_told_and_the_roles_do_not_get_its_socket() {
    let _root = root();
    let base = base("");
    let path = base.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut command = picosnitch(base.path(), &["start-no-daemon"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "2000000");
    let daemon = Daemon::start_as(command);
    let receive = || {
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let ready = receive();
    assert!(ready.starts_with("READY=1\nSTATUS=Recording."), "{ready}");
    assert!(ready.ends_with(&format!("\nMAINPID={}", daemon.monitor())), "{ready}");
    for _ in 0..4 {
        assert_eq!(receive(), "WATCHDOG=1");
    }
    let environment = fs::read_to_string(format!("/proc/{}/environ", daemon.recorder())).unwrap();
    assert!(!environment.contains("NOTIFY_SOCKET") && !environment.contains("WATCHDOG"), "{environment}");
    daemon.signal(Signal::SIGHUP);
    let mut messages = Vec::new();
    wait_until("the end of the reload", || {
        messages.push(receive());
        messages.last().unwrap().starts_with("READY=1")
    });
    assert!(
        messages.iter().any(|message| message.starts_with("RELOADING=1\nMONOTONIC_USEC=")),
        "{messages:?}"
    );
    daemon.signal(Signal::SIGTERM);
    wait_until("STOPPING=1", || receive().starts_with("STOPPING=1"));
    assert_eq!(daemon.end().0.code(), Some(0));
}

#[test]
#[ignore = "needs root"]
fn lines_of_logs_follow_a_new_time_zone() {
    let _root = root();
    let base = base("");
    let around = place();
    let etc = super::harness::etc_with(around.path(), "localtime", "");
    // As localtime(5) wants it. These zones have no summer time.
    let set = |zone: &str| {
        let zone = Path::new("/usr/share/zoneinfo").join(zone);
        assert!(zone.exists(), "{} is missing: install tzdata", zone.display());
        symlink(zone, etc.join("localtime.new")).unwrap();
        fs::rename(etc.join("localtime.new"), etc.join("localtime")).unwrap();
    };
    set("UTC");
    let prepare = format!("mount --bind '{}' /etc", etc.display());
    let mut command = picosnitch_elsewhere(&prepare, base.path(), &["start-no-daemon"]);
    command.env_remove("TZ");
    let daemon = Daemon::start_as(command);
    // Each refused configuration is a line of error.log.
    let hour_of = |lines: usize| -> i64 {
        daemon.signal(Signal::SIGHUP);
        wait_until("the line", || error_log(base.path()).lines().count() == lines);
        let log = error_log(base.path());
        let line = log.lines().last().unwrap();
        line[11..13].parse::<i64>().unwrap() * 60 + line[14..16].parse::<i64>().unwrap()
    };
    configure(base.path(), "first_bad_key = 1\n");
    let before = hour_of(1);
    set("Asia/Karachi");
    configure(base.path(), "retention_days = 0\n");
    let after = hour_of(2);
    let difference = (after - before).rem_euclid(24 * 60);
    assert!((300..=302).contains(&difference), "{}", error_log(base.path()));
    daemon.stop(Signal::SIGTERM);
}

#[test]
#[ignore = "needs root"]
fn a_killed_recorder_ends_a_daemon_in_the_background_and_status_says_why() {
    let _root = root();
    let background = Background::start();
    let base = background.base();
    let address = fresh_address();
    talk(address, 1, 1);
    wait_until("the record", || {
        super::harness::recorded(base, store::Dimension::Address, address).connections == 1
    });
    let monitor = pid(base);
    let children = fs::read_to_string(format!("/proc/{monitor}/task/{monitor}/children")).unwrap();
    let recorder: i32 = children.split_whitespace().next().unwrap().parse().unwrap();
    kill(Pid::from_raw(recorder), Signal::SIGKILL).unwrap();
    // The socket is closed before the monitor has ended.
    wait_until("the reason", || {
        let (code, text) = run(base, &["status"]);
        code == 3 && text.contains("It has ended at") && text.contains("SIGKILL")
    });
    wait_until("the start", || run(base, &["start"]).0 == 0);
    assert_eq!(run(base, &["stop"]).0, 0);
    let kinds = |kind| reader(base).events(store::Range::default(), &[kind], 100).unwrap().len();
    assert_eq!([EventKind::Start, EventKind::Stop].map(kinds), [2, 1]);
}
