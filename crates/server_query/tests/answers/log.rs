//! A log that is copied to a server, and the questions to both.

#[path = "../../../store/src/tests/random.rs"]
mod random;

use std::{net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use calendar::TimeZone;
use export::{ServerSettings, SinkNews, SumKind};
use model::{
    Address, CgroupInfo, Counters, Event, EventKind, FlowTuple, GeoInfo, LossKind, Port, ProcessContext,
    Program, Record, Sha256, Window,
};
use store::{Dimension, Filter, Find, Query, Range, Reader, SeenFilter, Sort, Value, WindowReader, Writer};
use tempfile::TempDir;

pub(crate) use random::Random;

use super::server_process::ServerProcess;

pub const SEND_TIMEOUT: Duration = Duration::from_secs(60);

pub fn record(path: &[u8], remote: &str, port: Port, sent: u64, received: u64) -> Record {
    let program = |path: &[u8], name: &[u8]| Program {
        path: path.to_vec(),
        name: name.to_vec(),
        command_line: [path, b"\0-x\0it's \xff\0\\x41"].concat(),
        sha256: Some(Sha256([path.len() as u8; 32])),
    };
    Record {
        context: Arc::new(ProcessContext {
            program: program(path, b"tool"),
            // Blanks at the end count, and long texts differ at their ends.
            parent: program(if sent.is_multiple_of(2) { b"/bin/sh" } else { b"/bin/sh " }, b"sh"),
            grandparent: Program {
                command_line: [&vec![b'y'; 3000][..], received.to_string().as_bytes()].concat(),
                ..Program::default()
            },
            uid: 4_294_967_294,
            network_namespace: 4_026_531_840,
            cgroup: CgroupInfo {
                path: b"/system.slice/tool.service".to_vec(),
                unit: b"tool.service".to_vec(),
                container: b"docker web-1".to_vec(),
                app: b"Snap tool".to_vec(),
            },
        }),
        tuple: FlowTuple {
            family: match remote.parse().unwrap() {
                Address::Ip(IpAddr::V4(_)) => 2,
                Address::Ip(IpAddr::V6(_)) => 10,
                Address::Vsock(_) | Address::Many => 40,
            },
            protocol: 6,
            local_address: Some("192.0.2.9".parse().unwrap()),
            remote_address: Some(remote.parse().unwrap()),
            local_port: 50_000,
            remote_port: port,
            domain: b"example.com".to_vec(),
            ..FlowTuple::default()
        },
        geo: GeoInfo { country: "NL".into(), network_number: 64496, network: "Example".into() },
        counters: Counters { connections: 1, sent, received },
        opened: false,
        folded: 0,
    }
}

pub fn typed(dimension: Dimension, value: &[u8], exclude: bool) -> Vec<Filter> {
    Filter::parse(dimension, value, exclude, &TimeZone::UTC).unwrap()
}

/// A log in a directory of its own.
pub struct Log {
    directory: TempDir,
}

impl Log {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("snitch.db")
    }

    pub fn reader(&self) -> Reader {
        Reader::open(&self.path()).unwrap()
    }

    /// Writes windows with random records, from `first` on; returns the time of the last one.
    pub fn write(&self, random: &mut Random, first: i64, windows: i64, step: i64) -> i64 {
        let mut writer = Writer::open(&self.path()).unwrap();
        let mut time = first;
        for number in 0..windows {
            time = first + number * step + random.below(10) as i64;
            let records = (0..1 + random.below(6)).map(|_| random.record()).collect();
            let mut event = Event::new(EventKind::Loss, time, "");
            event.subject = LossKind::ALL[random.below(LossKind::ALL.len() as u64) as usize].name();
            event.count = 1 + random.below(100);
            let mut events = vec![event];
            if random.below(3) == 0 {
                let kind = random.pick(&[EventKind::Alert, EventKind::Error, EventKind::LateDigest]);
                let mut event = Event::new(kind, time - random.below(20) as i64, "what\u{1b}[0m \\x41 \0");
                event.begin = (random.below(2) == 0).then_some(time - 30);
                event.uid = (random.below(2) == 0).then_some(u32::MAX);
                (event.path, event.name) = (b"/a\0\xff b ".to_vec(), b"\xfe".to_vec());
                event.sha256 = Some(Sha256([random.below(3) as u8; 32]));
                event.writer = Some(model::Writer {
                    pid: 5,
                    path: b"/w\xff".to_vec(),
                    name: b"w".to_vec(),
                    uid: (random.below(2) == 0).then_some(7),
                });
                events.push(event);
            }
            writer.write(&Window { time, records, events, ..Window::default() }).unwrap();
        }
        writer.checkpoint().unwrap();
        time
    }

    /// A copy, as of a machine that is cloned.
    pub fn copy(&self) -> Self {
        let copy = Self::new();
        std::fs::copy(self.path(), copy.path()).unwrap();
        copy
    }

    /// Sends all windows to a server.
    pub fn send(&self, settings: &ServerSettings, host: &str) {
        self.send_until(settings, host, || true);
    }

    /// Sends all windows to a server, and goes on until the sums that are due are made.
    pub fn send_with_sums(&self, server: &ServerProcess, host: &str) {
        let is_due = |kind: SumKind| {
            let (number, seconds) = (kind.number(), kind.seconds());
            if server.system.is_clickhouse() {
                return is_due_on_clickhouse(server, kind, host);
            }
            let sql = format!(
                "SELECT count(*) FROM picosnitch_log l JOIN picosnitch_window w ON w.log = l.id \
                 WHERE l.host = '{host}' AND w.time < (SELECT max(time) - max(time) % {seconds} FROM picosnitch_window WHERE log = l.id) \
                 AND w.window_number > (SELECT coalesce(max(last_window), 0) FROM picosnitch_sum_claim WHERE kind = {number} AND log = l.id)"
            );
            server.numbers(&sql) != [0]
        };
        let settings = server.settings("owner");
        self.send_until(&settings, host, || !SumKind::ALL.into_iter().any(is_due));
    }

    pub fn send_until(&self, settings: &ServerSettings, host: &str, is_done: impl Fn() -> bool + Sync) {
        let last = WindowReader::open(&self.path()).unwrap().state().unwrap().last_window;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let news = runtime.block_on(async {
            let (sent, is_sent) = tokio::sync::oneshot::channel();
            let mut sent = Some(sent);
            let news = std::cell::RefCell::new(Vec::new());
            let report = |found: SinkNews| {
                if let SinkNews::Status(status) = &found
                    && status.last_window == last
                    && status.lag_windows == Some(0)
                    && let Some(sent) = sent.take()
                {
                    let _ = sent.send(());
                }
                news.borrow_mut().push(found);
            };
            tokio::select! {
                never = export::run(settings, self.path(), host, report) => match never {},
                _ = async {
                    let _ = is_sent.await;
                    // In a thread of its own, since it waits with a runtime of its own.
                    while !std::thread::scope(|scope| scope.spawn(&is_done).join().unwrap()) {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                } => None,
                () = tokio::time::sleep(SEND_TIMEOUT) => Some(format!("{:?}", news.borrow())),
            }
        });
        assert_eq!(news, None, "the windows are not sent");
    }
}

/// Whether windows of a host are not in the sums, and in another span of time than the last one.
fn is_due_on_clickhouse(server: &ServerProcess, kind: SumKind, host: &str) -> bool {
    let (number, seconds) = (kind.number(), kind.seconds().max(86_400));
    let logs = server.texts(&format!("SELECT toString(id) FROM picosnitch_log FINAL WHERE host = '{host}'"));
    logs.into_iter().any(|log| {
        let sql = format!("SELECT max(last_window) FROM picosnitch_sum_claim WHERE kind = {number} AND log = {log}");
        let claimed = server.numbers(&sql)[0];
        let sql = format!("SELECT max(time) FROM picosnitch_window WHERE log = {log}");
        let last = server.numbers(&sql)[0];
        let sql = format!(
            "SELECT count() FROM picosnitch_window WHERE log = {log} AND window_number > {claimed} AND time < {}",
            last - last % seconds
        );
        server.numbers(&sql) != [0]
    })
}

/// The questions of the log, with others that only `query` asks.
pub fn question(random: &mut Random, first: i64, last: i64) -> Query {
    let mut query = random.query(first, last);
    query.reverse = random.below(3) == 0;
    query.offset = (random.below(4) == 0).then(|| random.below(3));
    query.limit = (random.below(3) == 0).then(|| 1 + random.below(5));
    if let Some(dimension) = query.group_by.first().filter(|_| random.below(4) == 0) {
        query.sort = Sort::Dimension(*dimension);
    }
    match random.below(12) {
        0 => query.filters.extend(typed(Dimension::ParentExecutable, b"/bin/sh ", random.below(2) == 0)),
        1 => query.filters.extend(typed(Dimension::CommandLine, b"/a -x 'it'\\''s \\xff' '\\x5cx41'", false)),
        2 => query.filters.extend(typed(Dimension::CommandLine, b"*it's*", random.below(2) == 0)),
        3 => query.filters.extend(typed(Dimension::DomainSource, b"unknown", random.below(2) == 0)),
        4 => query.filters.extend(typed(Dimension::Country, b"private", random.below(2) == 0)),
        5 => query.filters.extend(typed(Dimension::Asn, b"AS64496", random.below(2) == 0)),
        6 => query.filters.extend(typed(Dimension::Cgroup, b"/user.slice", random.below(2) == 0)),
        7 => query.filters.extend(typed(Dimension::Executable, b"/d\\x00", random.below(2) == 0)),
        _ => {}
    }
    if query.group_by.len() == 1 && random.below(3) == 0 {
        let time = |random: &mut Random| {
            (random.below(3) == 0).then(|| first + random.below((last - first) as u64) as i64)
        };
        query.seen = Some(SeenFilter { new_since: time(random), changed_since: time(random) });
        if random.below(2) == 0 {
            query.sort = random.pick(&[Sort::FirstSeen, Sort::LastSeen, Sort::Digests]);
        }
    }
    query
}

/// Edges of a chart: even ones, or some at random.
pub fn edges(random: &mut Random, first: i64, last: i64) -> Vec<i64> {
    let mut edges: Vec<i64> = match random.below(2) {
        0 => calendar::divide(first, last + 1, 1 + random.below(300) as usize, &TimeZone::UTC),
        _ => (0..random.below(9)).map(|_| first + random.below((last - first) as u64) as i64).collect(),
    };
    edges.sort_unstable();
    edges.dedup();
    edges
}
