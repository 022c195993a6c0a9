//! A restart is not a gap: with `--keep-hooks` the BPF programs count on while picosnitch does not run, and the next run records
//! what they have counted, once.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use model::{EventKind, LossKind};
use nix::sys::signal::{Signal, kill};
use store::{Dimension, Range};

use super::harness::{
    Daemon, assert_intact, assert_recorded, base, fresh_address, losses, picosnitch, reader, recorded,
    refused, root_alone, talk, wait_until,
};

const PIECE: usize = 1000;

fn start(base: &Path) -> Daemon {
    Daemon::start_as(picosnitch(base, &["start-no-daemon", "--keep-hooks"]))
}

/// One connection that never rests, and short ones beside it.
struct Load {
    long: Ipv4Addr,
    short: Ipv4Addr,
    stop: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
    threads: Vec<JoinHandle<u64>>,
}

impl Load {
    fn start() -> Self {
        let (long, short) = (fresh_address(), fresh_address());
        let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let listener = TcpListener::bind((long, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let echo = thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let mut piece = [0; PIECE];
            let mut pieces = 0;
            while connection.read_exact(&mut piece).is_ok() {
                connection.write_all(&piece).unwrap();
                pieces += 1;
            }
            pieces
        });
        let until = Arc::clone(&stop);
        let client = thread::spawn(move || {
            let mut connection = TcpStream::connect((long, port)).unwrap();
            let mut piece = [0; PIECE];
            let mut pieces = 0;
            while !until.load(Ordering::Relaxed) {
                connection.write_all(&piece).unwrap();
                connection.read_exact(&mut piece).unwrap();
                pieces += 1;
                thread::sleep(Duration::from_millis(3));
            }
            pieces
        });
        let (until, count) = (Arc::clone(&stop), Arc::clone(&made));
        let many = thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                talk(short, PIECE, 10);
                count.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(20));
            }
            0
        });
        Self { long, short, stop, made, threads: vec![echo, client, many] }
    }

    /// Ends it and the daemon, and checks the connection that never rests. Returns the number of short ones.
    fn end(mut self, daemon: Daemon, base: &Path) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let pieces = self.threads.drain(..).map(|thread| thread.join().unwrap()).max().unwrap();
        daemon.stop(Signal::SIGINT);
        assert_intact(&base.join("snitch.db"));
        let bytes = pieces * PIECE as u64;
        assert_recorded(base, self.long, 1, bytes, bytes);
        self.made.load(Ordering::Relaxed)
    }

    /// Ends, and checks that all of it is in the log.
    fn assert_recorded(self, daemon: Daemon, base: &Path) {
        let short = self.short;
        let made = self.end(daemon, base);
        assert!(made > 0);
        assert_recorded(base, short, made, made * PIECE as u64, made * 10);
        // Other programs of the machine may do more than fits into the ring buffer until it is read again.
        let of_events = [LossKind::ProcessEvents, LossKind::ReleaseEvents, LossKind::Names];
        let mut others = losses(base);
        others.retain(|loss| !of_events.contains(&loss.kind));
        assert_eq!(others, []);
    }
}

impl Drop for Load {
    /// A test that fails leaves no traffic to the others.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn texts(base: &Path, kind: EventKind) -> Vec<String> {
    let events = reader(base).events(Range::default(), &[kind], 1000).unwrap();
    events.into_iter().map(|event| event.text).collect()
}

