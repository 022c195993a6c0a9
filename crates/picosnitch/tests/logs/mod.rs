//! Logs made through the library, and `picosnitch` on them as a user runs it.

use std::{ffi::OsStr, path::Path, process::Command, sync::Arc};

use calendar::TimeZone;
use model::{
    CgroupInfo, Counters, FlowTuple, GeoInfo, ProcessContext, Program, Record, Sha256, Window,
    text::time::now,
};
use serde_json::Value;
use store::Writer;

/// A user that no machine has.
pub const UID: u32 = 1_000_000_007;

/// Traffic of a program, as short as a test can say it.
#[derive(Clone, Copy)]
pub struct Traffic<'a> {
    pub exe: &'a [u8],
    pub command_line: &'a [u8],
    /// Every byte of the digest; 0 for none.
    pub digest: u8,
    pub uid: u32,
    pub unit: &'a str,
    pub container: &'a str,
    pub app: &'a str,
    /// Empty for none.
    pub address: &'a str,
    pub port: u16,
    pub domain: &'a str,
    pub country: &'a str,
    pub sent: u64,
    pub received: u64,
}

/// One byte that a program sent.
pub const TRAFFIC: Traffic<'_> = Traffic {
    exe: b"/usr/bin/curl",
    command_line: b"curl",
    digest: 0xab,
    uid: UID,
    unit: "",
    container: "",
    app: "",
    address: "198.51.100.1",
    port: 443,
    domain: "",
    country: "",
    sent: 1,
    received: 0,
};

impl Traffic<'_> {
    pub fn record(self) -> Record {
        let name = self.exe.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let program = Program {
            path: self.exe.into(),
            name: name.into(),
            command_line: self.command_line.into(),
            sha256: (self.digest != 0).then_some(Sha256([self.digest; 32])),
        };
        let cgroup = CgroupInfo {
            unit: self.unit.into(),
            container: self.container.into(),
            app: self.app.into(),
            ..CgroupInfo::default()
        };
        let context = ProcessContext { program, uid: self.uid, cgroup, ..ProcessContext::default() };
        let tuple = FlowTuple {
            family: if self.address.contains(':') { 10 } else { 2 },
            protocol: 6,
            remote_address: (!self.address.is_empty()).then(|| self.address.parse().unwrap()),
            remote_port: self.port.into(),
            domain: self.domain.into(),
            ..FlowTuple::default()
        };
        Record {
            context: Arc::new(context),
            tuple,
            geo: GeoInfo { country: self.country.into(), ..GeoInfo::default() },
            counters: Counters { connections: 1, sent: self.sent, received: self.received },
            opened: false,
            folded: 0,
        }
    }
}

