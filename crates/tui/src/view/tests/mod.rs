//! Screens as they look on a fixed log, clock and zone; what keys do; what strangers cannot do.

mod keys;
mod screens;
mod trouble;

use std::{
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
    ask::{Answer, Asker, Request},
    draw::{Places, chart_columns, draw},
    key_todo,
    label::Labels,
    state::{State, Todo},
};
use crate::term::{
    events::Event,
    testing::{styled, text},
    theme::{Depth, Theme},
};
use model::{
    CgroupInfo, Counters, FlowTuple, GeoInfo, Loss, LossKind, ProcessContext, Program, Record, Sha256, Window,
};
use store::Writer;

/// 2026-03-01 14:20:05 in Berlin.
const NOW: i64 = 1_772_371_205;
const HOUR: i64 = 3600;
/// Longer than any answer takes here.
const PATIENCE: Duration = Duration::from_secs(30);

const PLAIN: Theme = Theme { depth: Depth::None, light: false, ascii: false };

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

fn record(
    context: &Arc<ProcessContext>,
    peer: (&str, model::Port, u16),
    counters: (u64, u64, u64),
) -> Record {
    Record {
        time: 0,
        context: Arc::clone(context),
        tuple: FlowTuple {
            family: if peer.0.contains(':') { 10 } else { 2 },
            protocol: peer.2,
            local_address: "192.168.1.23".parse().ok(),
            remote_address: peer.0.parse().ok(),
            local_port: 40_000,
            remote_port: peer.1,
            ..FlowTuple::default()
        },
        geo: GeoInfo { country: "NL".into(), network_number: 64_496, network: "Example".into() },
        counters: Counters { connections: counters.0, sent: counters.1, received: counters.2 },
    }
}

/// A log of a few days: a browser with two contents, a service, and programs with odd names.
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
        let records = records.into_iter().map(|record| Record { time, ..record }).collect();
        writer.write(&Window { time, records, losses }).unwrap();
    };
    let first = NOW - 40 * 24 * HOUR;
    write(first, vec![record(&old, ("203.0.113.9", 443, 6), (1, 1_000, 9_000))], vec![]);
    for hour in 1..48 {
        let time = NOW - 48 * HOUR + hour * HOUR;
        let grown = hour as u64;
        let mut records = vec![
            record(
                if hour < 30 { &old } else { &new },
                ("203.0.113.9", 443, 6),
                (2, 20_000 * grown, 4_000_000 * (1 + grown % 7)),
            ),
            record(&chrony, ("192.0.2.123", 123, 17), (1, 48, 48)),
        ];
        if hour == 44 {
            records.push(record(&odd, ("2001:db8::bad", 6667, 6), (1, 123_456, 0)));
            records.push(record(&wide, ("198.51.100.7", 22, 6), (1, 2_500_000, 75_000)));
        }
        let losses = match hour {
            40 => vec![Loss { kind: LossKind::ProcessEvents, count: 3 }],
            _ => vec![],
        };
        write(time, records, losses);
    }
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

/// A screen without a terminal.
struct Bench {
    state: State,
    asker: Asker,
    answers: Receiver<Event<Answer>>,
    theme: Theme,
    size: (u16, u16),
    _base: tempfile::TempDir,
}

impl Bench {
    fn new(size: (u16, u16), theme: Theme) -> Self {
        Self::with(size, theme, fill)
    }

    fn with(size: (u16, u16), theme: Theme, fill: impl FnOnce(&Path)) -> Self {
        let base = tempfile::tempdir().unwrap();
        fill(base.path());
        let (sender, answers) = sync_channel(64);
        let asker =
            Asker::start(&base.path().join("snitch.db"), &base.path().join("record.json"), sender).unwrap();
        let labels =
            Labels::with_passwd("root:x:0:0::/root:/bin/sh\nanna:x:1000:1000::/:/bin/sh\n", theme.ascii);
        let state = State::new(berlin(), NOW, labels);
        let mut bench = Self { state, asker, answers, theme, size, _base: base };
        bench.settle(Todo::Ask);
        bench
    }

    /// Does what a change asks for, until nothing more comes.
    fn settle(&mut self, todo: Todo) {
        if todo == Todo::Ask {
            let question = self.state.question(chart_columns(self.size.0));
            let number = self.state.next_number();
            self.asker.ask(number, Request::Screen(Box::new(question)));
            while self.state.waiting {
                self.receive();
            }
        }
        if matches!(todo, Todo::Ask | Todo::AskDetail) && self.state.error.is_none() {
            self.state.detail = None;
            let Some(subject) = self.state.subject() else { return };
            let question = self.state.question(chart_columns(self.size.0));
            self.asker.ask(self.state.number(), Request::Detail(Box::new(question), subject));
            while self.state.detail.is_none() && self.state.error.is_none() {
                self.receive();
            }
        }
    }

    fn receive(&mut self) {
        match self.answers.recv_timeout(PATIENCE).expect("no answer") {
            Event::Message(answer) => {
                self.state.take(answer);
            }
            other => panic!("{other:?}"),
        }
    }

    /// Types the characters, each answered before the next.
    fn press(&mut self, keys: &str) -> Todo {
        let mut last = Todo::Nothing;
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
            last = key_todo(&mut self.state, code.into());
            self.settle(last);
        }
        last
    }

    fn tab(&mut self, name: &str) {
        let tab = super::tabs::TABS.iter().position(|tab| tab.title == name).unwrap();
        let todo = self.state.go_to_tab(tab);
        self.settle(todo);
    }

    fn draw(&mut self) -> (Buffer, Places) {
        let area = Rect::new(0, 0, self.size.0, self.size.1);
        let mut buffer = Buffer::empty(area);
        let places = draw(&mut buffer, area, &mut self.state, self.theme);
        (buffer, places)
    }

    /// The screen as text, without the blanks at the ends of lines.
    fn screen(&mut self) -> String {
        let (buffer, _) = self.draw();
        text(&buffer)
    }

    /// The values of the rows.
    fn labels(&self) -> Vec<String> {
        let dimension = self.state.dimension();
        let rows = self.state.shown.iter().map(|index| &self.state.rows.rows[*index]);
        rows.map(|row| self.state.labels.text(dimension, &row.values[0], &self.state.zone)).collect()
    }
}
