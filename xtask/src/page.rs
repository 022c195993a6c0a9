//! `cargo xtask page`: measures how fast `picosnitch dash` answers, one client and many at once, also while records are written.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use model::{Counters, FlowTuple, GeoInfo, ProcessContext, Program, Record, Window, text::time::now};
use store::Writer;

/// Questions for each of these ranges: those of the pages.
const RANGES: [&str; 5] = ["1h", "1d", "7d", "30d", "1y"];
const QUESTIONS: [&str; 9] = [
    "query?limit=10&group_by=exe",
    "query?limit=10&group_by=domain",
    "query?limit=10&group_by=country",
    "query?limit=10&group_by=uid",
    "query?limit=10&group_by=port",
    "query?limit=10&group_by=exe&compare=previous",
    "series?group_by=exe&parts=98",
    "series?parts=98&compare=previous",
    "events?limit=50",
];
/// Questions without a range.
const OTHERS: [&str; 3] = ["seen?limit=50", "health", "search?q=host-1"];
/// How often a window is written.
const WINDOW: Duration = Duration::from_secs(1);
/// Records of a window.
const RECORDS: u16 = 200;

/// What is promised: how long 95 of 100 answers take at most, and the memory of the server (PSS).
const ALONE: Duration = Duration::from_millis(100);
const TOGETHER: Duration = Duration::from_secs(2);
const MAX_MEMORY_KB: u64 = 30_000;

/// Options of `cargo xtask page`.
#[derive(clap::Args)]
#[command(
    after_help = "It asks the questions of the pages, for five ranges: one client after the other, then many at once, and prints \
    the median, the time within which 95 % are answered, the slowest question, and the memory of the server. It fails if one \
    client waits more than 100 ms or many more than 2 s (95 %), if the server takes more than 30 MB (PSS), or, with --write, if a \
    window takes more than a second to write."
)]
pub struct Options {
    /// The directory with the log (snitch.db), as for `picosnitch --base-dir`
    directory: PathBuf,
    /// The program that is measured
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/picosnitch"))]
    binary: PathBuf,
    /// Clients at the same time
    #[arg(long, default_value_t = 100)]
    clients: usize,
    /// Write a window each second meanwhile. It changes the log: use a copy
    #[arg(long)]
    write: bool,
}

/// Prints the times and the memory, and fails if they are above those that are promised.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let server = Server::start(options, port)?;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = options.write.then(|| {
        let (path, stop) = (options.directory.join("snitch.db"), Arc::clone(&stop));
        thread::spawn(move || write(&path, &stop))
    });
    let questions: Vec<String> = RANGES
        .iter()
        .flat_map(|range| QUESTIONS.map(|question| format!("{question}&range={range}")))
        .chain(OTHERS.map(str::to_owned))
        .collect();
    // Answers are kept for a second.
    let mut alone = Times::default();
    for _ in 0..5 {
        for question in &questions {
            alone.add(ask(port, question)?);
        }
        thread::sleep(Duration::from_millis(1100));
    }
    alone.sort();
    alone.print("one client");
    let mut together = Times::default();
    for turn in 0..5 {
        let clients = (0..options.clients).map(|client| {
            let question = questions[(client * 7 + turn) % questions.len()].clone();
            thread::spawn(move || ask(port, &question))
        });
        for client in clients.collect::<Vec<_>>() {
            together.add(client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??);
        }
        thread::sleep(Duration::from_millis(1100));
    }
    together.sort();
    together.print(&format!("{} clients at once", options.clients));
    let memory = server.memory()?;
    println!("memory of dash: {memory} kB (PSS)");
    stop.store(true, Ordering::Relaxed);
    let mut is_late = false;
    if let Some(writer) = writer {
        let (windows, longest) = writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
        println!(
            "{windows} windows of {RECORDS} records were written; the longest took {} ms",
            longest.as_millis()
        );
        is_late = longest > WINDOW;
    }
    let is_slow = alone.percentile(95) > ALONE || together.percentile(95) > TOGETHER;
    let is_large = memory > MAX_MEMORY_KB;
    Ok(if is_slow || is_large || is_late { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The server that is measured.
struct Server(Child);

impl Server {
    fn start(options: &Options, port: u16) -> anyhow::Result<Self> {
        let mut child = Command::new(&options.binary)
            .arg("--base-dir")
            .arg(&options.directory)
            .args(["dash", "--no-auth", "--no-browser"])
            .env("PICOSNITCH_PORT", port.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", options.binary.display()))?;
        let output = child.stdout.take().context("the server has no output")?;
        let server = Self(child);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(line.starts_with("http://"), "the server does not start");
        Ok(server)
    }

    /// Kilobytes of memory, those that are shared in parts (proc_pid_smaps_rollup).
    fn memory(&self) -> anyhow::Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.0.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks a question with a connection of its own.
fn ask(port: u16, question: &str) -> anyhow::Result<(Duration, String)> {
    let begin = Instant::now();
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    write!(stream, "GET /api/v1/{question} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let time = begin.elapsed();
    let head = String::from_utf8_lossy(&answer[..answer.len().min(64)]).into_owned();
    ensure!(head.starts_with("HTTP/1.1 200 "), "{question}: {head}");
    Ok((time, question.to_owned()))
}

/// How long answers took, the shortest first once they are sorted.
#[derive(Default)]
struct Times(Vec<(Duration, String)>);

impl Times {
    fn add(&mut self, time: (Duration, String)) {
        self.0.push(time);
    }

    fn sort(&mut self) {
        self.0.sort_unstable();
    }

    fn percentile(&self, percent: usize) -> Duration {
        let at = (self.0.len() * percent / 100).min(self.0.len().saturating_sub(1));
        self.0.get(at).map(|(time, _)| *time).unwrap_or_default()
    }

    fn print(&self, name: &str) {
        let [half, most] = [50, 95].map(|percent| self.percentile(percent).as_millis());
        let (longest, question) = self.0.last().cloned().unwrap_or_default();
        println!("{name}: {} answers, median {half} ms, 95 % within {most} ms", self.0.len());
        println!("  the longest {} ms: {question}", longest.as_millis());
    }
}

/// Writes windows of the present until it is stopped. Returns how many, and how long the slowest took.
fn write(path: &Path, stop: &AtomicBool) -> anyhow::Result<(u64, Duration)> {
    let mut writer = Writer::open(path)?;
    let (mut windows, mut longest) = (0, Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let records = (0..RECORDS).map(|number| record(windows, number)).collect();
        let begin = Instant::now();
        writer.write(&Window { time: now(), records, ..Window::default() })?;
        let time = begin.elapsed();
        longest = longest.max(time);
        windows += 1;
        thread::sleep(WINDOW.saturating_sub(time));
    }
    Ok((windows, longest))
}

/// A record whose program and peer other windows have, too.
fn record(window: u64, number: u16) -> Record {
    let program = Program {
        path: format!("/usr/bin/writer-{}", number % 20).into_bytes(),
        name: b"writer".to_vec(),
        ..Program::default()
    };
    let tuple = FlowTuple {
        family: 2,
        protocol: 6,
        remote_address: format!("198.51.100.{}", number % 200).parse().ok(),
        remote_port: 443.into(),
        domain: format!("host-{}.example", window % 50 + u64::from(number)).into_bytes(),
        ..FlowTuple::default()
    };
    Record {
        context: Arc::new(ProcessContext { program, ..ProcessContext::default() }),
        tuple,
        geo: GeoInfo::default(),
        counters: Counters { connections: 1, sent: 100, received: 1000 },
        opened: true,
        folded: 0,
    }
}
