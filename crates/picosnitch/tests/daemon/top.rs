//! `picosnitch top` in a real terminal with a real daemon, and the live socket as other clients read it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream, UdpSocket},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{
    executables,
    harness::{Daemon, PATIENCE, base, fresh_address, root, root_alone, talk},
};
use crate::terminal::{Terminal, picosnitch};

/// Numbers of bytes that no other process on the machine is likely to move.
const SENT: usize = 12_345;
const RECEIVED: usize = 87_654_321;
/// How long traffic may take to appear on the screen.
const MAX_DELAY: Duration = Duration::from_secs(1);

/// A client that has subscribed to traffic.
pub struct Subscriber(BufReader<UnixStream>);

impl Subscriber {
    pub fn start(base: &Path) -> Self {
        let mut stream = UnixStream::connect(base.join("run/live.sock")).unwrap();
        stream.write_all(b"{\"traffic\": true}\n").unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    pub fn next(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Waits for a line of an event for which a condition holds.
    pub fn wait_for(&mut self, event: &str, mut matches: impl FnMut(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let line = self.next();
            if line["event"] == event && matches(&line) {
                return line;
            }
            assert!(Instant::now() < until, "waited in vain for a {event}");
        }
    }
}

/// Everything that a subscriber receives. A thread reads it at once, because slow subscribers are dropped.
pub struct Recording(UnixStream, thread::JoinHandle<Vec<u8>>);

impl Recording {
    pub fn start(base: &Path) -> Self {
        let Subscriber(mut lines) = Subscriber::start(base);
        let stream = lines.get_ref().try_clone().unwrap();
        let reader = thread::spawn(move || {
            let mut received = Vec::new();
            lines.read_to_end(&mut received).unwrap();
            received
        });
        Self(stream, reader)
    }

    /// The lines up to a moment after all traffic so far has been reported.
    pub fn end(self) -> Vec<u8> {
        thread::sleep(Duration::from_secs(4));
        self.0.shutdown(Shutdown::Both).unwrap();
        self.1.join().unwrap()
    }
}

/// A copy of the Python interpreter: a program of its own, to which no other test's traffic belongs.
fn interpreter(base: &Path) -> Option<PathBuf> {
    let found = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().ok()?;
    let path = String::from_utf8(found.stdout).ok()?;
    let copy = base.join("downloader");
    executables::copy(path.trim(), &copy);
    Some(copy)
}

/// A program that sends and receives, prints when that is done, and keeps its connection open.
const CLIENT: &str = "
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
connection.sendall(bytes(int(sys.argv[3])))
left = int(sys.argv[4])
while left: left -= len(connection.recv(min(left, 1 << 20)))
print('done', flush=True)
sys.stdin.read()
";

#[test]
#[ignore = "needs root"]
fn a_download_is_on_the_screen_at_once_with_its_exact_bytes() {
    let _root = root();
    let terminal = Terminal::start(120, 40);
    let base = base("");
    let Some(client) = interpreter(base.path()) else {
        panic!("this test needs python3, which `scripts/setup check` installs");
    };
    let daemon = Daemon::start(base.path());
    terminal.line(&picosnitch(base.path(), "top"));
    terminal.wait_for("is recording since");
    terminal.press(&["/"]);
    terminal.tmux(&["send-keys", "-l", "downloader"]);
    terminal.press(&["Enter"]);
    terminal.wait_for("find: downloader");
    let address = fresh_address();
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut child = Command::new(&client)
        .args(["-c", CLIENT, &address.to_string(), &port.to_string()])
        .args([SENT.to_string(), RECEIVED.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut connection, _) = listener.accept().unwrap();
    connection.read_exact(&mut vec![0; SENT]).unwrap();
    // The program and its connection are new.
    let began = Instant::now();
    terminal.wait_until("the program", |screen| {
        screen.contains("/downloader") && screen.contains(&format!("{address}:{port}"))
    });
    assert!(began.elapsed() < MAX_DELAY, "a connection came to the screen after {:?}", began.elapsed());
    let began = Instant::now();
    connection.write_all(&vec![7; RECEIVED]).unwrap();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    let downloaded = began.elapsed();
    let screen =
        terminal.wait_until("the bytes", |screen| screen.contains("87,654,321 B received, 12,345 B sent"));
    let shown = began.elapsed();
    assert!(
        shown < downloaded + MAX_DELAY,
        "it took {downloaded:?}, and was on the screen after {shown:?}: {screen}"
    );
    println!("a download of {downloaded:?} was on the screen, all of it, after {shown:?}");
    // A paused screen keeps the connection open; released, it shows that it has ended.
    terminal.press(&["Space"]);
    terminal.wait_for("paused");
    drop(child.stdin.take());
    child.wait().unwrap();
    thread::sleep(Duration::from_millis(1500));
    assert!(!terminal.screen().contains("ended"));
    terminal.press(&["Space"]);
    let screen = terminal.wait_for("ended");
    assert!(screen.contains("87,654,321 B received, 12,345 B sent"), "{screen}");
    // The screen connects to a new daemon.
    daemon.stop(Signal::SIGTERM);
    terminal.wait_for("picosnitch is not running");
    let daemon = Daemon::start(base.path());
    terminal.wait_until("the new daemon", |screen| {
        screen.contains("is recording since") && !screen.contains("picosnitch is not running")
    });
    terminal.press(&["q"]);
    daemon.stop(Signal::SIGTERM);
}

#[test]
#[ignore = "needs root"]
fn a_late_subscriber_receives_open_connections_with_their_totals() {
    let _root = root();
    let base = base("");
    // Opened before the daemon started, and without traffic since.
    let before = TcpListener::bind((fresh_address(), 0)).unwrap();
    let quiet = TcpStream::connect(before.local_addr().unwrap()).unwrap();
    let (accepted, _) = before.accept().unwrap();
    let daemon = Daemon::start(base.path());
    let address = fresh_address();
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let datagrams = UdpSocket::bind((address, port)).unwrap();
    let client = TcpStream::connect((address, port)).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    (&client).write_all(&[0; 1000]).unwrap();
    server.read_exact(&mut [0; 1000]).unwrap();
    // The recorder has received the traffic by now, and has no subscriber to pass it to.
    thread::sleep(Duration::from_millis(1500));
    let mut first = Subscriber::start(base.path());
    let own = |line: &Value| line["process"] == std::process::id();
    let is_client = |line: &Value| own(line) && line["remote_port"] == port && line["opened"] == true;
    let reported = first.wait_for("connection", is_client);
    assert_eq!((&reported["sent"], &reported["received"]), (&1000.into(), &0.into()));
    assert_eq!(reported["remote_address"], address.to_string());
    let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
        - reported["began"].as_f64().unwrap();
    assert!((1.0..60.0).contains(&age), "{age}");
    // A second subscriber receives the same from its first moment on: listening sockets and idle connections, too.
    let mut second = Subscriber::start(base.path());
    let quiet_port = quiet.local_addr().unwrap().port();
    let quiet_peer = quiet.peer_addr().unwrap().ip().to_string();
    for subscriber in [&mut first, &mut second] {
        // The lines may arrive in any order.
        let mut found = [false; 3];
        while found.contains(&false) {
            let line = subscriber.next();
            let listens =
                own(&line) && line["event"] == "listening" && line["local_address"] == address.to_string();
            found[0] |= listens && line["local_port"] == port && line["protocol"] == 6;
            found[1] |= listens && line["local_port"] == port && line["protocol"] == 17;
            let here = own(&line) && line["local_port"] == quiet_port && line["remote_address"] == quiet_peer;
            found[2] |= here && line["event"] == "connection" && line["began"].is_null() && line["sent"] == 0;
        }
    }
    (&client).write_all(&[0; 234]).unwrap();
    drop(client);
    server.read_to_end(&mut Vec::new()).unwrap();
    let mut sent = 1000;
    first.wait_for("traffic", |line| {
        for figures in line["connections"].as_array().unwrap() {
            if figures[0] == reported["id"] {
                sent = figures[1].as_u64().unwrap();
            }
        }
        line["ended"].as_array().unwrap().contains(&reported["id"])
    });
    assert_eq!(sent, 1234);
    drop((datagrams, accepted));
    daemon.stop(Signal::SIGTERM);
}

#[test]
#[ignore = "needs root"]
fn a_subscriber_that_reads_nothing_is_dropped_and_delays_no_other() {
    let _root = root_alone();
    let base = base("");
    let daemon = Daemon::start(base.path());
    let stuck = Subscriber::start(base.path());
    let mut quick = Subscriber::start(base.path());
    let address = fresh_address();
    let began = Instant::now();
    let mut reports = 0;
    let mut dropped = 0;
    while dropped == 0 {
        assert!(began.elapsed() < PATIENCE, "it was never dropped");
        for _ in 0..200 {
            talk(address, 1, 1);
        }
        // The other subscriber receives it at once.
        quick.wait_for("connection", |line| line["remote_address"] == address.to_string());
        reports += 1;
        let output = super::harness::picosnitch(base.path(), &["status", "--json"]).output().unwrap();
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        dropped = status["subscribers_dropped"].as_u64().unwrap();
        // A user who asks more than twenty times a second is turned away, which counts, too.
        std::thread::sleep(Duration::from_millis(60));
    }
    assert!(reports > 1);
    drop(stuck);
    daemon.stop(Signal::SIGTERM);
}
