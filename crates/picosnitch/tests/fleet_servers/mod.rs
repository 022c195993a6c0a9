//! A real server with copies of the logs of three hosts, one of which has a hostile name, and accounts that ask it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use export::{ServerSettings, SinkNews};
use model::{
    Address, Counters, Event, EventKind, FlowTuple, GeoInfo, LossKind, ProcessContext, Program, Record,
    Sha256, Window,
};
use store::{WindowReader, Writer};
use tempfile::TempDir;

use super::server_process::{DATABASE, PASSWORD, ServerProcess, System, clickhouse::Agent};

const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// A name with a control character and markup, as an attacker may choose it.
pub const HOSTILE: &str = "evil\x1b]0;owned\x07<img src=x onerror=alert(1)>";
/// The tables that an account needs to ask.
const TABLES: [&str; 8] = ["schema", "log", "window", "record", "context", "program", "endpoint", "event"];

/// The present, unix seconds.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

/// A record of a program, whose digest is 32 times the number.
pub fn record(path: &str, digest: u8, domain: &str, sent: u64) -> Record {
    let program = Program {
        path: path.into(),
        name: path.rsplit('/').next().unwrap().into(),
        command_line: path.into(),
        sha256: Some(Sha256([digest; 32])),
    };
    Record {
        context: Arc::new(ProcessContext { program, uid: 1000, ..ProcessContext::default() }),
        geo: GeoInfo::default(),
        tuple: FlowTuple {
            family: 2,
            protocol: 6,
            local_address: Some("192.0.2.1".parse::<Address>().unwrap()),
            remote_address: Some("198.51.100.7".parse::<Address>().unwrap()),
            local_port: 50_000,
            remote_port: 443,
            domain: domain.into(),
            ..FlowTuple::default()
        },
        counters: Counters { connections: 1, sent, received: 10 * sent },
        opened: true,
        folded: 0,
    }
}

/// The server, and where its logs and the file of the password are.
pub struct FleetServer {
    pub server: ServerProcess,
    pub place: TempDir,
}

impl FleetServer {
    /// Starts a server with three hosts: `laptop` and `server` recorded up to a minute ago, the hostile one up to two hours ago. All
    /// have curl, `server` with another digest; `server` alone has /opt/own.
    pub fn start(system: System) -> Self {
        let server = ServerProcess::start(system);
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("password"), format!("{PASSWORD}\n")).unwrap();
        let fleet = Self { server, place };
        let end = now() - 60;
        fleet.send_host("laptop", end, &[("/usr/bin/curl", 0xaa, "example.org", 100)]);
        fleet.send_host(
            "server",
            end,
            &[("/usr/bin/curl", 0xbb, "api.example.org", 200), ("/opt/own", 0xcc, "own.example.net", 1)],
        );
        fleet.send_host(HOSTILE, end - 7200, &[("/usr/bin/curl", 0xaa, "example.org", 7)]);
        // An account that may only read.
        match system {
            System::PostgreSql | System::MariaDb => {
                for table in TABLES {
                    let account = if system == System::MariaDb { "'agent'@'%'" } else { "agent" };
                    let grant = format!("GRANT SELECT ON picosnitch_{table} TO {account}");
                    fleet.server.administer(DATABASE, &grant);
                }
            }
            System::ClickHouse => fleet.server.allow_agent(Agent::Reader),
            // Its accounts may do anything.
            System::Chdb => {}
        }
        fleet
    }

    /// Writes a log with twenty windows up to `end`, an alert and a loss, and sends it.
    fn send_host(&self, host: &str, end: i64, programs: &[(&str, u8, &str, u64)]) {
        let log = self.place.path().join(format!("{}.db", &host[..4]));
        let mut writer = Writer::open(&log).unwrap();
        for number in 0..20 {
            let time = end - 10 * (19 - number);
            let records = programs
                .iter()
                .map(|(path, digest, domain, sent)| record(path, *digest, domain, *sent))
                .collect();
            let mut events = Vec::new();
            if number == 7 {
                let mut loss = Event::new(EventKind::Loss, time, "");
                loss.subject = LossKind::ProcessEvents.name();
                loss.count = 3;
                events.push(loss);
            }
            if number == 9 {
                let mut alert = Event::new(EventKind::Alert, time, format!("curl is new on {}", &host[..4]));
                alert.path = b"/usr/bin/curl".to_vec();
                events.push(alert);
            }
            writer.write(&Window { time, records, events, ..Window::default() }).unwrap();
        }
        writer.checkpoint().unwrap();
        drop(writer);
        send(&log, &self.server.settings("owner"), host);
    }

    /// The address for --source, for an account.
    pub fn address(&self, user: &str) -> String {
        address(&self.server, user, "127.0.0.1")
    }

    /// The file with the password of all accounts.
    pub fn password_file(&self) -> PathBuf {
        self.place.path().join("password")
    }

    /// --source and --password-file, for an account.
    pub fn options(&self, user: &str) -> [String; 4] {
        let file = self.password_file().display().to_string();
        ["--source".to_owned(), self.address(user), "--password-file".to_owned(), file]
    }
}

/// The address for --source of a server, for an account, by a name of this machine.
pub fn address(server: &ServerProcess, user: &str, host: &str) -> String {
    let scheme = match server.system {
        System::PostgreSql => "postgres",
        System::MariaDb => "mariadb",
        System::ClickHouse | System::Chdb => "clickhouse",
    };
    format!("{scheme}://{user}@{host}:{}/{DATABASE}", server.port)
}

/// Sends all windows of a log.
pub fn send(log: &Path, settings: &ServerSettings, host: &str) {
    let last = WindowReader::open(log).unwrap().state().unwrap().last_window;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let is_sent = runtime.block_on(async {
        let (sent, is_sent) = tokio::sync::oneshot::channel();
        let mut sent = Some(sent);
        let report = |news: SinkNews| {
            if let SinkNews::Status(status) = news
                && status.last_window == last
                && status.lag_windows == Some(0)
                && let Some(sent) = sent.take()
            {
                let _ = sent.send(());
            }
        };
        tokio::select! {
            never = export::run(settings, log.to_owned(), host, report) => match never {},
            _ = is_sent => true,
            () = tokio::time::sleep(SEND_TIMEOUT) => false,
        }
    });
    assert!(is_sent);
}