/// The number of pinned maps and links of all daemons.
fn pins() -> usize {
    let children = |path: PathBuf| -> Vec<PathBuf> {
        fs::read_dir(path)
            .map(|found| found.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default()
    };
    let runs = children("/sys/fs/bpf/picosnitch".into());
    runs.into_iter().flat_map(children).flat_map(children).count()
}

#[test]
#[ignore = "needs root"]
fn a_restart_loses_nothing() {
    let _root = root_alone();
    let base = base("");
    let mut daemon = start(base.path());
    let load = Load::start();
    for signal in [Signal::SIGTERM, Signal::SIGUSR2, Signal::SIGTERM] {
        thread::sleep(Duration::from_millis(1700));
        daemon.stop(signal);
        thread::sleep(Duration::from_millis(700));
        daemon = start(base.path());
    }
    thread::sleep(Duration::from_millis(1700));
    load.assert_recorded(daemon, base.path());
    let starts = texts(base.path(), EventKind::Start);
    assert_eq!(
        starts.iter().filter(|text| text.contains("goes on after a restart")).count(),
        3,
        "{starts:?}"
    );
    assert_eq!(texts(base.path(), EventKind::Gap), [""; 0]);
    // The last one has left no hooks.
    assert_eq!(pins(), 0);
}

#[test]
#[ignore = "needs root"]
fn a_monitor_that_is_killed_loses_nothing() {
    let _root = root_alone();
    let base = base("");
    let mut daemon = start(base.path());
    let load = Load::start();
    for number in 0..10 {
        thread::sleep(Duration::from_millis(300 + 170 * number));
        kill(daemon.monitor(), Signal::SIGKILL).unwrap();
        daemon.end();
        daemon = start(base.path());
    }
    load.assert_recorded(daemon, base.path());
    assert_eq!(texts(base.path(), EventKind::Gap), [""; 0]);
}

/// Connections that end between the last window and the kill are in nobody's memory any more.
#[test]
#[ignore = "needs root"]
fn both_killed_lose_ended_connections_only_and_that_is_said() {
    let _root = root_alone();
    let base = base("");
    let mut daemon = start(base.path());
    let load = Load::start();
    for number in 0..4 {
        thread::sleep(Duration::from_millis(1500 + 230 * number));
        let recorder = daemon.recorder();
        kill(daemon.monitor(), Signal::SIGSTOP).unwrap();
        kill(recorder, Signal::SIGKILL).unwrap();
        kill(daemon.monitor(), Signal::SIGKILL).unwrap();
        daemon.end();
        daemon = start(base.path());
    }
    let address = load.short;
    let made = load.end(daemon, base.path());
    let short = recorded(base.path(), Dimension::Address, address);
    assert!(short.connections > made / 2 && short.connections < made, "{short:?} of {made}");
    let told = texts(base.path(), EventKind::Error);
    assert!(told.iter().any(|text| text.contains("in no record yet when picosnitch was killed")), "{told:?}");
}

/// After a stop, or with another object, the hooks are gone: sockets that stayed open tell what they moved.
#[test]
#[ignore = "needs root"]
fn connections_that_stay_open_tell_what_they_moved_in_a_gap() {
    let _root = root_alone();
    let base = base("");
    let mut daemon = start(base.path());
    assert!(pins() > 20, "{}", pins());
    let load = Load::start();
    for _ in 0..3 {
        thread::sleep(Duration::from_millis(1700));
        daemon.stop(Signal::SIGINT);
        assert_eq!(pins(), 0);
        thread::sleep(Duration::from_millis(700));
        daemon = start(base.path());
    }
    thread::sleep(Duration::from_millis(1700));
    let address = load.short;
    let made = load.end(daemon, base.path());
    let short = recorded(base.path(), Dimension::Address, address);
    assert!(short.connections < made, "{short:?} of {made}");
    let gaps = texts(base.path(), EventKind::Gap);
    assert!(
        gaps.len() == 3 && gaps.iter().all(|text| text.contains("connections that stayed open")),
        "{gaps:?}"
    );
}

/// A start that fails leaves nothing, and what an earlier run has left stays true.
#[test]
#[ignore = "needs root"]
fn a_start_that_fails_changes_nothing() {
    let _root = root_alone();
    let base = base("");
    let daemon = start(base.path());
    let address = fresh_address();
    talk(address, 1000, 0);
    daemon.stop(Signal::SIGINT);
    let move_log = |from: &str, to: &str| {
        for suffix in ["", "-wal", "-shm"] {
            let path = |name: &str| base.path().join(format!("{name}{suffix}"));
            let _ = fs::rename(path(from), path(to));
        }
    };
    move_log("snitch.db", "kept.db");
    fs::create_dir(base.path().join("snitch.db")).unwrap();
    let (code, text) = refused(picosnitch(base.path(), &["start-no-daemon", "--keep-hooks"]));
    assert_eq!((code, pins()), (1, 0), "{text}");
    fs::remove_dir(base.path().join("snitch.db")).unwrap();
    move_log("kept.db", "snitch.db");
    let daemon = start(base.path());
    talk(address, 1000, 0);
    // The next one starts while the recorder of this one still writes.
    kill(daemon.monitor(), Signal::SIGKILL).unwrap();
    let status = format!("/proc/{}/status", daemon.monitor());
    wait_until("the end of the monitor", || fs::read_to_string(&status).unwrap().contains("State:\tZ"));
    let next = start(base.path());
    talk(address, 1000, 0);
    drop(daemon);
    next.stop(Signal::SIGINT);
    assert_recorded(base.path(), address, 3, 3000, 0);
}

/// Programs that run only while picosnitch does not.
#[test]
#[ignore = "needs root"]
fn a_program_that_ends_before_the_next_start_is_known() {
    let _root = root_alone();
    let base = base("");
    let daemon = start(base.path());
    daemon.stop(Signal::SIGTERM);
    let address = fresh_address();
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!("exec 3<>/dev/tcp/{address}/{port}; printf 12345 >&3; read -n 3 -u 3 line");
    let server = thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        connection.write_all(b"abc").unwrap();
        let mut bytes = Vec::new();
        connection.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"12345");
    });
    assert!(std::process::Command::new("bash").args(["-c", &script]).status().unwrap().success());
    server.join().unwrap();
    start(base.path()).stop(Signal::SIGINT);
    let arguments: Vec<_> = ["-g", "exe", "--where", &format!("address={address}"), "--csv"]
        .into_iter()
        .map(|text| text.to_owned().into())
        .collect();
    let rows = String::from_utf8(super::harness::query(base.path(), &arguments)).unwrap();
    assert!(rows.lines().any(|row| row.ends_with("/bash,1,3,5")), "{rows}");
}
