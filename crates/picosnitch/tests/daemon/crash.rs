//! kill -9 of either process at any moment: at most one window is lost, nothing is corrupt, the other process ends by
//! itself with an error that says why, and the next start works.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, symlink},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    sys::{
        signal::{Signal, kill},
        stat::Mode,
    },
    unistd::mkfifo,
};
use store::Dimension;

use super::harness::{
    Daemon, WINDOW, assert_intact, assert_recorded, base, error_log, fresh_address, picosnitch, recorded,
    refused, root, talk,
};

/// Traffic of this time is not in the log yet at a kill: the open window, the 0.5 s until the next drain, and a moment for
/// writing.
const LOST: Duration = Duration::from_millis(WINDOW.as_millis() as u64 + 500 + 500);
const SENT: usize = 1000;

/// Makes connections of `SENT` bytes, one after the other, until the flag is set. Returns the times at which they ended.
fn traffic(address: std::net::Ipv4Addr) -> (Arc<AtomicBool>, JoinHandle<Vec<Instant>>) {
    let stop = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&stop);
    let thread = thread::spawn(move || {
        let mut over = Vec::new();
        while !until.load(Ordering::Relaxed) {
            talk(address, SENT, 0);
            over.push(Instant::now());
            thread::sleep(Duration::from_millis(40));
        }
        over
    });
    (stop, thread)
}

/// Runs a daemon with steady traffic, kills one of its processes after a while, and checks the log.
fn crash(base: &Path, after: Duration, of_monitor: bool) {
    let start = Instant::now();
    let daemon = Daemon::start(base);
    // An emulated machine that is slow to start is slow to write as well.
    let slow = start.elapsed().saturating_sub(Duration::from_secs(2));
    let address = fresh_address();
    let (stop, traffic) = traffic(address);
    thread::sleep(after + slow);
    let victim = if of_monitor { daemon.monitor() } else { daemon.recorder() };
    kill(victim, Signal::SIGKILL).unwrap();
    let killed = Instant::now();
    let (status, text) = daemon.end();
    stop.store(true, Ordering::Relaxed);
    let over = traffic.join().unwrap();

    let expected = if of_monitor {
        "the monitor has ended unexpectedly"
    } else {
        assert_eq!(status.code(), Some(1), "{text}");
        "the recorder has ended unexpectedly"
    };
    assert!(text.contains(expected), "{text}");
    assert!(error_log(base).contains(expected), "error.log: {}", error_log(base));
    assert_intact(&base.join("snitch.db"));
    assert!(base.join("run/picosnitch.pid").exists(), "nothing stale is left to test");
    let safe = over.iter().filter(|moment| **moment + LOST + slow < killed).count() as u64;
    assert!(safe > 0, "killed too early to tell");
    let counters = recorded(base, Dimension::Address, address);
    assert!(
        (safe..=over.len() as u64).contains(&counters.connections),
        "{safe} of {}: {counters:?}",
        over.len()
    );
    assert!(counters.sent >= safe * SENT as u64, "{safe}: {counters:?}");
}

/// Starts a daemon after a crash: the pid file that was left behind must not block it.
fn works(base: &Path) {
    let daemon = Daemon::start(base);
    let address = fresh_address();
    talk(address, 5, 6);
    daemon.stop(Signal::SIGTERM);
    assert_recorded(base, address, 1, 5, 6);
}

const MOMENTS: [u64; 3] = [2600, 3050, 3500];

#[test]
#[ignore = "needs root"]
fn a_killed_monitor_loses_one_window_at_most() {
    let _root = root();
    let base = base("");
    for moment in MOMENTS {
        crash(base.path(), Duration::from_millis(moment), true);
    }
    works(base.path());
}

#[test]
#[ignore = "needs root"]
fn a_killed_recorder_loses_one_window_at_most() {
    let _root = root();
    let base = base("");
    for moment in MOMENTS {
        crash(base.path(), Duration::from_millis(moment), false);
    }
    works(base.path());
}

