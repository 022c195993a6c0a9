//! The part of `cargo xtask service` that runs in the guest, once for each boot.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::{life, other_tools, package_steps, restarts, steps::Steps};
use crate::traffic::{Exchange, Load, Log, Moved, Plan};

/// What the boots after the first one must know.
const STATE: &str = "/var/tmp/service.json";
/// Length of a window in the guest, seconds.
pub const WINDOW: u64 = 2;
/// The program that makes one exchange.
pub const TALKER: &str = "/usr/local/bin/talk";

/// Exit code when a step has failed without which nothing else can be tested.
pub const NO_FURTHER: u8 = 2;
/// Exit code when no step of this boot has the text of `--only` in its name, and the others passed.
pub const NONE_CHOSEN: u8 = 3;

/// Options of the hidden command.
#[derive(clap::Args)]
pub struct Options {
    /// Which boot this is
    boot: Boot,
    /// How many times the monitor is killed
    #[arg(long, default_value_t = 50)]
    kills: u32,
    /// Only the essential steps
    #[arg(long)]
    essential: bool,
    /// Also suspend the machine, which somebody must wake
    #[arg(long)]
    suspend: bool,
    /// Only steps whose name contains this
    #[arg(long, default_value = "")]
    only: String,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Boot {
    First,
    Again,
}

/// What the boots hand on.
#[derive(Default, Serialize, Deserialize)]
pub struct State {
    /// Traffic before the reboot, which the log must still have after it.
    pub moved: Vec<Moved>,
    /// Unix seconds before the reboot.
    pub time: i64,
    /// The first port that no load has used.
    pub port: u16,
}

/// The guest: its log, and the ports that are free.
pub struct Guest {
    pub log: Log,
    pub state: State,
}

impl Guest {
    /// Starts a load on ports of its own: streams and datagrams that stay open, short connections, programs.
    ///
    /// # Errors
    /// A port is in use.
    pub fn start_load(&mut self) -> anyhow::Result<Load> {
        Load::start(&Plan {
            port: self.ports(4),
            streams: 4,
            pause: Duration::from_millis(100),
            exchange: Exchange { request: 5000, reply: 15_000 },
            connections: 5.0,
            programs: 1.0,
            talkers: vec![PathBuf::from(TALKER)],
            peers: 20,
        })
    }

    /// The first of so many unused ports.
    pub fn ports(&mut self, number: u16) -> u16 {
        let first = self.state.port;
        self.state.port += number;
        first
    }

    /// Waits until the log has exactly what was moved.
    ///
    /// # Errors
    /// It has something else in the end.
    pub fn expect(&self, moved: &[Moved]) -> anyhow::Result<String> {
        self.log.wait_for(moved, Duration::from_secs(60), Duration::from_secs(WINDOW + 2))
    }

    /// Keeps the state for the next boot.
    ///
    /// # Errors
    /// The disk is full.
    pub fn save(&self) -> anyhow::Result<()> {
        fs::write(STATE, serde_json::to_string(&self.state)?).context("cannot keep the state")
    }
}

/// Now, in unix seconds.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() as i64)
}

/// Runs the steps of a boot.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let state = match fs::read_to_string(STATE) {
        Ok(text) => serde_json::from_str(&text).context("the state of the boot before")?,
        Err(_) => State { port: 20_000, ..State::default() },
    };
    let log = Log { picosnitch: Path::new("/usr/bin/picosnitch").to_owned(), base: None };
    let mut guest = Guest { log, state };
    let mut steps = Steps::new(&options.only);
    let can_go_on = match options.boot {
        Boot::First => first(&mut guest, &mut steps, options),
        Boot::Again => again(&mut guest, &mut steps, options),
    };
    guest.save()?;
    if !can_go_on {
        return Ok(ExitCode::from(NO_FURTHER));
    }
    Ok(match steps.passed() {
        true if !steps.has_run() => ExitCode::from(NONE_CHOSEN),
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// The steps of the first boot. Returns whether a further boot makes sense.
fn first(guest: &mut Guest, steps: &mut Steps, options: &Options) -> bool {
    if !steps.require("install", || package_steps::install(guest))
        || !steps.require("short windows", || package_steps::configure(guest))
    {
        return false;
    }
    steps.run("restart under load", || restarts::restart(guest));
    steps.run("reload under load", || life::reload(guest));
    steps.run("events for other tools", || other_tools::receivers(guest));
    if !options.essential {
        steps.run("watchdog", || restarts::watchdog(guest));
        steps.run("file system mounted later", || life::late_mount(guest));
        steps.run("security of the units", package_steps::security);
    }
    steps.run("kills of the monitor under load", || restarts::kills(guest, options.kills));
    steps.require("traffic before the reboot", || life::before_reboot(guest));
    true
}

/// The steps of the second boot.
fn again(guest: &mut Guest, steps: &mut Steps, options: &Options) -> bool {
    steps.require("after the reboot", || life::after_reboot(guest));
    steps.run("upgrade under load", || package_steps::upgrade(guest));
    if options.suspend {
        steps.run("suspend under load", || life::suspend(guest));
    }
    steps.run("remove", || package_steps::remove(guest));
    steps.run("purge", || package_steps::purge(guest));
    true
}
