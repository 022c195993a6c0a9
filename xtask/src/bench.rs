//! `cargo xtask bench`: what picosnitch costs, measured on this machine: each load with and without it in turns.

use std::{
    fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::{Value, json};

mod executions;
pub mod growth;
mod live;
pub mod recorder;

use recorder::Recorder;
use store::Reader;

use crate::{median::median, vm};

/// Options of the command.
#[derive(clap::Args)]
pub struct Options {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// The binary to measure; without it, the release build
    #[arg(long)]
    picosnitch: Option<PathBuf>,
    /// Turns of each load, with and without
    #[arg(long, default_value_t = 9)]
    turns: usize,
    /// Length of one turn, milliseconds
    #[arg(long, default_value_t = 700)]
    milliseconds: u64,
    /// Only the loads, with and without
    #[arg(long)]
    loads_only: bool,
    /// Only loads whose name contains this
    #[arg(long, default_value = "", value_name = "TEXT")]
    only: String,
    /// Also keep up 10,000 short TCP connections a second for this many seconds, and count what was lost
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    storm: u64,
    /// Also show 5,000 connections in `top` for this many seconds (tmux is needed), and tell what that takes
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    top: u64,
    /// Also start 500 programs a second for this many seconds, and tell what that cost and what was lost
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    executions: u64,
    /// Also let a user try to fill the log in three ways, each for this many seconds after what is written at once (3 minutes),
    /// and tell how fast the log grows
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    growth: u64,
}

/// A load: how much was done in the time.
type Load = fn(Duration) -> io::Result<f64>;

/// Name, unit, least allowed ratio of with to without, and the load itself.
const LOADS: &[(&str, &str, f64, Load)] = &[
    // First: what others leave to be drained and written takes time from a load that waits for other processes.
    ("programs started one after the other", "1/s", 0.90, executions::as_fast_as_possible),
    ("TCP throughput on loopback", "MB/s", 0.98, tcp_throughput),
    ("UDP sends of 64 bytes, connected", "1/CPU s", 0.93, udp_connected),
    ("UDP sends of 64 bytes, unconnected", "1/CPU s", 0.93, udp_unconnected),
    ("TCP connect, accept and close", "1/CPU s", 0.90, connections),
];

/// Measures everything and prints it.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent directory")?;
    let picosnitch = match &options.picosnitch {
        Some(binary) => binary.clone(),
        None => vm::release_binary(root)?,
    };
    let turn = Duration::from_millis(options.milliseconds);
    let mut results = Vec::new();
    let loads: Vec<_> = LOADS.iter().filter(|(name, ..)| name.contains(&options.only)).collect();
    let mut ratios: Vec<Vec<f64>> = vec![Vec::new(); loads.len()];
    let mut figures: Vec<[Vec<f64>; 2]> = vec![Default::default(); loads.len()];
    for number in 0..options.turns {
        // Each side comes first in every other turn: a machine that gets slower with time affects both.
        let mut sides = [Vec::new(), Vec::new()];
        for side in if number % 2 == 0 { [0, 1] } else { [1, 0] } {
            let recorder = if side == 1 { Some(Recorder::start(&picosnitch)?) } else { None };
            for (_, _, _, load) in &loads {
                sides[side].push(load(turn)?);
            }
            if let Some(recorder) = recorder {
                recorder.stop()?;
            }
        }
        for at in 0..loads.len() {
            ratios[at].push(sides[1][at] / sides[0][at]);
            figures[at][0].push(sides[0][at]);
            figures[at][1].push(sides[1][at]);
        }
    }
    for (at, (name, unit, least, _)) in loads.iter().enumerate() {
        // Medians of each side: a machine's hiccup spoils single turns.
        let (without, with) = (median(&figures[at][0]), median(&figures[at][1]));
        let ratio = with / without;
        results.push(json!({
            "name": name, "unit": unit, "without": without, "with": with, "ratio": ratio,
            "median_of_ratios": median(&ratios[at]), "limit": least, "within": ratio >= *least,
        }));
    }
    if !options.loads_only {
        results.extend(standing_costs(&picosnitch)?);
    }
    if options.growth > 0 {
        results.extend(growth::measure(&picosnitch, options.growth)?);
    }
    if options.storm > 0 {
        results.push(storm(&picosnitch, options.storm)?);
    }
    if options.top > 0 {
        results.extend(live::top(&picosnitch, options.top)?);
    }
    if options.executions > 0 {
        results.push(executions::steady(&picosnitch, options.executions)?);
    }
    if options.json {
        println!("{:#}", Value::Array(results));
        return Ok(ExitCode::SUCCESS);
    }
    println!("{:<52} {:>12} {:>12} {:>8}  within", "figure", "without", "with", "limit");
    for result in &results {
        let number = |key: &str| result[key].as_f64().map_or(String::new(), |value| format!("{value:.3}"));
        println!(
            "{:<52} {:>12} {:>12} {:>8}  {}",
            format!(
                "{} ({})",
                result["name"].as_str().unwrap_or_default(),
                result["unit"].as_str().unwrap_or_default()
            ),
            number("without"),
            number("with"),
            number("limit"),
            match result["within"].as_bool() {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "",
            },
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The calling thread's time on the CPU: what other programs do meanwhile does not count. Loopback's receiving side runs
/// in the sender's thread.
struct CpuTime(Duration);

impl CpuTime {
    fn read() -> Duration {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: a valid pointer; this clock always exists.
        unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }

    fn now() -> Self {
        Self(Self::read())
    }

    fn elapsed(&self) -> Duration {
        Self::read() - self.0
    }
}

fn tcp_throughput(time: Duration) -> io::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut sender = TcpStream::connect(listener.local_addr()?)?;
    let (mut receiver, _) = listener.accept()?;
    let reader = thread::spawn(move || -> io::Result<u64> {
        let mut buffer = vec![0; 256 * 1024];
        let mut all = 0;
        loop {
            match receiver.read(&mut buffer)? {
                0 => return Ok(all),
                bytes => all += bytes as u64,
            }
        }
    });
    let buffer = vec![7; 128 * 1024];
    let begin = Instant::now();
    while begin.elapsed() < time {
        sender.write_all(&buffer)?;
    }
    drop(sender);
    let bytes = reader.join().map_err(|_| io::Error::other("the reader died"))??;
    Ok(bytes as f64 / 1e6 / begin.elapsed().as_secs_f64())
}

fn udp_sends(time: Duration, mut send: impl FnMut() -> io::Result<usize>) -> io::Result<f64> {
    let begin = CpuTime::now();
    let mut sent = 0_u64;
    while begin.elapsed() < time {
        for _ in 0..256 {
            send()?;
        }
        sent += 256;
    }
    Ok(sent as f64 / begin.elapsed().as_secs_f64())
}

fn udp_connected(time: Duration) -> io::Result<f64> {
    let sink = UdpSocket::bind("127.0.0.1:0")?;
    let sender = UdpSocket::bind("127.0.0.1:0")?;
    sender.connect(sink.local_addr()?)?;
    udp_sends(time, || sender.send(&[7; 64]))
}

fn udp_unconnected(time: Duration) -> io::Result<f64> {
    let sink = UdpSocket::bind("127.0.0.1:0")?;
    let sender = UdpSocket::bind("127.0.0.1:0")?;
    let to = sink.local_addr()?;
    udp_sends(time, || sender.send_to(&[7; 64], to))
}

fn connections(time: Duration) -> io::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let to = listener.local_addr()?;
    let begin = CpuTime::now();
    let mut made = 0_u64;
    while begin.elapsed() < time {
        for _ in 0..32 {
            connect_once(&listener, to)?;
        }
        made += 32;
    }
    Ok(made as f64 / begin.elapsed().as_secs_f64())
}

/// The accepting side closes first, with a reset: no port stays in TIME_WAIT.
fn connect_once(listener: &TcpListener, to: std::net::SocketAddr) -> io::Result<()> {
    let client = TcpStream::connect(to)?;
    let (server, _) = listener.accept()?;
    reset_on_close(&server)?;
    drop(server);
    drop(client);
    Ok(())
}

fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the option's value is a valid `struct linger` of the length given.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Measures the cost of picosnitch without traffic, its speed, and the cost of its hooks.
fn standing_costs(binary: &Path) -> anyhow::Result<Vec<Value>> {
    let mut results = Vec::new();
    let limit = |name: &str, unit: &str, value: f64, most: f64| json!({"name": name, "unit": unit, "with": value, "limit": most, "within": value <= most});
    let recorder = Recorder::start(binary)?;
    results.push(limit("start to recording", "s", recorder.started, 0.5));
    thread::sleep(Duration::from_secs(12));
    let before = recorder.cpu_seconds()?;
    let begin = Instant::now();
    thread::sleep(Duration::from_secs(20));
    let used = (recorder.cpu_seconds()? - before) / begin.elapsed().as_secs_f64() * 100.0;
    results.push(limit("idle CPU", "% of a core", used, 0.1));
    results.push(limit("PSS of all processes, idle", "MB", recorder.pss_kilobytes()? / 1024.0, 12.0));
    results.push(limit(
        "traffic to row, window of 10 s",
        "s",
        traffic_to_row(binary, &recorder.directory)?,
        11.0,
    ));
    results.extend(hook_costs()?);
    results.push(json!({
        "name": "PSS of all processes after the loads", "unit": "MB", "with": recorder.pss_kilobytes()? / 1024.0,
    }));
    recorder.stop()?;
    Ok(results)
}

fn traffic_to_row(binary: &Path, directory: &Path) -> anyhow::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let begin = Instant::now();
    drop(TcpStream::connect(("127.0.0.1", port))?);
    while begin.elapsed() < Duration::from_secs(30) {
        let output = Command::new(binary)
            .args(["query", "--range", "1h", "--json", "--group-by", "port", "--where"])
            .arg(format!("port={port}"))
            .arg("--base-dir")
            .arg(directory)
            .output()?;
        if serde_json::from_slice::<Value>(&output.stdout)?["rows"]
            .as_array()
            .is_some_and(|rows| !rows.is_empty())
        {
            return Ok(begin.elapsed().as_secs_f64());
        }
        thread::sleep(Duration::from_millis(50));
    }
    bail!("the connection did not appear in the log within 30 s");
}

