//! Real receivers, which are killed meanwhile: rsyslogd over TCP, TLS and UDP, a web server, journald if one runs, and one of OTLP that
//! decodes with the packages of OpenTelemetry.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

mod otlp;

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use config::{Config, Destination};
use export::{SinkNews, SinkPosition, SinkStatus};
use forward::Target;
use model::{Event, EventKind, FlowTuple, Record, Window, text::time::now};
use serde_json::Value;
use store::Writer;
use tempfile::TempDir;
use tokio::{runtime, task::LocalSet};

/// The longest wait for a receiver.
const TIMEOUT: Duration = Duration::from_secs(90);
const HOST: &str = "host-1";

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < TIMEOUT, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A log that is written in the test.
struct Log {
    directory: TempDir,
    writer: Writer,
    /// Number of the last event.
    last: u32,
}

impl Log {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let writer = Writer::open(&directory.path().join("snitch.db")).unwrap();
        Self { directory, writer, last: 0 }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("snitch.db")
    }

    /// Writes windows, each with an alert, an error that may not be wanted, and a record.
    fn write(&mut self, windows: u32) {
        for _ in 0..windows {
            self.last += 1;
            let mut alert = Event::new(EventKind::Alert, now(), format!("Alert {}.", self.last));
            alert.path = b"/usr/bin/\xffodd\n\"}".to_vec();
            let events = vec![alert, Event::new(EventKind::Error, now(), "An error.")];
            let tuple = FlowTuple { protocol: 6, remote_port: 443, ..FlowTuple::default() };
            let record = Record {
                context: Arc::default(),
                geo: model::GeoInfo::default(),
                tuple,
                counters: model::Counters { connections: 1, sent: u64::from(self.last), received: 0 },
                opened: false,
                folded: 0,
            };
            let window = Window { time: now(), events, records: vec![record], ..Window::default() };
            self.writer.write(&window).unwrap();
        }
    }

    /// The texts of all alerts that were written.
    fn alerts(&self) -> Vec<String> {
        (1..=self.last).map(|number| format!("Alert {number}.")).collect()
    }
}

/// What a sender has told.
#[derive(Default)]
struct Told {
    position: Option<SinkPosition>,
    status: SinkStatus,
    problems: Vec<String>,
}

/// A sender in a thread of its own.
struct Sender {
    told: Arc<Mutex<Told>>,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Sender {
    fn start(section: &str, authority: &str, log: &Path, position: Option<SinkPosition>) -> Self {
        let config = Config::from_toml(&format!("[export.a]\n{section}")).unwrap();
        let (name, section) = config.forwards().next().unwrap();
        let target = Target {
            name,
            section: section.clone(),
            authority: authority.to_owned(),
            token: section.token.0.clone(),
        };
        let (told, log) = (Arc::<Mutex<Told>>::default(), log.to_owned());
        let (end, ended) = tokio::sync::oneshot::channel();
        let news = Arc::clone(&told);
        let thread = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let tasks = LocalSet::new();
            tasks.spawn_local(async move {
                let report = |found| {
                    let mut told = news.lock().unwrap();
                    match found {
                        SinkNews::Position(_, position) => told.position = Some(position),
                        SinkNews::Status(status) => told.status = status,
                        SinkNews::Problem(text) | SinkNews::Deleted(text, _) => told.problems.push(text),
                    }
                };
                match forward::run(&target, log, HOST, position, report).await {}
            });
            let _ = runtime.block_on(tasks.run_until(ended));
            runtime.shutdown_background();
        });
        Self { told, end: Some(end), thread: Some(thread) }
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap()
    }

    /// Ends it at whatever it does, and returns the last position that it has told.
    fn end(mut self) -> Option<SinkPosition> {
        drop(self.end.take());
        self.thread.take().unwrap().join().unwrap();
        self.told().position.clone()
    }
}

