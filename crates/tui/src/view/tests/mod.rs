//! Tests of `view` without a terminal, on a log, clock and time zone that are always the same.

mod choices;
mod errors;
mod keys;
mod many;
mod screens;

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
    time::Duration,
};

use jiff::tz::TimeZone;
use ratatui::{buffer::Buffer, layout::Rect};

use super::{
    input::{on_key, on_mouse},
    label::Labels,
    messages::{Request, Response},
    query_thread::QueryThread,
    screen::{HitAreas, chart_columns, draw},
    state::{Effect, ViewState},
    tab::Tab,
};
use crate::term::{
    background::Background,
    canvas::Canvas,
    events::Event,
    testing::{styled, text},
    theme::{Depth, Theme},
};
use model::{
    CgroupInfo, Counters, FlowTuple, GeoInfo, Loss, LossKind, ProcessContext, Program, Record, Sha256, Window,
};
use server_query::LogSource;
use store::Writer;

/// The present of all tests: 2026-03-01 14:20:05 in Berlin.
const NOW: i64 = 1_772_371_205;
const HOUR: i64 = 3600;
/// Longer than any query takes.
const TIMEOUT: Duration = Duration::from_secs(30);

const PLAIN: Theme = Theme { depth: Depth::None, background: Background::Dark, ascii: false };

fn berlin() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

fn program(path: &str, digest: u8) -> Program {
    Program {
        path: path.into(),
        name: path.rsplit('/').next().unwrap().chars().take(15).collect::<String>().into(),
        command_line: format!("{path} --serve").into(),
        sha256: (digest > 0).then_some(Sha256([digest; 32])),
    }
}

/// A record of traffic from a private address to `remote`, an address with a port.
fn record(context: &Arc<ProcessContext>, remote: &str, protocol: u16, counters: Counters) -> Record {
    let remote: SocketAddr = remote.parse().unwrap();
    Record {
        context: Arc::clone(context),
        tuple: FlowTuple {
            family: if remote.is_ipv6() { 10 } else { 2 },
            protocol,
            local_address: "192.168.1.23".parse().ok(),
            remote_address: Some(remote.ip().into()),
            local_port: 40_000,
            remote_port: remote.port().into(),
            ..FlowTuple::default()
        },
        geo: GeoInfo { country: "NL".into(), network_number: 64_496, network: "Example".into() },
        counters,
        opened: false,
        folded: 0,
    }
}

fn counters(connections: u64, sent: u64, received: u64) -> Counters {
    Counters { connections, sent, received }
}

/// Writes a log of a few days: a browser that was updated, a service, and programs with odd names.
fn fill(base: &Path) {
    let mut writer = Writer::open(&base.join("snitch.db")).unwrap();
    let context = |path: &str, digest, parent: &str, uid, cgroup: &str| {
        Arc::new(ProcessContext {
            program: program(path, digest),
            parent: program(parent, 0x99),
            grandparent: program("/usr/lib/systemd/systemd", 0x11),
            uid,
            network_namespace: 4_026_531_840,
            cgroup: CgroupInfo {
                path: cgroup.into(),
                unit: cgroup.rsplit('/').next().unwrap().into(),
                ..CgroupInfo::default()
            },
        })
    };
    let app = "/user.slice/user-1000.slice/user@1000.service/app.slice/app-firefox.scope";
    let old = context("/usr/lib/firefox/firefox", 0xab, "/usr/bin/gnome-shell", 1000, app);
    let new = context("/usr/lib/firefox/firefox", 0xcd, "/usr/bin/gnome-shell", 1000, app);
    let chrony =
        context("/usr/sbin/chronyd", 0x77, "/usr/lib/systemd/systemd", 113, "/system.slice/chrony.service");
    let odd = context("/tmp/\u{202e}gpj.exe\x1b]0;owned\x07", 0, "/bin/sh", 0, "");
    let wide = context("/home/ä/日本語のプログラム", 0x55, "/usr/bin/bash", 1000, "");
    let mut write = |time: i64, records: Vec<Record>, losses: Vec<Loss>| {
        writer.write(&Window { time, records, losses, ..Window::default() }).unwrap();
    };
    let first = NOW - 40 * 24 * HOUR;
    write(first, vec![record(&old, "203.0.113.9:443", 6, counters(1, 1_000, 9_000))], vec![]);
    for hour in 1..48 {
        let time = NOW - 48 * HOUR + hour * HOUR;
        let grown = hour as u64;
        let mut records = vec![
            record(
                if hour < 30 { &old } else { &new },
                "203.0.113.9:443",
                6,
                counters(2, 20_000 * grown, 4_000_000 * (1 + grown % 7)),
            ),
            record(&chrony, "192.0.2.123:123", 17, counters(1, 48, 48)),
        ];
        if hour == 44 {
            records.push(record(&odd, "[2001:db8::bad]:6667", 6, counters(1, 123_456, 0)));
            records.push(record(&wide, "198.51.100.7:22", 6, counters(1, 2_500_000, 75_000)));
        }
        let losses = match hour {
            40 => vec![Loss { kind: LossKind::ProcessEvents, count: 3 }],
            _ => vec![],
        };
        write(time, records, losses);
    }
    write(NOW - 5, vec![record(&chrony, "192.0.2.123:123", 17, counters(1, 48, 48))], vec![]);
    std::fs::write(
        base.join("record.json"),
        format!(
            r#"{{"SHA256": {{"/usr/lib/firefox/firefox": {{"{}": "clean: 0 of 70", "{}": "suspicious: 3 malicious, 1 suspicious of 70"}}}}}}"#,
            "ab".repeat(32),
            "cd".repeat(32)
        ),
    )
    .unwrap();
}

