//! A server as a user starts it.

use std::{
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    path::Path,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    http::{self, Response},
    logs::picosnitch,
};

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// A server that runs until it is dropped.
pub struct Dash {
    child: Child,
    pub port: u16,
    /// Empty without one.
    pub token: String,
}

impl Dash {
    /// Starts `picosnitch dash` on a log and waits until it has printed its address.
    pub fn start(base: &Path, arguments: &[&str]) -> Self {
        Self::try_start(base, arguments, free_port()).unwrap()
    }

    /// The same on a port, or what it says when it ends at once.
    pub fn try_start(base: &Path, arguments: &[&str], port: u16) -> Result<Self, String> {
        let mut command = picosnitch(base, "Europe/Berlin", "dash");
        command.arg("--no-browser").args(arguments).env("PICOSNITCH_PORT", port.to_string());
        for name in ["HOST", "PORT", "PICOSNITCH_HOST", "RUNTIME_DIRECTORY", "DISPLAY", "WAYLAND_DISPLAY"] {
            command.env_remove(name);
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        if url.is_empty() {
            let mut error = String::new();
            child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
            child.wait().unwrap();
            return Err(error);
        }
        let token = url.trim().split_once("#token=").map_or("", |(_, token)| token).to_owned();
        Ok(Self { child, port, token })
    }

    /// Asks with the token.
    pub fn get(&self, target: &str) -> Response {
        self.get_with(target, &[])
    }

    /// Asks with the token and further header lines.
    pub fn get_with(&self, target: &str, headers: &[(&str, &str)]) -> Response {
        let bearer = format!("Bearer {}", self.token);
        let mut all = vec![("Authorization", &*bearer)];
        all.extend(headers);
        http::send(self.port, "GET", target, &all, b"")
    }

    /// Asks with the token, and expects an answer.
    #[track_caller]
    pub fn json(&self, target: &str) -> Value {
        let response = self.get(target);
        assert_eq!(response.status, 200, "{target}: {}", response.text());
        response.json()
    }

    /// The health, once the records are counted.
    #[track_caller]
    pub fn counted_health(&self) -> Value {
        let begin = Instant::now();
        loop {
            let health = self.json("/api/v1/health");
            if !health["log"]["records"].is_null() {
                return health;
            }
            assert!(begin.elapsed() < Duration::from_secs(20), "{health}");
            thread::sleep(Duration::from_millis(100));
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Dash {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
