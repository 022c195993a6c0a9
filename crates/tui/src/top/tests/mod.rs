//! Tests of `top` without a terminal and a daemon, on lines, clock and time zone that are always the same.

mod feed;
mod keys;
mod screens;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use jiff::tz::TimeZone;
use ratatui::{buffer::Buffer, layout::Rect};
use serde_json::{Value, json};

use super::{
    feed::apply_line,
    input::{on_key, on_mouse},
    live_state::LiveState,
    screen::{HitAreas, draw},
    state::{Effect, TopState},
};
use crate::term::{
    background::Background,
    canvas::Canvas,
    testing::{styled, text},
    theme::{Depth, Theme},
};

/// The present of all tests: 2026-03-01 14:20:05 in Berlin.
const NOW: f64 = 1_772_371_205.0;
const PLAIN: Theme = Theme { depth: Depth::None, background: Background::Dark, ascii: false };
const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (300, 90);

fn berlin() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

/// A screen without a terminal and a daemon.
struct TestScreen {
    live: LiveState,
    state: TopState,
    theme: Theme,
    size: (u16, u16),
    clock: Instant,
    ticks: u32,
}

impl TestScreen {
    /// Connected, but without any programs.
    fn empty(size: (u16, u16), theme: Theme) -> Self {
        let mut live = LiveState::new(theme.ascii);
        live.connected("picosnitch 1.2.3 (process 77) is recording since 2026-03-01 12:00:00".to_owned());
        Self { live, state: TopState::default(), theme, size, clock: Instant::now(), ticks: 0 }
    }

    /// A minute of a browser, a server, a helper of a mail program, and programs with odd names.
    fn new(size: (u16, u16), theme: Theme) -> Self {
        let mut screen = Self::empty(size, theme);
        let shell = "/usr/bin/gnome-shell";
        let systemd = "/usr/lib/systemd/systemd";
        screen.context(1, [systemd, shell, "/usr/lib/firefox/firefox"], "app-firefox.scope");
        screen.context(2, ["", systemd, "/usr/sbin/nginx"], "nginx.service");
        screen.context(3, [shell, "/usr/lib/thunderbird/thunderbird", "/usr/bin/gpg"], "");
        screen.context(4, [shell, "/usr/bin/sh", "/tmp/\u{202e}gpj.exe\x1b]0;owned\x07"], "");
        screen.context(5, [shell, "/usr/bin/sh", "/home/ä/日本語のプログラム"], "");
        screen.connection(10, 1, "203.0.113.9:443", json!({"sent": 1_000, "received": 5_000_000, "domain": "download.example.com", "domain_source": "dns"}));
        screen.connection(11, 1, "[2001:db8::7]:443", json!({"began": NOW - 90_000.0}));
        screen.connection(12, 2, "198.51.100.17:51234", json!({"opened": false, "local_port": 80}));
        screen.connection(13, 2, "198.51.100.18:51235", json!({"opened": false, "local_port": 80}));
        screen.connection(14, 3, "192.0.2.11:11371", json!({"began": NOW - 7_200.0}));
        screen.connection(
            15,
            4,
            "192.0.2.66:6667",
            json!({"began": Value::Null, "domain": "evil\u{202e}\u{1b}[31m.org"}),
        );
        screen.connection(16, 5, "192.0.2.80:53", json!({"protocol": 17}));
        for (id, port) in [(20, 80), (21, 443)] {
            screen.line(json!({"event": "listening", "id": id, "context": 2, "process": 900, "family": 2, "protocol": 6, "local_port": port}));
        }
        let mut received = 5_000_000_u64;
        let mut sent = 0_u64;
        for turn in 0..110_u64 {
            received += 900_000 + turn % 20 * 100_000;
            sent += 50_000 * (turn / 40);
            screen.line(json!({"event": "traffic", "connections": [
                [10, 1_000 + turn * 4_000, received], [12, sent, 300 * turn], [16, 60 * turn, 0],
            ]}));
            if turn == 60 {
                screen.line(json!({"event": "loss", "time": NOW as i64, "kind": "process_events", "count": 3, "text": "3 lost"}));
            }
            if turn == 100 {
                screen.line(json!({"event": "traffic", "ended": [13], "connections": [[13, 10, 2_000_000]]}));
            }
            screen.tick();
        }
        screen.refresh();
        screen
    }

    fn with_alerts(size: (u16, u16), theme: Theme) -> Self {
        let mut screen = Self::new(size, theme);
        for (tag, path, seconds) in [
            ("new name, exe", "/usr/bin/gpg", -70),
            ("new hash", "/usr/sbin/nginx", -20),
            ("clean", "/usr/sbin/nginx", -10),
        ] {
            screen.line(json!({"event": "alert", "time": NOW as i64 + seconds, "tag": tag, "rank": "program", "path": path, "name": "x", "sha256": null, "virustotal": ""}));
        }
        screen.line(json!({"event": "error", "time": NOW as i64 - 3, "text": "The log cannot be written: no space left on device."}));
        screen.refresh();
        screen
    }

    /// Reports a context: grandparent, parent, program, and its unit.
    fn context(&mut self, id: u32, chain: [&str; 3], unit: &str) {
        let program = |path: &str| json!({"path": path, "name": "n", "command_line": format!("{path} -x")});
        let [grandparent, parent, path] = chain;
        let mut line = program(path);
        line["event"] = "context".into();
        line["id"] = id.into();
        line["unit"] = unit.into();
        (line["parent"], line["grandparent"]) = (program(parent), program(grandparent));
        self.line(line);
    }

    /// Reports a connection to `remote`, an address with a port; `more` are further fields of the line.
    fn connection(&mut self, id: u64, context: u32, remote: &str, more: Value) {
        let remote: SocketAddr = remote.parse().unwrap();
        let mut line = json!({
            "event": "connection", "id": id, "context": context, "process": 4000 + context, "opened": true,
            "family": if remote.is_ipv6() { 10 } else { 2 }, "protocol": 6,
            "local_address": "192.168.1.23", "local_port": 40_000 + id, "remote_address": remote.ip(),
            "remote_port": remote.port(), "began": NOW - 125.0,
        });
        for (key, value) in more.as_object().unwrap() {
            line[key] = value.clone();
        }
        self.line(line);
    }

    fn line(&mut self, line: Value) {
        apply_line(line.to_string().as_bytes(), &mut self.live, self.clock);
    }

    /// Lets half a second pass.
    fn tick(&mut self) {
        self.ticks += 1;
        self.clock += Duration::from_millis(500);
        let time = NOW - 55.0 + f64::from(self.ticks) * 0.5;
        self.line(json!({"event": "tick", "time": time, "omitted": 0}));
    }

    fn refresh(&mut self) {
        self.state.refresh(&self.live);
    }

    /// Types the characters, one after the other.
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
            self.refresh();
        }
        last
    }

    fn draw(&mut self) -> (Buffer, HitAreas) {
        let mut buffer = Buffer::empty(Rect::new(0, 0, self.size.0, self.size.1));
        let canvas = Canvas::new(&mut buffer, self.theme);
        let areas = draw(canvas, &mut self.state, &self.live, &berlin());
        (buffer, areas)
    }

    fn text(&mut self) -> String {
        text(&self.draw().0)
    }

    /// The labels of the programs.
    fn labels(&self) -> Vec<&str> {
        self.state.programs.rows.iter().map(|row| row.label.as_str()).collect()
    }

    /// The peers of the selected program.
    fn peers(&self) -> Vec<&str> {
        self.state.connections.rows.ids.iter().map(|id| self.live.connections[id].peer.as_str()).collect()
    }
}
