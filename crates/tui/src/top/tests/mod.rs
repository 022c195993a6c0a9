//! Screens as they look after fixed lines, clock and zone; what keys do; what strangers cannot do.

mod keys;
mod lines;
mod screens;

use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use ratatui::{buffer::Buffer, layout::Rect};
use serde_json::{Value, json};

use super::{
    draw::draw,
    feed::take,
    model::Model,
    state::{Places, State, Todo},
};
use crate::term::{
    testing::{styled, text},
    theme::{Depth, Theme},
};

/// 2026-03-01 14:20:05 in Berlin.
const NOW: f64 = 1_772_371_205.0;
const PLAIN: Theme = Theme { depth: Depth::None, light: false, ascii: false };
const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (300, 90);

fn berlin() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

/// A screen without a terminal and a daemon.
struct Bench {
    model: Model,
    state: State,
    theme: Theme,
    size: (u16, u16),
    clock: Instant,
    ticks: u32,
}

impl Bench {
    /// Nothing was told.
    fn empty(size: (u16, u16), theme: Theme) -> Self {
        let mut model = Model::new(theme.ascii);
        model.connected("picosnitch 1.2.3 (process 77) is recording since 2026-03-01 12:00:00".to_owned());
        Self { model, state: State::default(), theme, size, clock: Instant::now(), ticks: 0 }
    }

    /// A browser, a server, a mail program's helper, and a stranger, for a minute.
    fn new(size: (u16, u16), theme: Theme) -> Self {
        let mut bench = Self::empty(size, theme);
        let shell = "/usr/bin/gnome-shell";
        let systemd = "/usr/lib/systemd/systemd";
        bench.context(1, "/usr/lib/firefox/firefox", shell, systemd, "app-firefox.scope");
        bench.context(2, "/usr/sbin/nginx", systemd, "", "nginx.service");
        bench.context(3, "/usr/bin/gpg", "/usr/lib/thunderbird/thunderbird", shell, "");
        bench.context(4, "/tmp/\u{202e}gpj.exe\x1b]0;owned\x07", "/usr/bin/sh", shell, "");
        bench.context(5, "/home/ä/日本語のプログラム", "/usr/bin/sh", shell, "");
        bench.connection(10, 1, "203.0.113.9", 443, json!({"sent": 1_000, "received": 5_000_000, "domain": "download.example.com", "domain_source": "dns"}));
        bench.connection(11, 1, "2001:db8::7", 443, json!({"began": NOW - 90_000.0}));
        bench.connection(12, 2, "198.51.100.17", 51_234, json!({"opened": false, "local_port": 80}));
        bench.connection(13, 2, "198.51.100.18", 51_235, json!({"opened": false, "local_port": 80}));
        bench.connection(14, 3, "192.0.2.11", 11_371, json!({"began": NOW - 7_200.0}));
        bench.connection(
            15,
            4,
            "192.0.2.66",
            6667,
            json!({"began": Value::Null, "domain": "evil\u{202e}\u{1b}[31m.org"}),
        );
        bench.connection(16, 5, "192.0.2.80", 53, json!({"protocol": 17}));
        for (id, port) in [(20, 80), (21, 443)] {
            bench.line(json!({"event": "listening", "id": id, "context": 2, "process": 900, "family": 2, "protocol": 6, "local_port": port}));
        }
        let mut received = 5_000_000_u64;
        let mut sent = 0_u64;
        for turn in 0..110_u64 {
            received += 900_000 + turn % 20 * 100_000;
            sent += 50_000 * (turn / 40);
            bench.line(json!({"event": "traffic", "connections": [
                [10, 1_000 + turn * 4_000, received], [12, sent, 300 * turn], [16, 60 * turn, 0],
            ]}));
            if turn == 60 {
                bench.line(json!({"event": "loss", "time": NOW as i64, "kind": "process_events", "count": 3, "text": "3 lost"}));
            }
            if turn == 100 {
                bench.line(json!({"event": "traffic", "ended": [13], "connections": [[13, 10, 2_000_000]]}));
            }
            bench.tick();
        }
        bench.refresh();
        bench
    }

    fn with_alerts(size: (u16, u16), theme: Theme) -> Self {
        let mut bench = Self::new(size, theme);
        for (tag, path, seconds) in [
            ("new name, exe", "/usr/bin/gpg", -70),
            ("new hash", "/usr/sbin/nginx", -20),
            ("clean", "/usr/sbin/nginx", -10),
        ] {
            bench.line(json!({"event": "alert", "time": NOW as i64 + seconds, "tag": tag, "rank": "program", "path": path, "name": "x", "sha256": null, "virustotal": ""}));
        }
        bench.line(json!({"event": "error", "time": NOW as i64 - 3, "text": "The log cannot be written: no space left on device."}));
        bench.refresh();
        bench
    }

    fn context(&mut self, id: u32, path: &str, parent: &str, grandparent: &str, unit: &str) {
        let program = |path: &str| json!({"path": path, "name": "n", "command_line": format!("{path} -x")});
        let mut line = program(path);
        line["event"] = "context".into();
        line["id"] = id.into();
        line["unit"] = unit.into();
        (line["parent"], line["grandparent"]) = (program(parent), program(grandparent));
        self.line(line);
    }

    fn connection(&mut self, id: u64, context: u32, remote: &str, port: u16, more: Value) {
        let mut line = json!({
            "event": "connection", "id": id, "context": context, "process": 4000 + context, "opened": true,
            "family": if remote.contains(':') { 10 } else { 2 }, "protocol": 6,
            "local_address": "192.168.1.23", "local_port": 40_000 + id, "remote_address": remote,
            "remote_port": port, "began": NOW - 125.0,
        });
        for (key, value) in more.as_object().unwrap() {
            line[key] = value.clone();
        }
        self.line(line);
    }

    fn line(&mut self, line: Value) {
        take(line.to_string().as_bytes(), &mut self.model, self.clock);
    }

    /// Half a second later.
    fn tick(&mut self) {
        self.ticks += 1;
        self.clock += Duration::from_millis(500);
        let time = NOW - 55.0 + f64::from(self.ticks) * 0.5;
        self.line(json!({"event": "tick", "time": time, "omitted": 0}));
    }

    fn refresh(&mut self) {
        self.state.refresh(&self.model);
    }

    /// Types the characters.
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
            last = self.state.key(code.into());
            self.refresh();
        }
        last
    }

    fn draw(&mut self) -> (Buffer, Places) {
        let area = Rect::new(0, 0, self.size.0, self.size.1);
        let mut buffer = Buffer::empty(area);
        let places = draw(&mut buffer, area, &mut self.state, &self.model, (self.theme, &berlin()));
        (buffer, places)
    }

    /// The screen as text, without the blanks at the ends of lines.
    fn screen(&mut self) -> String {
        text(&self.draw().0)
    }

    /// The programs.
    fn labels(&self) -> Vec<&str> {
        self.state.rows.iter().map(|row| row.label.as_str()).collect()
    }

    /// The peers of the selected one.
    fn peers(&self) -> Vec<&str> {
        self.state.of_it.ids.iter().map(|id| self.model.connections[id].peer.as_str()).collect()
    }
}
