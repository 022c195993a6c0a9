//! The private recorder: started on files of its own, stopped, and asked what it wrote, as a user would.

use std::{
    fs,
    io::{self, BufRead, BufReader},
    net::IpAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// The line by which the recorder says that it sees traffic.
const READY: &str = "picosnitch: recording";
/// The dimensions that one row is grouped by.
const DIMENSIONS: [&str; 15] = [
    "pexe", "gpexe", "exe", "sha256", "name", "cmdline", "uid", "family", "protocol", "address", "port",
    "laddress", "lport", "netns", "time",
];
const TICK: Duration = Duration::from_millis(20);

/// The recorder did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// It could not be started, or it could not be talked to.
    #[error("the recorder: {0}")]
    Io(#[from] io::Error),
    /// It ended before it recorded.
    #[error("the recorder ended before it recorded ({status}): {output}")]
    Ended { status: String, output: String },
    /// It took too long.
    #[error("the recorder {what} not within {seconds} s; it said: {output}")]
    Late { what: &'static str, seconds: u64, output: String },
    /// The user wants the selftest to end.
    #[error("interrupted")]
    Interrupted,
    /// It did not end with exit code 0 after SIGTERM.
    #[error("the recorder ended with {status} after SIGTERM: {output}")]
    BadEnd { status: String, output: String },
    /// `picosnitch query` failed.
    #[error("picosnitch query failed: {0}")]
    Query(String),
}

/// One row of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Path of the executable.
    pub exe: String,
    /// SHA-256 of the executable, hexadecimal.
    pub sha256: Option<String>,
    /// `comm` of the process.
    pub name: String,
    /// Its command line.
    pub command_line: String,
    /// Executables of its parent and grandparent.
    pub ancestors: [String; 2],
    /// Its real user id.
    pub uid: u32,
    /// Address family number.
    pub family: u16,
    /// IP protocol number.
    pub protocol: u16,
    /// The peer.
    pub remote_address: Option<IpAddr>,
    /// Port of the peer.
    pub remote_port: i32,
    /// Local address, where the recorder knew it.
    pub local_address: Option<IpAddr>,
    /// Local port.
    pub local_port: i32,
    /// Inode number of the network namespace.
    pub network_namespace: u64,
    /// The window, as text.
    pub time: String,
    /// Connections.
    pub connections: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
}

/// A running recorder; killed when dropped.
pub struct Recorder {
    child: Child,
    output: Arc<Mutex<Vec<String>>>,
    time_limit: Duration,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // SIGTERM first: the recorder has processes of its own to end.
            self.signal(libc::SIGTERM);
            let deadline = Instant::now() + Duration::from_secs(3);
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                thread::sleep(TICK);
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Recorder {
    /// Starts a recorder on `directory` and waits until it records.
    pub fn start(
        directory: &Path,
        time_limit: Duration,
        interrupted: &AtomicBool,
    ) -> Result<Self, RecorderError> {
        fs::write(directory.join("config.toml"), "[log]\nwrite_limit_seconds = 1\n")?;
        let mut command = picosnitch(directory);
        command
            .arg("start-no-daemon")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // A process group of its own: an interruption of the selftest ends it in order, not by surprise.
            .process_group(0);
        // SAFETY: between fork and exec only one system call is made, nothing is allocated or locked.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
                Ok(())
            });
        }
        let mut child = command.spawn()?;
        let output = Arc::new(Mutex::new(Vec::new()));
        if let Some(stderr) = child.stderr.take() {
            let output = Arc::clone(&output);
            thread::spawn(move || {
                for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                    let line = String::from_utf8_lossy(&line).into_owned();
                    output.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                }
            });
        }
        let mut recorder = Self { child, output, time_limit };
        let deadline = Instant::now() + time_limit;
        loop {
            if recorder.lines().iter().any(|line| line.contains(READY)) {
                return Ok(recorder);
            }
            if let Some(status) = recorder.child.try_wait()? {
                thread::sleep(TICK);
                return Err(RecorderError::Ended { status: status.to_string(), output: recorder.said() });
            }
            if interrupted.load(Ordering::Relaxed) {
                return Err(RecorderError::Interrupted);
            }
            if Instant::now() > deadline {
                let seconds = time_limit.as_secs();
                return Err(RecorderError::Late { what: "recorded", seconds, output: recorder.said() });
            }
            thread::sleep(TICK);
        }
    }

    /// Ends the recorder with SIGTERM; it must write what is in flight and exit with code 0.
    pub fn stop(mut self) -> Result<(), RecorderError> {
        self.signal(libc::SIGTERM);
        let deadline = Instant::now() + self.time_limit;
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    return Err(RecorderError::BadEnd { status: status.to_string(), output: self.said() });
                }
                None if Instant::now() > deadline => {
                    let seconds = self.time_limit.as_secs();
                    return Err(RecorderError::Late { what: "ended", seconds, output: self.said() });
                }
                None => thread::sleep(TICK),
            }
        }
    }

    /// What it said up to now.
    pub fn lines(&self) -> Vec<String> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn said(&self) -> String {
        let lines = self.lines();
        lines[lines.len().saturating_sub(10)..].join(" | ")
    }

    fn signal(&self, signal: i32) {
        // SAFETY: no pointers are passed; the child was not waited for, so that its number is still its own.
        unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
    }
}