/// The log in a directory.
fn log_in(base: &Path) -> LogSource {
    LogSource::Log(base.join("snitch.db"))
}

/// A screen without a terminal, with a log in a temporary directory.
struct TestScreen {
    state: ViewState,
    queries: QueryThread,
    responses: Receiver<Event<Response>>,
    theme: Theme,
    size: (u16, u16),
    base: tempfile::TempDir,
}

impl TestScreen {
    fn new(size: (u16, u16), theme: Theme) -> Self {
        Self::with(size, theme, fill)
    }

    fn with(size: (u16, u16), theme: Theme, fill: impl FnOnce(&Path)) -> Self {
        let base = tempfile::tempdir().unwrap();
        fill(base.path());
        let (sender, responses) = sync_channel(64);
        let queries =
            QueryThread::start(log_in(base.path()), Some(base.path().join("record.json")), sender).unwrap();
        let labels =
            Labels::with_passwd("root:x:0:0::/root:/bin/sh\nanna:x:1000:1000::/:/bin/sh\n", theme.ascii);
        let state = ViewState::new(berlin(), NOW, labels);
        let mut screen = Self { state, queries, responses, theme, size, base };
        screen.run(Effect::Query);
        screen
    }

    /// Sends the queries of an effect and waits for their responses.
    fn run(&mut self, effect: Effect) {
        if matches!(effect, Effect::Query | Effect::QuerySoon) {
            let query = self.state.query(chart_columns(self.size.0));
            let number = self.state.queries.next_number();
            self.queries.request(number, Request::Screen(Box::new(query)));
            while self.state.queries.waiting {
                self.receive();
            }
        }
        if matches!(effect, Effect::Query | Effect::QuerySoon | Effect::QueryDetail)
            && self.state.queries.error.is_none()
        {
            self.state.detail.loaded = None;
            let Some(subject) = self.state.detail_subject() else { return };
            let query = self.state.query(chart_columns(self.size.0));
            self.queries.request(self.state.queries.number(), Request::Detail(Box::new(query), subject));
            while self.state.detail.loaded.is_none() && self.state.queries.error.is_none() {
                self.receive();
            }
        }
    }

    fn receive(&mut self) {
        match self.responses.recv_timeout(TIMEOUT).expect("no response") {
            Event::Message(response) => {
                self.state.receive(response);
            }
            other => panic!("{other:?}"),
        }
    }

    /// Types the characters; all queries of one are answered before the next.
    fn press(&mut self, keys: &str) -> Effect {
        let mut last = Effect::None;
        for key in keys.chars() {
            let code = match key {
                '\t' => crossterm::event::KeyCode::Tab,
                '\n' => crossterm::event::KeyCode::Enter,
                '\u{8}' => crossterm::event::KeyCode::Backspace,
                '\u{1b}' => crossterm::event::KeyCode::Esc,
                '↓' => crossterm::event::KeyCode::Down,
                '↑' => crossterm::event::KeyCode::Up,
                character => crossterm::event::KeyCode::Char(character),
            };
            last = on_key(&mut self.state, code.into());
            self.run(last);
        }
        last
    }

    fn tab(&mut self, tab: Tab) {
        let effect = self.state.go_to_tab(tab);
        self.run(effect);
    }

    fn draw(&mut self) -> (Buffer, HitAreas) {
        let mut buffer = Buffer::empty(Rect::new(0, 0, self.size.0, self.size.1));
        let areas = draw(Canvas::new(&mut buffer, self.theme), &mut self.state);
        (buffer, areas)
    }

    fn text(&mut self) -> String {
        let (buffer, _) = self.draw();
        text(&buffer)
    }

    /// The values of the rows as text.
    fn labels(&self) -> Vec<String> {
        let (dimension, list) = (self.state.dimension().unwrap(), &self.state.list);
        list.iter(0..list.len()).map(|row| self.state.label(dimension, &row.value)).collect()
    }
}