/// rsyslogd with a file of the messages.
struct Rsyslog {
    directory: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Rsyslog {
    fn start() -> Self {
        let mut server = Self { directory: tempfile::tempdir().unwrap(), port: free_port(), child: None };
        let directory = server.directory.path().display();
        // Without queues a message is in the file before the next one is read. Both inputs have one port.
        let text = format!(
            "global(workDirectory=\"{directory}\" maxMessageSize=\"64k\")\nmain_queue(queue.type=\"Direct\")\n\
             module(load=\"imtcp\")\nmodule(load=\"imudp\")\ninput(type=\"imtcp\" port=\"{port}\" address=\"127.0.0.1\")\n\
             input(type=\"imudp\" port=\"{port}\" address=\"127.0.0.1\")\n\
             template(name=\"all\" type=\"string\" string=\"%pri% %timestamp:::date-rfc3339% %hostname% %app-name% %msgid% %msg%\\n\")\n\
             action(type=\"omfile\" file=\"{directory}/messages\" template=\"all\" asyncWriting=\"off\" flushOnTXEnd=\"on\")\n",
            port = server.port
        );
        fs::write(server.directory.path().join("rsyslog.conf"), text).unwrap();
        server.restart();
        server
    }

    fn restart(&mut self) {
        let directory = self.directory.path();
        let child = Command::new("rsyslogd")
            .arg("-n")
            .arg("-f")
            .arg(directory.join("rsyslog.conf"))
            .arg("-i")
            .arg(directory.join("pid"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("rsyslogd, of the Debian package rsyslog, is not installed");
        self.child = Some(child);
        wait_until("rsyslogd listens", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let _ = fs::remove_file(self.directory.path().join("pid"));
    }

    /// The messages as header fields and JSON.
    fn messages(&self) -> Vec<(Vec<String>, Value)> {
        let text = fs::read(self.directory.path().join("messages")).unwrap_or_default();
        let text = String::from_utf8(text).unwrap();
        let parse = |line: &str| {
            let (head, json) = line.split_once(" @cee:")?;
            let head = head.split_whitespace().map(str::to_owned).collect();
            Some((head, serde_json::from_str(json).ok()?))
        };
        text.lines().filter_map(parse).collect()
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

/// The texts of events of a kind by their ids, each once.
fn texts<'a>(items: impl Iterator<Item = &'a Value>, kind: &str) -> Vec<String> {
    let mut seen = HashSet::new();
    items
        .filter(|item| item["kind"] == kind && seen.insert(item["id"].as_str().unwrap().to_owned()))
        .map(|item| item["text"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn rsyslogd_gets_each_event_also_if_it_or_the_sender_is_killed() {
    let (mut server, mut log) = (Rsyslog::start(), Log::new());
    let section = format!(
        "client = \"syslog\"\ntransport = \"tcp\"\nhost = \"127.0.0.1\"\nport = {}\nkinds = [\"alert\"]\nfacility = \"local3\"",
        server.port
    );
    log.write(1);
    let mut sender = Sender::start(&section, "", &log.path(), None);
    wait_until("the sender has begun", || sender.told().position.is_some());
    for round in 0..6 {
        log.write(20);
        match round {
            // Killed at moments of no choosing; the sender at those, too.
            1 | 3 => {
                thread::sleep(Duration::from_millis(900));
                server.kill();
                log.write(20);
                wait_until("the server is missed", || sender.told().status.problem.is_some());
                assert!(
                    sender.told().problems[0].contains("waits in the log"),
                    "{:?}",
                    sender.told().problems
                );
                server.restart();
            }
            2 | 4 => {
                let position = sender.end();
                log.write(5);
                sender = Sender::start(&section, "", &log.path(), position);
            }
            _ => {}
        }
    }
    let last = log.last;
    wait_until("all is sent", || sender.told().status.lag_windows == Some(0));
    assert!(sender.told().status.is_connected && sender.told().status.problem.is_none());
    let messages = server.messages();
    // The first window was written before.
    let found: HashSet<String> = texts(messages.iter().map(|(_, item)| item), "alert").into_iter().collect();
    assert_eq!(found, log.alerts().into_iter().skip(1).collect::<HashSet<_>>(), "of {last}");
    assert!(messages.iter().all(|(_, item)| item["kind"] == "alert"), "only what is wanted");
    let (head, item) = &messages[0];
    // Facility local3 is 19, and a warning is 4.
    assert_eq!((head[0].as_str(), head[2].as_str()), ("156", HOST), "{head:?}");
    assert_eq!(&head[3..], ["picosnitch", "alert"]);
    assert_eq!(
        (item["exe"].as_str(), item["type"].as_str()),
        (Some("/usr/bin/\\xffodd\n\"}"), Some("event"))
    );
}

#[test]
fn records_go_to_rsyslogd_by_udp_and_the_history_if_it_is_wanted() {
    let (server, mut log) = (Rsyslog::start(), Log::new());
    log.write(30);
    let section = format!(
        "client = \"syslog\"\ntransport = \"udp\"\nhost = \"127.0.0.1\"\nport = {}\nrecords = true\nbackfill = true",
        server.port
    );
    let sender = Sender::start(&section, "", &log.path(), None);
    wait_until("the history is there", || server.messages().len() >= 90);
    log.write(1);
    wait_until("the next window is there", || server.messages().len() >= 93);
    let messages = server.messages();
    let sent: Vec<u64> = messages.iter().filter_map(|(_, item)| item["sent"].as_u64()).collect();
    assert_eq!(sent, (1..=31).collect::<Vec<_>>());
    assert!(messages.iter().any(|(head, item)| head[0] == "30" && item["type"] == "record"));
    assert_eq!(sender.told().status.sent_records, 31);
}

#[test]
fn messages_go_through_tls_to_a_server_whose_certificate_is_trusted_only() {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let pem = certified.cert.pem();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let received = Arc::<Mutex<String>>::default();
    let (out, tls) = (Arc::clone(&received), Arc::new(tls));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let session = rustls::ServerConnection::new(Arc::clone(&tls)).unwrap();
            let mut stream = rustls::StreamOwned::new(session, stream.unwrap());
            let mut text = String::new();
            if stream.read_to_string(&mut text).is_ok() {
                out.lock().unwrap().push_str(&text);
            }
        }
    });
    let mut log = Log::new();
    log.write(3);
    let section = |host: &str| {
        format!(
            "client = \"syslog\"\ntransport = \"tls\"\nhost = \"{host}\"\nport = {port}\nbackfill = true\nkinds = [\"alert\"]"
        )
    };
    let trusting = Sender::start(&section("localhost"), &pem, &log.path(), None);
    wait_until("all is sent", || trusting.told().position.as_ref().is_some_and(|found| found.window == 3));
    // Octet counting: each frame has its length.
    let text = received.lock().unwrap().clone();
    let (mut rest, mut frames) = (text.as_bytes(), 0);
    while !rest.is_empty() {
        let space = rest.iter().position(|byte| *byte == b' ').unwrap();
        let length: usize = std::str::from_utf8(&rest[..space]).unwrap().parse().unwrap();
        let frame = std::str::from_utf8(&rest[space + 1..space + 1 + length]).unwrap();
        assert!(
            frame.starts_with("<28>1 ") && frame.contains(&format!(" {HOST} picosnitch - alert - @cee:{{")),
            "{frame}"
        );
        rest = &rest[space + 1 + length..];
        frames += 1;
    }
    assert_eq!(frames, 3);
    // Neither another name nor an authority that is not trusted.
    for (host, authority) in [("127.0.0.1", pem.as_str()), ("localhost", "")] {
        let refusing = Sender::start(&section(host), authority, &log.path(), None);
        wait_until("the certificate is refused", || refusing.told().status.problem.is_some());
        assert_eq!(refusing.told().position.as_ref().map(|found| found.window), Some(0));
    }
    assert_eq!(received.lock().unwrap().len(), text.len());
}

#[test]
fn the_local_socket_gets_messages_of_syslog() {
    let mut log = Log::new();
    let path = log.directory.path().join("log");
    let section = format!(
        "client = \"syslog\"\ntransport = \"local\"\npath = \"{}\"\nkinds = [\"error\"]",
        path.display()
    );
    let sender = Sender::start(&section, "", &log.path(), None);
    wait_until("the sender has begun", || sender.told().position.is_some());
    log.write(2);
    wait_until("the socket is missed", || sender.told().status.problem.is_some());
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    for _ in 0..2 {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        assert!(text.starts_with("<27>picosnitch: @cee:{") && text.ends_with('}'), "{text}");
    }
}

/// A web server that keeps the requests, and answers with a status.
struct WebServer {
    port: u16,
    status: Arc<AtomicU16>,
    requests: Arc<Mutex<Vec<(String, String, Value)>>>,
}

impl WebServer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (status, requests) = (Arc::new(AtomicU16::new(200)), Arc::<Mutex<Vec<_>>>::default());
        let (answer, kept) = (Arc::clone(&status), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut reader = BufReader::new(stream.unwrap());
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap_or(0) > 0 {}
                let length = head.to_ascii_lowercase();
                let length = length.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
                let Some(length) = length.and_then(|length| length.parse().ok()) else { continue };
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let status = answer.load(Ordering::Relaxed);
                // Status 0: it dies after it has read the request.
                if status != 0 {
                    let text =
                        format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                    let _ = reader.get_mut().write_all(text.as_bytes());
                }
                if status == 200 {
                    let line = head.lines().next().unwrap().to_owned();
                    kept.lock().unwrap().push((line, head.clone(), serde_json::from_slice(&body).unwrap()));
                }
            }
        });
        Self { port, status, requests }
    }
}

#[test]
fn a_web_server_gets_a_request_for_each_event_and_once_it_has_answered_no_other() {
    let (server, mut log) = (WebServer::start(), Log::new());
    let section = format!(
        "client = \"webhook\"\nurl = \"http://127.0.0.1:{}/hook?id={{id}}\"\nmethod = \"PUT\"\ntoken = \"t-1\"\nkinds = [\"alert\"]\n\
         body = '{{\"text\": \"{{summary}} #{{window}}\", \"id\": \"{{id}}\", \"list\": [\"{{exe}}\", true]}}'",
        server.port
    );
    let sender = Sender::start(&section, "", &log.path(), None);
    wait_until("the sender has begun", || sender.told().position.is_some());
    log.write(3);
    wait_until("three requests have come", || server.requests.lock().unwrap().len() == 3);
    for status in [500, 429, 404, 302, 0] {
        server.status.store(status, Ordering::Relaxed);
        log.write(2);
        wait_until("the problem is told", || sender.told().status.problem.is_some());
        server.status.store(200, Ordering::Relaxed);
        wait_until("it is over", || sender.told().status.problem.is_none());
    }
    wait_until("all is sent", || sender.told().status.lag_windows == Some(0));
    assert!(
        sender.told().problems.iter().any(|text| text.contains("status 500")),
        "{:?}",
        sender.told().problems
    );
    let requests = server.requests.lock().unwrap();
    let mut counts: HashMap<&str, u32> = HashMap::new();
    for (line, head, body) in requests.iter() {
        let id = body["id"].as_str().unwrap();
        *counts.entry(id).or_default() += 1;
        assert!(line.starts_with(&format!("PUT /hook?id={} ", id.replace('/', "-"))), "{line}");
        assert!(head.to_ascii_lowercase().contains("authorization: bearer t-1"), "{head}");
        assert_eq!(body["list"], serde_json::json!(["/usr/bin/\\xffodd\\x0a\"}", true]));
    }
    assert!(counts.len() == 13 && counts.values().all(|count| *count == 1), "{counts:?}");
    let first = requests[0].2["text"].as_str().unwrap();
    assert_eq!(first, "alert: /usr/bin/\\xffodd\\x0a\"}: Alert 1. #1");
}

#[test]
fn journald_gets_entries_with_fields() {
    if !Path::new("/run/systemd/journal/socket").exists() {
        eprintln!("left out: no journald runs here (/run/systemd/journal/socket is missing)");
        return;
    }
    let mut log = Log::new();
    log.write(3);
    let sender =
        Sender::start("client = \"journald\"\nbackfill = true\nkinds = [\"alert\"]", "", &log.path(), None);
    wait_until("all is sent", || sender.told().position.as_ref().is_some_and(|found| found.window == 3));
    let log_id = sender.told().position.clone().unwrap().log;
    let output = || {
        let field = format!("PICOSNITCH_LOG={log_id}");
        let output = Command::new("journalctl").args(["-o", "json", &field]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    wait_until("the entries are in the journal", || output().lines().count() == 3);
    let entry: Value = serde_json::from_str(output().lines().next().unwrap()).unwrap();
    assert_eq!(
        (entry["PRIORITY"].as_str(), entry["PICOSNITCH_TEXT"].as_str()),
        (Some("4"), Some("Alert 1."))
    );
}

#[test]
fn a_receiver_that_never_answers_is_given_up_and_tried_again() {
    // It takes the connection and the bytes, and closes nothing.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut log = Log::new();
    log.write(1);
    let section = format!(
        "client = \"syslog\"\ntransport = \"tcp\"\nhost = \"127.0.0.1\"\nport = {port}\nbackfill = true"
    );
    let sender = Sender::start(&section, "", &log.path(), None);
    wait_until("it is given up", || sender.told().status.problem.is_some());
    assert!(sender.told().problems[0].contains("has not answered for 20 s"), "{:?}", sender.told().problems);
    assert_eq!(sender.told().position.as_ref().map(|found| found.window), Some(0));
    // One that closes before it has read all.
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    drop((listener, udp));
    wait_until("nothing listens", || {
        sender.told().problems.iter().any(|text| text.contains("cannot connect"))
    });
}

#[test]
fn a_section_knows_its_port() {
    let config = Config::from_toml("[export.a]\nclient = \"syslog\"\ntransport = \"udp\"").unwrap();
    let (_, section) = config.forwards().next().unwrap();
    assert!(matches!(&section.destination, Destination::Syslog(server) if server.port == 514));
    assert_eq!(section.destination.tcp_port(), None);
}
