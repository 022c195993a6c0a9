//! Events for other tools, whatever happens to the exporter, the daemon and the receiver.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use super::{
    harness::{Daemon, base, error_log, picosnitch, place, root, wait_until},
    servers::exporter_of,
};

/// A web server that keeps the bodies of requests; while it is `away` it breaks every connection.
struct WebServer {
    port: u16,
    away: Arc<AtomicBool>,
    bodies: Arc<Mutex<Vec<Value>>>,
}

impl WebServer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (away, bodies) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<Value>>>::default());
        let (is_away, kept) = (Arc::clone(&away), Arc::clone(&bodies));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut reader = BufReader::new(stream.unwrap());
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap_or(0) > 0 {}
                let head = head.to_ascii_lowercase();
                let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
                let Some(length) = length.and_then(|length| length.parse().ok()) else { continue };
                let mut body = vec![0; length];
                if is_away.load(Ordering::Relaxed) || reader.read_exact(&mut body).is_err() {
                    continue;
                }
                kept.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
                let _ = reader
                    .get_mut()
                    .write_all(b"HTTP/1.1 204 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            }
        });
        Self { port, away, bodies }
    }

    /// The kinds of the events, each event once, in the order in which they came.
    fn kinds(&self) -> Vec<String> {
        let mut ids = Vec::new();
        let bodies = self.bodies.lock().unwrap();
        let new = bodies.iter().filter(|body| {
            let is_new = !ids.contains(&body["id"]);
            ids.push(body["id"].clone());
            is_new
        });
        new.map(|body| body["kind"].as_str().unwrap().to_owned()).collect()
    }
}

fn receivers(base: &Path) -> Vec<Value> {
    let output = picosnitch(base, &["status", "--json"]).output().unwrap();
    let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    status["servers"].as_array().cloned().unwrap_or_default()
}

#[test]
#[ignore = "needs root"]
fn receivers_get_each_event_whoever_dies() {
    let _lock = root();
    let (server, sockets) = (WebServer::start(), place());
    let path = sockets.path().join("log");
    let socket = UnixDatagram::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let base = base(&format!(
        "[export.chat]\nclient = \"webhook\"\nurl = \"http://127.0.0.1:{}/secret\"\nkinds = [\"start\", \"stop\"]\nbackfill = true\n\
         [export.local]\nclient = \"syslog\"\ntransport = \"local\"\npath = \"{}\"\nkinds = [\"start\"]\nbackfill = true\n",
        server.port,
        path.display()
    ));
    let base = base.path();
    let daemon = Daemon::start(base);
    wait_until("the start is told", || server.kinds() == ["start"]);
    let mut buffer = [0; 8192];
    let length = socket.recv(&mut buffer).unwrap();
    assert!(
        buffer[..length].starts_with(b"<29>picosnitch: @cee:{"),
        "{}",
        String::from_utf8_lossy(&buffer[..length])
    );
    wait_until("nothing is behind", || {
        let receivers = receivers(base);
        receivers.len() == 2 && receivers.iter().all(|found| found["lag_windows"] == 0)
    });
    let text = String::from_utf8(picosnitch(base, &["status"]).output().unwrap().stdout).unwrap();
    assert!(text.contains("export.chat") && text.contains(" has all") && !text.contains("/secret"), "{text}");
    kill(exporter_of(&daemon).unwrap(), Signal::SIGKILL).unwrap();
    wait_until("another exporter runs", || exporter_of(&daemon).is_some());
    daemon.stop(Signal::SIGTERM);
    // The receiver is away while the daemon starts and stops.
    server.away.store(true, Ordering::Relaxed);
    let daemon = Daemon::start(base);
    wait_until("the receiver is missed", || error_log(base).contains("export.chat: "));
    assert!(!error_log(base).contains("/secret"), "{}", error_log(base));
    daemon.stop(Signal::SIGTERM);
    let daemon = Daemon::start(base);
    server.away.store(false, Ordering::Relaxed);
    wait_until("all are told", || server.kinds() == ["start", "stop", "start", "stop", "start"]);
    let last = daemon.stop(Signal::SIGTERM);
    assert!(!last.contains("panicked"), "{last}");
    assert!(base.join("snitch.positions").exists());
    // What was taken did not come again at each start: an event may, if its position was not written yet.
    assert!(server.bodies.lock().unwrap().len() <= 8, "{:?}", server.bodies.lock().unwrap());
}
