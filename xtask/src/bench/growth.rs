//! Measures how fast the log grows by the traffic of one user who tries to fill it.

use std::{
    fs, io,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use store::Reader;

use super::recorder::Recorder;

/// The user whose programs make the load: none of this machine.
const UID: u32 = 54_321;
/// Short windows, so that what a user may write at once is soon used up.
const CONFIGURATION: &str = "[log]\nwrite_limit_seconds = 2\n";
/// Seconds in which a load uses that up.
const BURST: u64 = 150;
/// Seconds after the load in which memory is given back.
const AFTER: u64 = 60;
/// Bytes by which the log may grow in an hour.
const LIMIT: f64 = 10_000_000.0;
/// Bytes of a long command line.
const LONG_ARGUMENT: usize = 4000;

/// A load that a user makes.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Load {
    /// 9,000 new UDP peers a second
    Peers,
    /// 100 programs a second, each with another command line of 4 kB and one datagram
    Arguments,
    /// 200 HTTP requests a second, each to another host
    Hosts,
    /// One datagram: the program of `arguments`
    Once,
}

/// Options of the hidden command that makes a load.
#[derive(clap::Args)]
pub struct Options {
    load: Load,
    seconds: u64,
    /// Ignored
    #[arg(allow_hyphen_values = true)]
    argument: Option<String>,
}

/// Makes a load.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let time = Duration::from_secs(options.seconds);
    match options.load {
        Load::Peers => new_peers(time)?,
        Load::Arguments => long_arguments(time)?,
        Load::Hosts => http_hosts(time)?,
        Load::Once => send_once(Ipv4Addr::LOCALHOST, &UdpSocket::bind("127.0.0.1:0")?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Calls `act` with ascending numbers, so many times a second.
fn at_a_rate(time: Duration, a_second: u64, mut act: impl FnMut(u64) -> io::Result<()>) -> io::Result<()> {
    let begin = Instant::now();
    let mut number = 0;
    while begin.elapsed() < time {
        for _ in 0..(a_second / 100).max(1) {
            act(number)?;
            number += 1;
        }
        let due = Duration::from_micros(number * 1_000_000 / a_second);
        thread::sleep(due.saturating_sub(begin.elapsed()));
    }
    Ok(())
}

/// Nobody listens there; the error of the datagram before is not that of this one.
fn send_once(to: Ipv4Addr, socket: &UdpSocket) -> io::Result<()> {
    match socket.send_to(b"x", (to, 9)) {
        Err(error) if error.kind() != io::ErrorKind::ConnectionRefused => Err(error),
        _ => Ok(()),
    }
}

fn new_peers(time: Duration) -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    at_a_rate(time, 9000, |number| {
        send_once(Ipv4Addr::from(0x7f00_0001_u32.wrapping_add(number as u32 % 0x00ff_0000)), &socket)
    })
}

fn long_arguments(time: Duration) -> io::Result<()> {
    let program = std::env::current_exe()?;
    at_a_rate(time, 100, |number| {
        let argument = format!("{number:0>LONG_ARGUMENT$}");
        Command::new(&program).args(["load", "once", "0", &argument]).stdin(Stdio::null()).status().map(drop)
    })
}

fn http_hosts(time: Duration) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let to = listener.local_addr()?;
    at_a_rate(time, 200, |number| {
        let mut client = TcpStream::connect(to)?;
        let (mut server, _) = listener.accept()?;
        let host = format!("{number}.{}.example", "long-label".repeat(5));
        client.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())?;
        server.read(&mut [0; 1024]).map(drop)
    })
}

/// Measures each load for `seconds`, after what a user may write at once.
pub fn measure(binary: &Path, seconds: u64) -> anyhow::Result<Vec<Value>> {
    [
        ("9,000 new UDP peers a second", "peers"),
        ("100 command lines of 4 kB a second", "arguments"),
        ("200 HTTP hosts a second", "hosts"),
    ]
    .into_iter()
    .map(|(name, load)| measure_load(binary, name, load, seconds))
    .collect()
}

fn measure_load(binary: &Path, name: &str, load: &str, seconds: u64) -> anyhow::Result<Value> {
    let recorder = Recorder::start_with(binary, CONFIGURATION)?;
    let database = recorder.directory.join("snitch.db");
    let mut child = Command::new(std::env::current_exe()?)
        .args(["load", load, &(BURST + seconds + 15).to_string()])
        .uid(UID)
        .stdin(Stdio::null())
        .spawn()?;
    thread::sleep(Duration::from_secs(BURST));
    let before = Reader::open(&database)?.used_bytes()?;
    let begin = Instant::now();
    let mut most = recorder.pss_kilobytes()?;
    while begin.elapsed() < Duration::from_secs(seconds) {
        thread::sleep(Duration::from_secs(1));
        most = most.max(recorder.pss_kilobytes()?);
    }
    let grown = Reader::open(&database)?.used_bytes()? - before;
    let an_hour = grown as f64 / begin.elapsed().as_secs_f64() * 3600.0;
    child.wait()?;
    thread::sleep(Duration::from_secs(AFTER));
    let after = recorder.pss_kilobytes()? / 1024.0;
    let directory = recorder.stop()?;
    let log = fs::read_to_string(directory.join("error.log")).unwrap_or_default();
    fs::remove_dir_all(&directory)?;
    let told: Vec<&str> = log.lines().collect();
    Ok(json!({
        "name": format!("growth: {name}"), "unit": "MB of log an hour, after the first", "with": an_hour / 1e6,
        "limit": LIMIT / 1e6, "most_pss_mb": most / 1024.0, "pss_mb_a_minute_later": after, "error_log": told,
        "first_mb": before as f64 / 1e6, "within": an_hour <= LIMIT && after <= 24.0,
    }))
}
