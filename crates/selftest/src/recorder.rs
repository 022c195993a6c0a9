//! The recorder under test: a picosnitch with files of its own, which is started, stopped and queried as a user would do it.

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

/// The line that the recorder prints when it sees traffic.
const READY: &str = "picosnitch: recording";
/// The dimensions by which the rows are grouped.
const DIMENSIONS: [&str; 15] = [
    "pexe", "gpexe", "exe", "sha256", "name", "cmdline", "uid", "family", "protocol", "address", "port",
    "laddress", "lport", "netns", "time",
];
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// A failure of the recorder.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// The recorder could not be started or signalled.
    #[error("the recorder: {0}")]
    Io(#[from] io::Error),
    /// The recorder ended before it recorded.
    #[error("the recorder ended before it recorded ({status}): {output}")]
    Ended { status: String, output: String },
    /// The recorder took too long.
    #[error("the recorder has not {what} within {seconds} s; its output: {output}")]
    Late { what: &'static str, seconds: u64, output: String },
    /// The user has interrupted the selftest.
    #[error("interrupted")]
    Interrupted,
    /// The recorder did not end with exit code 0 after SIGTERM.
    #[error("the recorder ended with {status} after SIGTERM: {output}")]
    BadEnd { status: String, output: String },
    /// The log could not be read with `picosnitch query`.
    #[error("picosnitch query failed: {0}")]
    Query(String),
}

/// One row of the log. Numbers of families and protocols are those of the kernel.
#[derive(Clone, Debug)]
pub(crate) struct LogRow {
    pub(crate) exe: String,
    /// SHA-256 of the executable, hexadecimal; `None` if the recorder has none.
    pub(crate) sha256: Option<String>,
    /// The name (`comm`) of the process.
    pub(crate) name: String,
    pub(crate) command_line: String,
    /// Executables of parent and grandparent.
    pub(crate) ancestors: [String; 2],
    pub(crate) uid: u32,
    pub(crate) family: u16,
    pub(crate) protocol: u16,
    pub(crate) remote_address: Option<IpAddr>,
    pub(crate) remote_port: i32,
    /// `None` if the recorder did not know it.
    pub(crate) local_address: Option<IpAddr>,
    /// 0 if the recorder did not know it.
    pub(crate) local_port: i32,
    /// Inode number of the network namespace.
    pub(crate) network_namespace: u64,
    /// End of the window, as the query prints it.
    pub(crate) time: String,
    pub(crate) connections: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// A running recorder, which is killed when this is dropped.
pub(crate) struct Recorder {
    child: Child,
    output: Arc<Mutex<Vec<String>>>,
    time_limit: Duration,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // SIGTERM first, so that the recorder can end its own processes.
            self.signal(libc::SIGTERM);
            let deadline = Instant::now() + Duration::from_secs(3);
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                thread::sleep(CHECK_INTERVAL);
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Recorder {
    /// Starts a recorder on `directory` and waits until it records.
    pub(crate) fn start(
        directory: &Path,
        time_limit: Duration,
        interrupted: &AtomicBool,
    ) -> Result<Self, RecorderError> {
        fs::write(configuration(directory), "[log]\nwrite_limit_seconds = 1\nfold_above = 65536\n")?;
        let mut command = picosnitch(directory);
        command
            .arg("start-no-daemon")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // In a process group of its own it does not get the signal that interrupts the selftest, and is stopped in order.
            .process_group(0);
        // SAFETY: between fork and exec only one system call is made; nothing is allocated or locked.
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
                thread::sleep(CHECK_INTERVAL);
                return Err(RecorderError::Ended {
                    status: status.to_string(),
                    output: recorder.last_output(),
                });
            }
            if interrupted.load(Ordering::Relaxed) {
                return Err(RecorderError::Interrupted);
            }
            if Instant::now() > deadline {
                let seconds = time_limit.as_secs();
                return Err(RecorderError::Late {
                    what: "recorded",
                    seconds,
                    output: recorder.last_output(),
                });
            }
            thread::sleep(CHECK_INTERVAL);
        }
    }

    /// Ends the recorder with SIGTERM. It must write its open window and exit with code 0.
    pub(crate) fn stop(mut self) -> Result<(), RecorderError> {
        self.signal(libc::SIGTERM);
        let deadline = Instant::now() + self.time_limit;
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    return Err(RecorderError::BadEnd {
                        status: status.to_string(),
                        output: self.last_output(),
                    });
                }
                None if Instant::now() > deadline => {
                    let seconds = self.time_limit.as_secs();
                    return Err(RecorderError::Late { what: "ended", seconds, output: self.last_output() });
                }
                None => thread::sleep(CHECK_INTERVAL),
            }
        }
    }

    /// Returns the lines that it has printed.
    fn lines(&self) -> Vec<String> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn last_output(&self) -> String {
        let lines = self.lines();
        lines[lines.len().saturating_sub(10)..].join(" | ")
    }

    fn signal(&self, signal: i32) {
        // SAFETY: no pointers are passed; the child has not been waited for, so that its process id is not used again.
        unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
    }
}