/// Nanoseconds of each hook's call, from the kernel's own statistics, under the loads above.
fn hook_costs() -> anyhow::Result<Vec<Value>> {
    const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";
    fs::write(SWITCH, "1").with_context(|| format!("cannot switch on {SWITCH}"))?;
    let loaded = (|| {
        for (_, _, _, load) in LOADS {
            load(Duration::from_millis(500))?;
        }
        Command::new("bpftool").args(["prog", "list", "--json"]).output()
    })();
    fs::write(SWITCH, "0")?;
    let output = loaded.context("bpftool is needed (Debian package bpftool)")?;
    let programs: Value = serde_json::from_slice(&output.stdout)?;
    let mut results = Vec::new();
    for program in programs.as_array().into_iter().flatten() {
        let (name, runs) = (program["name"].as_str().unwrap_or_default(), program["run_cnt"].as_f64());
        if let (Some(runs), Some(time)) = (runs, program["run_time_ns"].as_f64())
            && runs >= 100.0
        {
            results.push(json!({
                "name": format!("hook {name}"), "unit": "ns a call", "with": time / runs, "calls": runs,
            }));
        }
    }
    Ok(results)
}

/// 10,000 connections a second: what was recorded, what was lost, and what it took.
fn storm(binary: &Path, seconds: u64) -> anyhow::Result<Value> {
    const A_SECOND: u64 = 10_000;
    let recorder = Recorder::start(binary)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let to = listener.local_addr()?;
    let begin = Instant::now();
    let mut most = recorder.pss_kilobytes()?;
    for slice in 0..seconds * 100 {
        for _ in 0..A_SECOND / 100 {
            connect_once(&listener, to)?;
        }
        let next = Duration::from_millis((slice + 1) * 10);
        thread::sleep(next.saturating_sub(begin.elapsed()));
        if slice % 50 == 0 {
            most = most.max(recorder.pss_kilobytes()?);
        }
    }
    let took = begin.elapsed().as_secs_f64();
    let made = seconds * A_SECOND;
    let directory = recorder.stop()?;
    let counted = |filter: String| -> anyhow::Result<u64> {
        let output = Command::new(binary)
            .args([
                "query",
                "--range",
                "1h",
                "--json",
                "--group-by",
                "protocol",
                "--where",
                &filter,
                "--base-dir",
            ])
            .arg(&directory)
            .output()?;
        let rows: Value = serde_json::from_slice(&output.stdout)?;
        Ok(rows.as_array().into_iter().flatten().filter_map(|row| row["conns"].as_u64()).sum())
    };
    let connected = counted(format!("port={}", to.port()))?;
    let accepted = counted(format!("lport={}", to.port()))?;
    let log = fs::read_to_string(directory.join("error.log")).unwrap_or_default();
    let lost: Vec<&str> = log.lines().collect();
    let records = Reader::open(&directory.join("snitch.db"))?.record_count()?;
    Ok(json!({
        "name": format!("storm: {made} connections in {took:.1} s"), "unit": "MB of PSS at most", "with": most / 1024.0,
        "limit": 40, "made": made, "connects_recorded": connected, "accepts_recorded": accepted, "records": records,
        "error_log": lost,
        "within": connected == made && accepted == made && most / 1024.0 <= 40.0 && records <= 2000 && lost.is_empty(),
    }))
}
