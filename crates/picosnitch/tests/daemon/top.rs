//! `picosnitch top` on what a real daemon sees, in a real terminal, and the live socket as others read it.

use std::{
    fs,
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

use super::harness::{Daemon, PATIENCE, base, fresh_address, root, root_alone, talk};
use crate::terminal::{Terminal, picosnitch};

/// Numbers that nothing else on the machine happens to move.
const SENT: usize = 12_345;
const RECEIVED: usize = 87_654_321;
/// From the first byte to the screen.
const SHOWN_WITHIN: Duration = Duration::from_secs(1);

/// Whoever listens to traffic.
pub struct Listener(BufReader<UnixStream>);

impl Listener {
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

    /// The next line of a kind that is as it should be.
    pub fn wait_for(&mut self, event: &str, mut is: impl FnMut(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let line = self.next();
            if line["event"] == event && is(&line) {
                return line;
            }
            assert!(Instant::now() < until, "waited in vain for a {event}");
        }
    }
}

/// All that a listener hears, read as it comes: who reads nothing is dropped.
pub struct Recording(UnixStream, thread::JoinHandle<Vec<u8>>);

impl Recording {
    pub fn start(base: &Path) -> Self {
        let Listener(mut lines) = Listener::start(base);
        let stream = lines.get_ref().try_clone().unwrap();
        let reader = thread::spawn(move || {
            let mut heard = Vec::new();
            lines.read_to_end(&mut heard).unwrap();
            heard
        });
        Self(stream, reader)
    }

    /// Up to now, and a list of what is open later.
    pub fn end(self) -> Vec<u8> {
        thread::sleep(Duration::from_secs(4));
        self.0.shutdown(Shutdown::Both).unwrap();
        self.1.join().unwrap()
    }
}

/// A copy of the interpreter is a program of its own: no other test's traffic is among its own.
fn interpreter(base: &Path) -> Option<PathBuf> {
    let found = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().ok()?;
    let path = String::from_utf8(found.stdout).ok()?;
    let copy = base.join("downloader");
    fs::copy(path.trim(), &copy).ok()?;
    Some(copy)
}

/// Sends and receives, says when that is done, and waits with its connection open.
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
fn a_download_is_on_the_screen_at_once_and_with_its_exact_bytes() {
    let _root = root();
    let Some(terminal) = Terminal::start(120, 40) else { return };
    let base = base("");
    let Some(client) = interpreter(base.path()) else {
        eprintln!("skipped: there is no python3 (scripts/setup test)");
        return;
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
    // The connection is there since a moment, and the program with it.
    let began = Instant::now();
    terminal.wait_until("the program", |screen| {
        screen.contains("/downloader") && screen.contains(&format!("{address}:{port}"))
    });
    assert!(began.elapsed() < SHOWN_WITHIN, "a connection came to the screen after {:?}", began.elapsed());
    let began = Instant::now();
    connection.write_all(&vec![7; RECEIVED]).unwrap();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    let downloaded = began.elapsed();
    let screen =
        terminal.wait_until("the bytes", |screen| screen.contains("87,654,321 B received, 12,345 B sent"));
    let shown = began.elapsed();
    assert!(
        shown < downloaded + SHOWN_WITHIN,
        "it took {downloaded:?}, and was on the screen after {shown:?}: {screen}"
    );
    println!("a download of {downloaded:?} was on the screen, all of it, after {shown:?}");
    // Held still, it stays; otherwise it ends.
    terminal.press(&["Space"]);
    terminal.wait_for("paused");
    drop(child.stdin.take());
    child.wait().unwrap();
    thread::sleep(Duration::from_millis(1500));
    assert!(!terminal.screen().contains("ended"));
    terminal.press(&["Space"]);
    let screen = terminal.wait_for("ended");
    assert!(screen.contains("87,654,321 B received, 12,345 B sent"), "{screen}");
    // The daemon is started again: what it told is gone, and it is heard again.
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
fn who_asks_later_hears_what_is_open_with_all_it_has_moved() {
    let _root = root();
    let base = base("");
    // Open before the daemon is there: it has moved nothing since.
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
    // Told to the recorder by now, which has not kept it.
    thread::sleep(Duration::from_millis(1500));
    let mut listener_of_traffic = Listener::start(base.path());
    let own = |line: &Value| line["process"] == std::process::id();
    let is_client = |line: &Value| own(line) && line["remote_port"] == port && line["opened"] == true;
    let told = listener_of_traffic.wait_for("connection", is_client);
    assert_eq!((&told["sent"], &told["received"]), (&1000.into(), &0.into()));
    assert_eq!(told["remote_address"], address.to_string());
    let age =
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64() - told["began"].as_f64().unwrap();
    assert!((1.0..60.0).contains(&age), "{age}");
    // From the first moment on, for another listener, too: both hear where programs listen, and what is quiet.
    let mut second = Listener::start(base.path());
    let quiet_port = quiet.local_addr().unwrap().port();
    let quiet_peer = quiet.peer_addr().unwrap().ip().to_string();
    for listener in [&mut listener_of_traffic, &mut second] {
        // In any order.
        let mut found = [false; 3];
        while found.contains(&false) {
            let line = listener.next();
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
    listener_of_traffic.wait_for("traffic", |line| {
        for figures in line["connections"].as_array().unwrap() {
            if figures[0] == told["id"] {
                sent = figures[1].as_u64().unwrap();
            }
        }
        line["ended"].as_array().unwrap().contains(&told["id"])
    });
    assert_eq!(sent, 1234);
    drop((datagrams, accepted));
    daemon.stop(Signal::SIGTERM);
}

#[test]
#[ignore = "needs root"]
fn a_listener_that_reads_nothing_holds_up_nobody_and_is_dropped() {
    let _root = root_alone();
    let base = base("");
    let daemon = Daemon::start(base.path());
    let still = Listener::start(base.path());
    let mut quick = Listener::start(base.path());
    let address = fresh_address();
    let began = Instant::now();
    let mut heard = 0;
    let mut dropped = 0;
    while dropped == 0 {
        assert!(began.elapsed() < PATIENCE, "it was never dropped");
        for _ in 0..200 {
            talk(address, 1, 1);
        }
        // Everybody else hears of it at once.
        quick.wait_for("connection", |line| line["remote_address"] == address.to_string());
        heard += 1;
        let output = super::harness::picosnitch(base.path(), &["status", "--json"]).output().unwrap();
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        dropped = status["subscribers_dropped"].as_u64().unwrap();
    }
    assert!(heard > 1);
    drop(still);
    daemon.stop(Signal::SIGTERM);
}
