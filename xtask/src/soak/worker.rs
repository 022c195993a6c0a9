//! Processes that make the traffic.

use std::{
    fs,
    io::{self, Read},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};

use super::DESKTOP;
use crate::traffic::{self, Exchange, Load, Moved};

/// One worker for so many times a desktop's traffic: few enough groups in a window that none of it is folded.
const RATE_OF_WORKER: f64 = 2.5;
/// The first of the users that the workers run as: none of this machine.
const FIRST_UID: u32 = 54_400;
const FIRST_PORT: u16 = 20_000;
/// Ports of one worker.
const PORTS: u16 = 4;
/// Programs with paths of their own, as a desktop has.
const TALKERS: usize = 20;
/// Addresses of servers.
const PEERS: u32 = 20;
/// Time between two exchanges of a stream.
const PAUSE: Duration = Duration::from_secs(1);

/// Options of the hidden command that is a worker.
#[derive(clap::Args)]
pub struct Options {
    /// The first of four ports
    port: u16,
    /// How many times a desktop's traffic
    rate: f64,
    /// Directory of the programs
    talkers: PathBuf,
}

/// Makes traffic until standard input ends, and prints what was moved.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    // The one who started it ends it: Ctrl-C reaches all processes of a terminal.
    for signal in [libc::SIGINT, libc::SIGHUP] {
        // SAFETY: ignoring a signal runs no code.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    let streams = (DESKTOP.open * options.rate).round() as usize;
    let bytes = DESKTOP.bytes * options.rate * PAUSE.as_secs_f64() / streams.max(1) as f64;
    let mut talkers: Vec<_> = fs::read_dir(&options.talkers)?.flatten().map(|entry| entry.path()).collect();
    talkers.sort();
    let load = Load::start(&traffic::Plan {
        port: options.port,
        streams,
        pause: PAUSE,
        // Four fifths are received.
        exchange: Exchange { request: (bytes / 5.0) as usize, reply: (bytes * 4.0 / 5.0) as usize },
        connections: DESKTOP.connections * options.rate,
        programs: DESKTOP.programs * options.rate,
        talkers,
        peers: PEERS,
    })?;
    let _ = io::stdin().read(&mut [0]);
    println!("{}", serde_json::to_string(&load.stop()?)?);
    Ok(ExitCode::SUCCESS)
}

/// How a worker is started.
pub struct Plan {
    program: PathBuf,
    talkers: PathBuf,
    port: u16,
    rate: f64,
    uid: u32,
}

/// Puts the programs into a directory that all users may read, and plans the workers.
pub fn prepare(project: &Path, place: &Path, rate: u16) -> anyhow::Result<Vec<Plan>> {
    use std::os::unix::fs::PermissionsExt;

    fs::set_permissions(place, fs::Permissions::from_mode(0o755))?;
    let talkers = place.join("programs");
    fs::create_dir(&talkers)?;
    let (compiled, program) = (place.join("talk"), place.join("worker"));
    traffic::compile_talker(project, &compiled)?;
    for number in 0..TALKERS {
        // Contents of their own: each has another digest.
        let mut content = fs::read(&compiled)?;
        content.extend(number.to_le_bytes());
        let path = talkers.join(format!("program-{number}"));
        fs::write(&path, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    fs::copy(std::env::current_exe()?, &program).context("cannot copy the program of the workers")?;
    let number = (f64::from(rate) / RATE_OF_WORKER).ceil() as u16;
    let plan = |at: u16| Plan {
        program: program.clone(),
        talkers: talkers.clone(),
        port: FIRST_PORT + at * PORTS,
        rate: f64::from(rate) / f64::from(number),
        uid: FIRST_UID + u32::from(at),
    };
    Ok((0..number).map(plan).collect())
}

/// A running worker. Dropping it ends it.
pub struct Worker(Child);

impl Worker {
    /// Starts one.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(plan: &Plan) -> anyhow::Result<Self> {
        let mut command = Command::new(&plan.program);
        command.arg("soak-worker").arg(plan.port.to_string()).arg(plan.rate.to_string()).arg(&plan.talkers);
        command.uid(plan.uid).gid(plan.uid).current_dir("/");
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        child.map(Self).context("cannot start a worker")
    }

    /// Fails if it has ended by itself.
    ///
    /// # Errors
    /// As said.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.0.try_wait()? {
            Some(status) => bail!("a worker has ended: {status}"),
            None => Ok(()),
        }
    }

    /// Ends it in order, and returns what it has moved.
    ///
    /// # Errors
    /// It has failed.
    pub fn stop(mut self) -> anyhow::Result<Vec<Moved>> {
        drop(self.0.stdin.take());
        let mut text = String::new();
        self.0.stdout.take().context("no output")?.read_to_string(&mut text)?;
        self.0.wait()?;
        serde_json::from_str(&text).context("a worker has failed")
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
