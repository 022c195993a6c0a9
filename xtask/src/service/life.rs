//! What ordinary machines do to a daemon: reloads, reboots, a suspend, file systems that come later.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use sha2::{Digest, Sha256};

use super::{
    guest::{Guest, TALKER, now},
    package_steps::write_configuration,
    unit::{self, UNIT, succeed, wait_until_recording},
};
use crate::traffic::{self, Kind, Moved};

/// How long the machine is suspended.
pub const ASLEEP: Duration = Duration::from_secs(20);
/// Difference of clocks that a suspend may leave, seconds: the clock that goes on has whole seconds.
const CLOCK_TOLERANCE: i64 = 3;

/// Changes the configuration and reloads the unit while traffic goes on: the change holds, and no flow is lost.
pub fn reload(guest: &mut Guest) -> anyhow::Result<String> {
    let ignored = guest.ports(1);
    let load = guest.start_load()?;
    thread::sleep(Duration::from_secs(5));
    let (pid, begin) = (unit::main_process()?, now());
    let outcome = (|| {
        write_configuration(&format!("ignore = [{ignored}]\n"))?;
        succeed("systemctl", &["reload", UNIT])?;
        wait_for_event(guest, "configuration", begin)
    })();
    let hidden = traffic::talk_once(Path::new(TALKER), ignored);
    thread::sleep(Duration::from_secs(3));
    let moved = load.stop()?;
    let told = outcome?;
    hidden?;
    let exact = guest.expect(&moved)?;
    ensure!(unit::main_process()? == pid, "the monitor is another one");
    let seen = guest.log.amounts(&format!("port={ignored}"))?;
    ensure!(seen == traffic::Amounts::default(), "what is ignored since then is in the log: {seen:?}");
    let gaps = guest.log.sentences("gap", begin)?;
    ensure!(gaps.is_empty(), "a gap was told: {gaps:?}");
    Ok(format!("told: {told:?}; {exact}"))
}

/// Waits for an event, and returns the sentences of its kind.
fn wait_for_event(guest: &Guest, kind: &str, since: i64) -> anyhow::Result<Vec<String>> {
    let begin = Instant::now();
    loop {
        let told = guest.log.sentences(kind, since)?;
        if !told.is_empty() {
            return Ok(told);
        }
        ensure!(begin.elapsed() < Duration::from_secs(60), "no event {kind} came");
        thread::sleep(Duration::from_secs(1));
    }
}

/// Mounts a file system and runs a program from it, twice with another content: both are recorded with their digests.
pub fn late_mount(guest: &mut Guest) -> anyhow::Result<String> {
    let place = "/mnt/late";
    fs::create_dir_all(place)?;
    succeed("mount", &["-t", "tmpfs", "-o", "mode=755", "late", place])?;
    let outcome = (|| {
        let program = Path::new(place).join("talk");
        let mut digests = Vec::new();
        for salt in [b"one", b"two"] {
            let mut content = fs::read(TALKER)?;
            content.extend(salt);
            // In place: the second content must be noticed by watching the file.
            fs::write(&program, &content)?;
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
            let port = guest.ports(1);
            let amounts = traffic::talk_once(&program, port)?;
            guest.expect(&[Moved { kind: Kind::Programs, port, amounts }])?;
            let digest = hex::encode(Sha256::digest(&content));
            wait_for_program(guest, port, (&program, &digest))?;
            digests.push(digest[..8].to_owned());
        }
        Ok(format!("{} with the digests {}", program.display(), digests.join(" and ")))
    })();
    succeed("umount", &["--lazy", place])?;
    outcome
}

/// Waits until the connection to a port is recorded as that of a program with a digest.
fn wait_for_program(guest: &Guest, port: u16, (path, digest): (&Path, &str)) -> anyhow::Result<()> {
    let begin = Instant::now();
    loop {
        let filter = format!("port={port}");
        let answer = guest.log.query(&[
            "--range",
            "all",
            "--group-by",
            "exe",
            "--group-by",
            "sha256",
            "--where",
            &filter,
        ])?;
        let row = &answer["rows"][0];
        if row["exe"] == path.to_string_lossy().as_ref() && row["sha256"] == digest {
            return Ok(());
        }
        if begin.elapsed() > Duration::from_secs(60) {
            bail!("expected {} {digest}, seen {}", path.display(), answer["rows"]);
        }
        thread::sleep(Duration::from_secs(2));
    }
}

