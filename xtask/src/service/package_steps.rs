//! The package: installed, upgraded, removed and purged with apt, without a network.

use std::{fs, path::Path, thread, time::Duration};

use anyhow::{Context, bail, ensure};

use super::{
    guest::{Guest, TALKER, WINDOW, now},
    unit::{self, UNIT, property, succeed, wait_until_recording},
};
use crate::traffic::{self, Kind, Moved};

/// What systemd-analyze may say at most, of 10. BPF and fanotify force the monitor to more than the others.
const EXPOSURE: [(&str, f64); 3] =
    [(UNIT, 3.0), ("picosnitch-exporter.service", 1.5), ("picosnitch-dash.service", 1.5)];
/// Directories that `remove` leaves and `purge` removes.
const DIRECTORIES: [&str; 3] = ["/etc/picosnitch", "/var/lib/picosnitch", "/var/log/picosnitch"];
const DATABASE: &str = "/var/lib/picosnitch/snitch.db";

/// Runs apt-get. The guest has no network, so nothing is downloaded. (`--no-download` refuses files that are given by name.)
fn apt(arguments: &[&str]) -> anyhow::Result<String> {
    let mut all = vec!["DEBIAN_FRONTEND=noninteractive", "apt-get", "-y"];
    all.extend(arguments);
    succeed("env", &all)
}

fn version() -> anyhow::Result<String> {
    Ok(succeed("dpkg-query", &["--show", "--showformat", "${Version}", "picosnitch"])?.trim().to_owned())
}

/// Installs the package: the unit is enabled, active and records without another command.
pub fn install(guest: &mut Guest) -> anyhow::Result<String> {
    let begin = std::time::Instant::now();
    apt(&["install", "/var/tmp/picosnitch_1.deb"])?;
    let installed = begin.elapsed().as_secs();
    wait_until_recording(&guest.log, None)?;
    let recording = begin.elapsed().as_secs();
    let enabled = unit::output("systemctl", &["is-enabled", UNIT])?;
    ensure!(enabled.status.success(), "the unit is not enabled");
    let port = guest.ports(1);
    let amounts = traffic::talk_once(Path::new(TALKER), port)?;
    let exact = guest.expect(&[Moved { kind: Kind::Programs, port, amounts }])?;
    Ok(format!(
        "version {}, installed after {installed} s, recording after {recording} s, a row after {} s; {exact}",
        version()?,
        begin.elapsed().as_secs()
    ))
}

/// Makes the windows short, which the other steps need to be quick.
pub fn configure(guest: &mut Guest) -> anyhow::Result<String> {
    write_configuration("")?;
    let old = unit::main_process()?;
    succeed("systemctl", &["restart", UNIT])?;
    wait_until_recording(&guest.log, Some(old))?;
    Ok(format!("windows of {WINDOW} s, {} processes", unit::processes()?))
}

/// Writes the configuration, with more keys of the table `log`.
///
/// # Errors
/// The disk is full.
pub fn write_configuration(more: &str) -> anyhow::Result<()> {
    // A window that follows an outage has all connections of that time, which would be folded.
    let text = format!("[log]\nwrite_limit_seconds = {WINDOW}\nfold_above = 65536\n{more}");
    fs::write("/etc/picosnitch/config.toml", text).context("cannot write the configuration")
}

/// What `systemd-analyze security` says of each unit.
pub fn security() -> anyhow::Result<String> {
    let mut seen = Vec::new();
    let mut failed = Vec::new();
    for (name, most) in EXPOSURE {
        let printed = unit::output("systemd-analyze", &["security", "--no-pager", name])?;
        let text = String::from_utf8_lossy(&printed.stdout).into_owned();
        match exposure(&text) {
            Some(level) => {
                seen.push(format!("{name} {level} (at most {most})"));
                if level > most {
                    failed.push(name);
                }
            }
            None => failed.push(name),
        }
    }
    let seen = seen.join(", ");
    ensure!(failed.is_empty(), "{seen}; too exposed, or not there: {}", failed.join(", "));
    Ok(seen)
}

/// The level in the last line of systemd-analyze: `→ Overall exposure level for picosnitch.service: 2.9 OK`.
fn exposure(text: &str) -> Option<f64> {
    let line = text.lines().rev().find(|line| line.contains("Overall exposure level"))?;
    line.rsplit_once(": ")?.1.split_whitespace().next()?.parse().ok()
}

/// Installs a newer package of the same content while traffic goes on.
pub fn upgrade(guest: &mut Guest) -> anyhow::Result<String> {
    let load = guest.start_load()?;
    thread::sleep(Duration::from_secs(5));
    let (old, begin, before) = (unit::main_process()?, now(), version()?);
    apt(&["install", "/var/tmp/picosnitch_2.deb"])?;
    let restarted = wait_until_recording(&guest.log, Some(old));
    thread::sleep(Duration::from_secs(5));
    let moved = load.stop()?;
    restarted?;
    let after = version()?;
    ensure!(after != before, "the version is still {before}");
    let exact = guest.expect(&moved)?;
    let gaps = guest.log.sentences("gap", begin)?;
    ensure!(gaps.is_empty(), "a gap was told: {gaps:?}");
    Ok(format!("{before} to {after}, no gap, {exact}"))
}

/// Removes the package: nothing runs, the log stays.
pub fn remove(guest: &mut Guest) -> anyhow::Result<String> {
    let pid = unit::main_process()?;
    let rows = guest.log.query(&["--range", "all"])?["row_count"].clone();
    apt(&["remove", "picosnitch"])?;
    ensure!(!Path::new(&format!("/proc/{pid}")).exists(), "the monitor still runs");
    let state = property("ActiveState")?;
    ensure!(state == "inactive", "the unit is {state}");
    ensure!(!Path::new("/usr/bin/picosnitch").exists(), "the program is still there");
    ensure!(Path::new(DATABASE).exists(), "the log is gone");
    ensure!(!is_pinned(), "hooks are still pinned below /sys/fs/bpf/picosnitch");
    Ok(format!("stopped, a log of {} bytes with {rows} programs stays", fs::metadata(DATABASE)?.len()))
}

/// Whether anything of picosnitch outlives it in the kernel.
fn is_pinned() -> bool {
    fs::read_dir("/sys/fs/bpf/picosnitch").is_ok_and(|mut entries| entries.next().is_some())
}

/// Purges the package: everything is gone.
pub fn purge(_guest: &mut Guest) -> anyhow::Result<String> {
    apt(&["purge", "picosnitch"])?;
    for directory in DIRECTORIES {
        if Path::new(directory).exists() {
            bail!("{directory} is still there: {}", succeed("ls", &["-lA", directory])?);
        }
    }
    let units = unit::output("systemctl", &["list-unit-files", "--no-legend", "picosnitch*"])?;
    let units = String::from_utf8_lossy(&units.stdout).trim().to_owned();
    ensure!(units.is_empty(), "units are left: {units}");
    Ok(format!("{} are gone", DIRECTORIES.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exposure_is_read_from_the_last_line() {
        let text =
            "  NAME DESCRIPTION EXPOSURE\n✗ x: y 0.5\n\n→ Overall exposure level for x.service: 2.9 OK 🙂\n";
        assert_eq!(exposure(text), Some(2.9));
        assert_eq!(exposure("Failed to load unit: x\n"), None);
    }
}
