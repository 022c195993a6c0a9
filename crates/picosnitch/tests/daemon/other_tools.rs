//! Events for other tools, whatever happens to the exporter, the daemon and the receiver.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use nix::sys::signal::{Signal, kill};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
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

/// A server of TLS with a certificate for `localhost`, which keeps what comes: streams of syslog up to their end, and bodies of requests.
struct TlsServer {
    port: u16,
    texts: Arc<Mutex<Vec<String>>>,
}

impl TlsServer {
    /// Makes a certificate in a directory, and starts.
    fn start(directory: &Path) -> Self {
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"])
            .args([
                "-addext",
                "basicConstraints=critical,CA:FALSE",
                "-keyout",
                "key.pem",
                "-out",
                "certificate.pem",
            ])
            .current_dir(directory)
            .output()
            .expect("openssl is missing: scripts/setup test");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let certificate = CertificateDer::from_pem_file(directory.join("certificate.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(directory.join("key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let texts = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&texts);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut reader = BufReader::new(rustls::StreamOwned::new(session, stream.unwrap()));
                let mut text = String::new();
                let _ = reader.read_line(&mut text);
                if text.starts_with("POST") {
                    while !text.ends_with("\r\n\r\n") && reader.read_line(&mut text).unwrap_or(0) > 0 {}
                    let head = text.to_ascii_lowercase();
                    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
                    let mut body = vec![0; length.unwrap().parse().unwrap()];
                    reader.read_exact(&mut body).unwrap();
                    text += std::str::from_utf8(&body).unwrap();
                    let answer = b"HTTP/1.1 204 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                    reader.get_mut().write_all(answer).unwrap();
                    let _ = reader.get_mut().flush();
                } else {
                    let _ = reader.read_to_string(&mut text);
                }
                kept.lock().unwrap().push(text);
            }
        });
        Self { port, texts }
    }

    fn has(&self, parts: &[&str]) -> bool {
        self.texts.lock().unwrap().iter().any(|text| parts.iter().all(|part| text.contains(part)))
    }
}

/// A program that is killed at the end of the test.
struct Helper(Child);

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_rsyslogd(directory: &Path, port: u16) -> Helper {
    let place = directory.display();
    let text = format!(
        "global(workDirectory=\"{place}\" maxMessageSize=\"64k\")\nmodule(load=\"imtcp\")\nmodule(load=\"imudp\")\n\
         input(type=\"imtcp\" port=\"{port}\" address=\"127.0.0.1\")\ninput(type=\"imudp\" port=\"{port}\" address=\"127.0.0.1\")\n\
         template(name=\"all\" type=\"string\" string=\"%inputname% %pri% %app-name% %msgid% %msg%\\n\")\n\
         action(type=\"omfile\" file=\"{place}/messages\" template=\"all\")\n"
    );
    fs::write(directory.join("rsyslog.conf"), text).unwrap();
    let mut command = Command::new("rsyslogd");
    command.arg("-n").arg("-f").arg(directory.join("rsyslog.conf")).arg("-i").arg(directory.join("pid"));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let helper = Helper(command.spawn().expect("rsyslogd is missing: scripts/setup check"));
    wait_until("rsyslogd listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    helper
}

fn start_collector(directory: &Path, port: u16) -> Helper {
    fs::write(directory.join("answer"), "200").unwrap();
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = Command::new(project.join("scripts/otlp-python"));
    command
        .arg(project.join("crates/forward/tests/receivers/otlp_receiver.py"))
        .arg(directory)
        .arg(port.to_string());
    let helper = Helper(command.spawn().unwrap());
    wait_until("the collector listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    helper
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
#[ignore = "needs root"]
fn receivers_of_every_kind_are_reached_out_of_the_sandbox() {
    let _lock = root();
    let (tls_place, log_place, collector_place) = (place(), place(), place());
    let (log_port, collector_port) = (free_port(), free_port());
    let tls = TlsServer::start(tls_place.path());
    let _rsyslogd = start_rsyslogd(log_place.path(), log_port);
    let _collector = start_collector(collector_place.path(), collector_port);
    // Root reads it for the exporter, who may not.
    let certificate = tls_place.path().join("certificate.pem");
    fs::set_permissions(&certificate, fs::Permissions::from_mode(0o600)).unwrap();
    let certificate = certificate.display();
    let more = "kinds = [\"start\"]\nbackfill = true";
    let base = base(&format!(
        "[export.tcp]\nclient = \"syslog\"\ntransport = \"tcp\"\nhost = \"localhost\"\nport = {log_port}\n{more}\n\
         [export.udp]\nclient = \"syslog\"\ntransport = \"udp\"\nhost = \"127.0.0.1\"\nport = {log_port}\n{more}\n\
         [export.tls]\nclient = \"syslog\"\ntransport = \"tls\"\nhost = \"localhost\"\nport = {tls_port}\nca = \"{certificate}\"\n{more}\n\
         [export.hook]\nclient = \"webhook\"\nurl = \"https://localhost:{tls_port}/a\"\nca = \"{certificate}\"\ntoken = \"t-1\"\n{more}\n\
         [export.otel]\nclient = \"otlp\"\nurl = \"http://localhost:{collector_port}/base\"\n{more}\n",
        tls_port = tls.port
    ));
    let base = base.path();
    let daemon = Daemon::start(base);
    wait_until("the exporter", || exporter_of(&daemon).is_some());
    let messages = || fs::read_to_string(log_place.path().join("messages")).unwrap_or_default();
    for input in ["imtcp 29 picosnitch start ", "imudp 29 picosnitch start "] {
        wait_until(input, || {
            messages().lines().any(|line| line.starts_with(input) && line.contains("@cee:{"))
        });
    }
    wait_until("syslog over TLS", || tls.has(&["<29>1 ", " picosnitch - start - @cee:{"]));
    wait_until("a request over TLS", || tls.has(&["POST /a ", "Bearer t-1", "\"kind\":\"start\""]));
    let requests = || fs::read_to_string(collector_place.path().join("requests")).unwrap_or_default();
    wait_until("logs and metrics", || {
        let requests = requests();
        let has = |path: &str, content: &str| {
            requests.lines().any(|line| line.contains(path) && line.contains(content))
        };
        has("/base/v1/logs", "picosnitch.start") && has("/base/v1/metrics", "picosnitch.events")
    });
    wait_until("nothing is behind", || {
        let receivers = receivers(base);
        receivers.len() == 5
            && receivers.iter().all(|found| found["lag_windows"] == 0 && found["problem"].is_null())
    });
    daemon.stop(Signal::SIGTERM);
    assert!(!error_log(base).contains("export."), "{}", error_log(base));
}