/// Makes traffic that the log must have after the reboot.
pub fn before_reboot(guest: &mut Guest) -> anyhow::Result<String> {
    let load = guest.start_load()?;
    thread::sleep(Duration::from_secs(5));
    let moved = load.stop()?;
    let exact = guest.expect(&moved)?;
    guest.state.moved = moved;
    guest.state.time = now();
    Ok(exact)
}

/// The unit records again without a command, the old rows are there, and the time without recording is told.
pub fn after_reboot(guest: &mut Guest) -> anyhow::Result<String> {
    wait_until_recording(&guest.log, None)?;
    let uptime = fs::read_to_string("/proc/uptime")?;
    let uptime: f64 = uptime.split(' ').next().context("no uptime")?.parse()?;
    let booted = now() - uptime as i64;
    let old = guest.log.compare(&guest.state.moved)?;
    ensure!(old.is_none(), "the rows before the reboot: {}", old.unwrap_or_default());
    let gaps = guest.log.events("gap", guest.state.time)?;
    let [gap] = gaps.as_slice() else { bail!("expected one gap since the reboot, seen {gaps:?}") };
    let (begin, end) = (gap["begin"].as_i64().unwrap_or(0), gap["time"].as_i64().unwrap_or(0));
    ensure!(
        begin >= guest.state.time - 5 && begin <= booted && end >= booted && end <= now(),
        "the gap is from {begin} to {end}; the traffic ended at {}, the machine booted at {booted}",
        guest.state.time
    );
    let load = guest.start_load()?;
    thread::sleep(Duration::from_secs(5));
    let moved = load.stop()?;
    let exact = guest.expect(&moved)?;
    Ok(format!(
        "recording {uptime:.0} s after the boot or before, a gap of {} s told, old rows {exact}",
        end - begin
    ))
}

/// Suspends the machine to memory while traffic goes on; somebody wakes it. No false gap, loss or clock change is told.
pub fn suspend(guest: &mut Guest) -> anyhow::Result<String> {
    // 9p does not outlive a suspend.
    succeed("umount", &["--lazy", "/lib/modules"])?;
    let load = guest.start_load()?;
    thread::sleep(Duration::from_secs(5));
    let (pid, begin, clocks) = (unit::main_process()?, now(), Clocks::read());
    fs::write("/sys/power/state", "mem").context("the machine does not suspend")?;
    let passed = Clocks::read().since(&clocks);
    thread::sleep(Duration::from_secs(5));
    let moved = load.stop()?;
    ensure!(
        passed.asleep >= ASLEEP.as_secs() as i64 / 2,
        "the machine was not suspended: {} s asleep",
        passed.asleep
    );
    let exact = guest.expect(&moved)?;
    ensure!(unit::main_process()? == pid, "the monitor is another one");
    let mut told = Vec::new();
    for kind in ["gap", "loss", "clock", "error"] {
        told.push((kind, guest.log.sentences(kind, begin)?));
    }
    let seen =
        format!("{} s asleep, the wall clock went on by {} s; told: {told:?}", passed.asleep, passed.wall);
    let is_false = told.iter().any(|(_, sentences)| !sentences.is_empty());
    let is_set = (passed.wall - passed.boot).abs() > CLOCK_TOLERANCE;
    ensure!(!is_false && !is_set, "{seen}; {exact}");
    Ok(format!("{seen}, {exact}"))
}

/// Readings of clocks, seconds.
struct Clocks {
    wall: i64,
    /// Goes on while the machine is suspended.
    boot: i64,
    /// Does not.
    monotonic: i64,
}

/// What has passed between two readings.
struct Passed {
    wall: i64,
    boot: i64,
    asleep: i64,
}

impl Clocks {
    fn read() -> Self {
        let read = |clock| {
            let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: a valid pointer; these clocks always exist.
            unsafe { libc::clock_gettime(clock, &raw mut time) };
            time.tv_sec
        };
        Self {
            wall: read(libc::CLOCK_REALTIME),
            boot: read(libc::CLOCK_BOOTTIME),
            monotonic: read(libc::CLOCK_MONOTONIC),
        }
    }

    fn since(&self, earlier: &Self) -> Passed {
        let boot = self.boot - earlier.boot;
        Passed { wall: self.wall - earlier.wall, boot, asleep: boot - (self.monotonic - earlier.monotonic) }
    }
}