/// Reads the whole log of `directory` through `picosnitch query`.
pub fn read_log(directory: &Path) -> Result<Vec<Row>, RecorderError> {
    let mut command = picosnitch(directory);
    command.args(["query", "--range", "all", "--json", "--limit", "1000000"]);
    for dimension in DIMENSIONS {
        command.args(["--group-by", dimension]);
    }
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(RecorderError::Query(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let rows: Vec<serde_json::Value> =
        serde_json::from_slice(&output.stdout).map_err(|error| RecorderError::Query(error.to_string()))?;
    rows.iter()
        .map(|row| row_of(row).ok_or_else(|| RecorderError::Query(format!("unexpected row {row}"))))
        .collect()
}

/// Whether the recorder reported that a packet ring cannot be counted.
pub fn ring_was_reported(directory: &Path) -> bool {
    fs::read(directory.join("error.log"))
        .is_ok_and(|log| String::from_utf8_lossy(&log).lines().any(|line| line.contains("ring")))
}

fn picosnitch(directory: &Path) -> Command {
    let mut command = Command::new(PathBuf::from("/proc/self/exe"));
    command.arg("--base-dir").arg(directory).env_remove("PICOSNITCH_BASE_DIR").current_dir("/");
    command
}

fn row_of(row: &serde_json::Value) -> Option<Row> {
    let text = |key: &str| match row.get(key)? {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Null => Some(String::new()),
        value => Some(value.to_string()),
    };
    let address = |key: &str| Some(text(key)?.parse::<IpAddr>().ok());
    let amount = |key: &str| row.get(key)?.as_u64();
    Some(Row {
        exe: text("exe")?,
        sha256: text("sha256").filter(|digest| !digest.is_empty()),
        name: text("name")?,
        command_line: text("cmdline")?,
        ancestors: [text("pexe")?, text("gpexe")?],
        uid: text("uid")?.parse().ok()?,
        family: family_number(&text("family")?)?,
        protocol: protocol_number(&text("protocol")?)?,
        remote_address: address("address")?,
        remote_port: text("port")?.parse().ok()?,
        local_address: address("laddress")?,
        local_port: text("lport")?.parse().ok()?,
        network_namespace: text("netns")?.parse().ok()?,
        time: text("time")?,
        connections: amount("conns")?,
        sent: amount("sent")?,
        received: amount("received")?,
    })
}

fn family_number(text: &str) -> Option<u16> {
    match text {
        "ipv4" => Some(libc::AF_INET as u16),
        "ipv6" => Some(libc::AF_INET6 as u16),
        "packet" => Some(libc::AF_PACKET as u16),
        "" => Some(0),
        _ => text.parse().ok(),
    }
}

fn protocol_number(text: &str) -> Option<u16> {
    match text {
        "tcp" => Some(libc::IPPROTO_TCP as u16),
        "udp" => Some(libc::IPPROTO_UDP as u16),
        "udplite" => Some(libc::IPPROTO_UDPLITE as u16),
        "icmp" => Some(libc::IPPROTO_ICMP as u16),
        "ipv6-icmp" => Some(libc::IPPROTO_ICMPV6 as u16),
        "sctp" => Some(libc::IPPROTO_SCTP as u16),
        "mptcp" => Some(libc::IPPROTO_MPTCP as u16),
        "raw" => Some(libc::IPPROTO_RAW as u16),
        "" => Some(0),
        _ => text.parse().ok(),
    }
}
