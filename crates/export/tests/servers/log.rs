//! A log whose content is known, and what a server has of it.

use std::{fs, path::PathBuf, sync::Arc};

use model::{
    Address, Counters, DomainSource, Event, EventKind, FlowTuple, GeoInfo, ProcessContext, Program, Record,
    Sha256, Window,
};
use store::{WindowReader, Writer};
use tempfile::TempDir;

use super::server_process::ServerProcess;

/// A log, in a directory of its own.
pub struct Log {
    _directory: TempDir,
    pub path: PathBuf,
    pub time: i64,
}

impl Log {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("snitch.db");
        drop(Writer::open(&path).unwrap());
        Self { _directory: directory, path, time: 1_700_000_000 }
    }

    /// A copy of the log as another machine or an administrator makes one.
    pub fn copy(&self) -> Self {
        Writer::open(&self.path).unwrap().checkpoint().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("snitch.db");
        fs::copy(&self.path, &path).unwrap();
        Self { _directory: directory, path, time: self.time }
    }

    /// Puts another log at the place of this one.
    pub fn replace_by(&self, other: &Self) {
        for suffix in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{suffix}", self.path.display()));
        }
        fs::copy(&other.path, &self.path).unwrap();
    }

    pub fn write(&mut self, windows: i64) {
        self.write_every(windows, 10);
    }

    /// Writes windows that are so many seconds apart.
    pub fn write_every(&mut self, windows: i64, seconds: i64) {
        let mut writer = Writer::open(&self.path).unwrap();
        for _ in 0..windows {
            self.time += seconds;
            writer.write(&window(self.time, 1 + self.time as u64 / 10 % 7)).unwrap();
        }
    }

    pub fn copied(&self) -> Copied {
        let reader = WindowReader::open(&self.path).unwrap();
        let mut copied = Copied::default();
        let mut last = 0;
        loop {
            let windows = reader.after(last, 1000).unwrap();
            let Some(end) = windows.last() else { return copied };
            last = end.mark.number;
            for window in windows {
                copied.windows += 1;
                copied.records += window.records.len() as i64;
                copied.events += window.events.len() as i64;
                for record in &window.records {
                    copied.sent += record.record.counters.sent as i64;
                    copied.received += record.record.counters.received as i64;
                }
            }
        }
    }
}

/// Counts and sums of a log or of its copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    pub windows: i64,
    pub records: i64,
    pub events: i64,
    pub sent: i64,
    pub received: i64,
}

impl std::ops::Add for Copied {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            windows: self.windows + other.windows,
            records: self.records + other.records,
            events: self.events + other.events,
            sent: self.sent + other.sent,
            received: self.received + other.received,
        }
    }
}

/// All that a server has in a database.
pub fn on_server(server: &ServerProcess, database: &str) -> Copied {
    let [windows, records, events, sent, received] = server.amounts(database);
    Copied { windows, records, events, sent, received }
}

pub fn window(time: i64, records: u64) -> Window {
    let records = (0..records).map(|number| {
        let program = Program {
            path: format!("/usr/bin/program-{}", number % 3).into_bytes(),
            name: b"program".to_vec(),
            command_line: format!("program\0{time}").into_bytes(),
            sha256: Some(Sha256([number as u8; 32])),
        };
        let tuple = FlowTuple {
            family: 2,
            protocol: 6,
            local_address: Some([192, 0, 2, 1].into_address()),
            remote_address: Some([198, 51, 100, number as u8].into_address()),
            local_port: 50_000,
            remote_port: 443,
            domain: b"example.org".to_vec(),
            domain_source: DomainSource::Tls,
        };
        Record {
            context: Arc::new(ProcessContext { program, uid: 1000, ..ProcessContext::default() }),
            geo: GeoInfo { country: "NL".into(), network_number: 64496, network: "Example".into() },
            tuple,
            counters: Counters { connections: 1, sent: time as u64 % 1000 + number, received: number },
            opened: true,
            folded: 0,
        }
    });
    Window {
        time,
        uptime: time - 1_600_000_000,
        records: records.collect(),
        events: vec![Event::new(EventKind::Alert, time, format!("An alert at {time}."))],
        ..Window::default()
    }
}

/// A window with at least 40 records as on a busy machine: few programs, and one peer in four is new. Those of `host` are its own.
pub fn busy_window(time: i64, host: u8, records: u64) -> Window {
    let mut busy = window(time, 40);
    let base = busy.records.clone();
    for number in 40..records {
        let mut record = base[number as usize % 40].clone();
        record.tuple.local_port = 20_000 + number as i64;
        let [high, low] = [(time / 10 % 250) as u8, (number % 250) as u8];
        record.tuple.remote_address = Some([10, high, host, low].into_address());
        busy.records.push(record);
    }
    busy
}

pub trait IntoAddress {
    fn into_address(self) -> Address;
}

impl IntoAddress for [u8; 4] {
    fn into_address(self) -> Address {
        std::net::IpAddr::from(self).into()
    }
}
