//! Restarts of every kind under load: what stays open meanwhile must be recorded to the byte, and none of them is a gap.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};

use super::{
    guest::{Guest, now},
    unit::{self, UNIT, property, succeed, wait_until_recording},
};

/// Asks systemd for a restart.
pub fn restart(guest: &mut Guest) -> anyhow::Result<String> {
    under_load(guest, |guest| {
        let old = unit::main_process()?;
        let begin = Instant::now();
        succeed("systemctl", &["restart", UNIT])?;
        wait_until_recording(&guest.log, Some(old))?;
        Ok(format!("recording after {:.1} s", begin.elapsed().as_secs_f64()))
    })
}

/// Stops the monitor with a signal, so that it hangs: systemd's watchdog ends it, and starts it again.
pub fn watchdog(guest: &mut Guest) -> anyhow::Result<String> {
    let limit = property("WatchdogUSec")?;
    ensure!(limit != "0" && limit != "infinity", "the unit has no watchdog (WatchdogUSec={limit})");
    under_load(guest, |guest| {
        let old = unit::main_process()?;
        let before: u32 = property("NRestarts")?.parse()?;
        let begin = Instant::now();
        unit::signal(old, libc::SIGSTOP)?;
        while unit::main_process().is_ok_and(|pid| pid == old) {
            if begin.elapsed() > 2 * unit::PATIENCE {
                unit::signal(old, libc::SIGKILL)?;
                anyhow::bail!("it was not ended in {} s", begin.elapsed().as_secs());
            }
            thread::sleep(Duration::from_secs(1));
        }
        let ended = begin.elapsed().as_secs();
        wait_until_recording(&guest.log, Some(old))?;
        let after: u32 = property("NRestarts")?.parse()?;
        ensure!(after > before, "systemd counts no restart ({before}, {after})");
        Ok(format!("limit {limit}: ended after {ended} s, recording after {} s", begin.elapsed().as_secs()))
    })
}

/// Kills the monitor alone, many times.
pub fn kills(guest: &mut Guest, number: u32) -> anyhow::Result<String> {
    let processes = unit::processes()?;
    under_load(guest, |guest| {
        let (mut slowest, mut sum) = (0.0_f64, 0.0);
        for kill in 0..number {
            let old = unit::main_process()?;
            let begin = Instant::now();
            unit::signal(old, libc::SIGKILL)?;
            wait_until_recording(&guest.log, Some(old)).with_context(|| format!("kill {}", kill + 1))?;
            let took = begin.elapsed().as_secs_f64();
            slowest = slowest.max(took);
            sum += took;
            // So many kills are no crash loop, which systemd would end.
            succeed("systemctl", &["reset-failed", UNIT])?;
            // Kills come at all points of a window.
            thread::sleep(Duration::from_millis(u64::from(kill) * 370 % 2900));
        }
        let left = unit::processes()?;
        ensure!(left <= processes, "{left} processes are left of {processes}");
        let mean = sum / f64::from(number.max(1));
        Ok(format!("{number} kills, recording after {mean:.1} s, at most {slowest:.1} s; {left} processes"))
    })
}

/// Does something while traffic of every kind goes on. All of it must be recorded, and no gap told.
fn under_load(
    guest: &mut Guest,
    act: impl FnOnce(&Guest) -> anyhow::Result<String>,
) -> anyhow::Result<String> {
    let load = guest.start_load()?;
    // The log knows the open connections before.
    thread::sleep(Duration::from_secs(5));
    let begin = now();
    let outcome = act(guest);
    thread::sleep(Duration::from_secs(3));
    let moved = load.stop()?;
    let seen = outcome?;
    let losses = |guest: &Guest| guest.log.sentences("loss", begin);
    let gaps = guest.log.sentences("gap", begin)?;
    let exact = match guest.expect(&moved) {
        Ok(exact) => exact,
        Err(error) => {
            let told = losses(guest)?;
            return Err(error.context(format!("{seen}; gaps told: {gaps:?}; losses told: {told:?}")));
        }
    };
    ensure!(gaps.is_empty(), "{seen}; {exact} but a gap was told: {gaps:?}");
    Ok(format!("{seen}, no gap, losses told: {:?}, {exact}", losses(guest)?))
}