#[test]
#[ignore = "needs root"]
fn a_kill_during_the_start_leaves_nothing_that_disturbs_the_next() {
    let _root = root();
    let base = base("");
    for milliseconds in [5, 20, 60, 150, 300] {
        let daemon = Daemon::spawn(picosnitch(base.path(), &["start-no-daemon"]));
        thread::sleep(Duration::from_millis(milliseconds));
        daemon.signal(Signal::SIGKILL);
        daemon.end();
    }
    works(base.path());
    assert_intact(&base.path().join("snitch.db"));
}

#[test]
#[ignore = "needs root"]
fn a_pid_file_of_another_process_blocks_nothing() {
    let _root = root();
    let base = base("");
    let run = base.path().join("run");
    fs::create_dir(&run).unwrap();
    // Process 1 of the machine, and a number that no process has.
    for pid in ["1\n", "4194305\n", "\u{1b}[31m no number"] {
        fs::write(run.join("picosnitch.pid"), pid).unwrap();
        let daemon = Daemon::start(base.path());
        let own = fs::read_to_string(run.join("picosnitch.pid")).unwrap();
        assert_eq!(own, format!("{}\n", daemon.monitor()));
        daemon.stop(Signal::SIGTERM);
    }
}

#[test]
#[ignore = "needs root"]
fn a_second_daemon_is_refused_and_the_first_goes_on() {
    let _root = root();
    let base = base("");
    let daemon = Daemon::start(base.path());
    let address = fresh_address();
    talk(address, 21, 12);
    let (code, text) = refused(picosnitch(base.path(), &["start-no-daemon"]));
    assert_eq!(code, 1, "{text}");
    assert!(text.contains(&format!("running already (process {})", daemon.monitor())), "{text}");
    talk(address, 21, 12);
    daemon.stop(Signal::SIGTERM);
    assert_recorded(base.path(), address, 2, 42, 24);
}

#[test]
#[ignore = "needs root"]
fn a_pid_file_that_is_something_else_is_refused_and_left_alone() {
    let _root = root();
    let base = base("");
    let run = base.path().join("run");
    let (pid_file, target) = (run.join("picosnitch.pid"), base.path().join("target"));
    fs::create_dir(&run).unwrap();
    let refuse = |why: &str| {
        let (code, text) = refused(picosnitch(base.path(), &["start-no-daemon"]));
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("picosnitch.pid cannot be used"), "{why}: {text}");
    };
    fs::write(&target, "precious").unwrap();
    symlink(&target, &pid_file).unwrap();
    refuse("a link");
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    fs::remove_file(&pid_file).unwrap();
    mkfifo(&pid_file, Mode::S_IRWXU).unwrap();
    refuse("a FIFO");
    assert!(fs::symlink_metadata(&pid_file).unwrap().file_type().is_fifo());
    fs::remove_file(&pid_file).unwrap();
    fs::create_dir(&pid_file).unwrap();
    refuse("a directory");
    assert!(!base.path().join("snitch.db").exists(), "half started");
}

#[test]
#[ignore = "needs root"]
fn an_error_log_that_is_something_else_is_left_alone_and_reported() {
    let _root = root();
    let base = base("");
    let (error_log, target) = (base.path().join("error.log"), base.path().join("target"));
    let report = |what: &str| {
        let daemon = Daemon::start(base.path());
        let address = fresh_address();
        talk(address, 3, 4);
        // This makes the daemon report a problem.
        daemon.signal(Signal::SIGKILL);
        let (_, text) = daemon.end();
        assert!(text.contains("the monitor has ended unexpectedly"), "{what}: {text}");
        assert!(text.contains("error.log cannot be written"), "{what}: {text}");
    };
    fs::write(&target, "precious").unwrap();
    symlink(&target, &error_log).unwrap();
    report("a link");
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    fs::remove_file(&error_log).unwrap();
    mkfifo(&error_log, Mode::S_IRWXU).unwrap();
    report("a FIFO");
    fs::remove_file(&error_log).unwrap();
    fs::create_dir(&error_log).unwrap();
    report("a directory");
}