/// Reads the whole log in `directory` with `picosnitch query`.
pub(crate) fn read_log(directory: &Path) -> Result<Vec<LogRow>, RecorderError> {
    let mut command = picosnitch(directory);
    command.args(["query", "--range", "all", "--json", "--limit", "1000000"]);
    for dimension in DIMENSIONS {
        command.args(["--group-by", dimension]);
    }
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(RecorderError::Query(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let answer: serde_json::Value =
        serde_json::from_slice(&output.stdout).map_err(|error| RecorderError::Query(error.to_string()))?;
    let rows = answer["rows"].as_array();
    rows.into_iter()
        .flatten()
        .map(|row| parse_row(row).ok_or_else(|| RecorderError::Query(format!("unexpected row {row}"))))
        .collect()
}

/// Whether the recorder reported in error.log that a packet ring cannot be counted.
pub(crate) fn is_ring_reported(directory: &Path) -> bool {
    fs::read(log_directory(directory).join("error.log"))
        .is_ok_and(|log| String::from_utf8_lossy(&log).lines().any(|line| line.contains("ring")))
}

fn configuration(directory: &Path) -> PathBuf {
    directory.join("config.toml")
}

/// The directory of the log, which the recorder makes, so that it gets the owner and the mode that it needs.
fn log_directory(directory: &Path) -> PathBuf {
    directory.join("log")
}

fn picosnitch(directory: &Path) -> Command {
    let mut command = Command::new(PathBuf::from("/proc/self/exe"));
    command
        .arg("--base-dir")
        .arg(log_directory(directory))
        .arg("--config")
        .arg(configuration(directory))
        .env_remove("PICOSNITCH_BASE_DIR")
        .current_dir("/");
    command
}

/// The port of a folded record, which no scenario expects.
const PORT_MANY: i32 = -2;

fn parse_row(row: &serde_json::Value) -> Option<LogRow> {
    let text = |key: &str| match row.get(key)? {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Null => Some(String::new()),
        value => Some(value.to_string()),
    };
    let address = |key: &str| Some(text(key)?.parse::<IpAddr>().ok());
    let counter = |key: &str| row.get(key)?.as_u64();
    // Folded traffic of other programs of the machine: that of the selftest is not folded.
    let port = |key: &str| match text(key)?.as_str() {
        "many" => Some(PORT_MANY),
        number => number.parse().ok(),
    };
    Some(LogRow {
        exe: text("exe")?,
        sha256: text("sha256").filter(|digest| !digest.is_empty()),
        name: text("name")?,
        command_line: text("cmdline")?,
        ancestors: [text("pexe")?, text("gpexe")?],
        uid: text("uid")?.parse().ok()?,
        family: family_number(&text("family")?)?,
        protocol: protocol_number(&text("protocol")?)?,
        remote_address: address("address")?,
        remote_port: port("port")?,
        local_address: address("laddress")?,
        local_port: port("lport")?,
        network_namespace: text("netns")?.parse().ok()?,
        time: text("time")?,
        connections: counter("conns")?,
        sent: counter("sent")?,
        received: counter("received")?,
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