/// The end of a command.
#[derive(Debug)]
pub struct Answer {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Runs a command in a time zone.
pub fn run(base: &Path, zone: &str, command: &str, arguments: &[impl AsRef<OsStr>]) -> Answer {
    let output = picosnitch(base, zone, command).args(arguments).output().unwrap();
    Answer {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A command in a time zone.
pub fn picosnitch(base: &Path, zone: &str, command: &str) -> Command {
    let mut picosnitch = Command::new(env!("CARGO_BIN_EXE_picosnitch"));
    picosnitch.arg("--base-dir").arg(base).arg(command);
    picosnitch.env_remove("PICOSNITCH_BASE_DIR").env("TZ", zone).env("LC_ALL", "C.UTF-8");
    picosnitch
}

/// A log, and the time zone of its reader.
pub struct Log {
    place: tempfile::TempDir,
    zone: String,
}

impl Log {
    /// A log with this traffic; times are unix seconds, or texts as of [`at`].
    pub fn new(zone: &str, traffic: &[(i64, Traffic<'_>)]) -> Self {
        let log = Self { place: tempfile::tempdir().unwrap(), zone: zone.to_owned() };
        let mut traffic = traffic.to_vec();
        traffic.sort_by_key(|(time, _)| *time);
        log.write(traffic.chunk_by(|a, b| a.0 == b.0).map(|window| Window {
            time: window[0].0,
            records: window.iter().map(|(_, traffic)| traffic.record()).collect(),
            ..Window::default()
        }));
        log
    }

    /// Adds windows.
    pub fn write(&self, windows: impl IntoIterator<Item = Window>) {
        let mut writer = Writer::open(&self.path().join("snitch.db")).unwrap();
        for window in windows {
            writer.write(&window).unwrap();
        }
    }

    pub fn path(&self) -> &Path {
        self.place.path()
    }

    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// The answer to a query.
    pub fn ask(&self, arguments: &[impl AsRef<OsStr>]) -> Answer {
        run(self.path(), &self.zone, "query", arguments)
    }

    /// What a query prints on standard output; it must not fail.
    pub fn text(&self, arguments: &[impl AsRef<OsStr>]) -> String {
        let answer = self.ask(arguments);
        assert_eq!(answer.code, Some(0), "{}", answer.err);
        answer.out
    }

    /// The JSON of a query.
    pub fn json(&self, arguments: &[impl AsRef<OsStr>]) -> Value {
        let arguments: Vec<&OsStr> =
            arguments.iter().map(AsRef::as_ref).chain([OsStr::new("--json")]).collect();
        serde_json::from_str(&self.text(&arguments)).unwrap()
    }

    /// The values of a field in the rows of a query.
    pub fn values(&self, field: &str, arguments: &[impl AsRef<OsStr>]) -> Vec<Value> {
        let mut answer = self.json(arguments);
        let rows = if answer.is_array() { answer } else { answer["rows"].take() };
        rows.as_array().unwrap().iter().map(|row| row[field].clone()).collect()
    }

    /// The texts of a field in the rows of a query.
    pub fn texts(&self, field: &str, arguments: &[impl AsRef<OsStr>]) -> Vec<String> {
        let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        self.values(field, arguments).into_iter().map(text).collect()
    }

    /// The sums of a column in the rows of a query.
    pub fn sums(&self, field: &str, arguments: &[impl AsRef<OsStr>]) -> Vec<u64> {
        self.values(field, arguments).iter().map(|value| value.as_u64().unwrap()).collect()
    }

    /// Asserts that a query fails with this text and prints nothing else, nor any control character.
    #[track_caller]
    pub fn refuse(&self, arguments: &[impl AsRef<OsStr>], expected: &str) {
        let Answer { code, out, err } = self.ask(arguments);
        assert!(matches!(code, Some(1 | 2)) && out.is_empty(), "{code:?} {out} {err}");
        assert!(err.contains(expected), "expected {expected:?} in {err}");
        assert!(!err.chars().any(|character| character.is_control() && character != '\n'), "{err:?}");
    }

    /// Asserts that a query answers nothing and says why.
    #[track_caller]
    pub fn nothing(&self, arguments: &[impl AsRef<OsStr>], expected: &str) {
        let answer = self.ask(arguments);
        assert_eq!(answer.code, Some(0), "{}", answer.err);
        assert!(answer.err.contains(expected), "expected {expected:?} in {}", answer.err);
        let json = self.json(arguments);
        assert_eq!((json["row_count"].as_u64(), json["rows"].as_array().unwrap().len()), (Some(0), 0));
        assert!(json["notes"].to_string().contains(&expected.replace('"', "\\\"")), "{json}");
    }
}

/// A point of time, for example `2026-10-25T00:30:00Z`.
pub fn at(text: &str) -> i64 {
    calendar::parse_part(text, 0, &TimeZone::UTC).unwrap().start
}

/// A time zone in which it is noon now, so that no midnight passes during a test.
pub fn zone_of_noon() -> String {
    let hour = now().div_euclid(3600).rem_euclid(24);
    // POSIX counts offsets to the west.
    format!("<NOON>{}", hour - 12)
}

/// The same zone for the library.
pub fn time_zone(name: &str) -> TimeZone {
    if name.starts_with('<') { TimeZone::posix(name) } else { TimeZone::get(name) }.unwrap()
}
