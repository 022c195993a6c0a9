//! The processes of picosnitch: rights, limits, its unit and its version; and another picosnitch beside it.

use std::{fs, path::Path, process::Command};

use super::check::{Check, Rating};
use crate::cli::import::running_notice;
use live::protocol::{HelloLine, ServerCopy};
use model::service::{UNIT, hidden_unit_file, unit_file};

/// Capabilities (capabilities(7)) that the monitor needs, with what is missing without them; any of the group is enough.
const NEEDED: [(&[u32], &str, &str); 5] = [
    (&[21, 39], "CAP_SYS_ADMIN or CAP_BPF", "its programs cannot be loaded again"),
    (&[21], "CAP_SYS_ADMIN", "executables are not watched (fanotify)"),
    (&[19, 21], "CAP_SYS_PTRACE", "executables of other users cannot be identified"),
    (&[1, 2], "CAP_DAC_READ_SEARCH", "executables that only their users may read have no digest"),
    (&[7], "CAP_SETUID", "notifications do not reach the users"),
];
/// Fewer descriptors make the cache of executables small.
const FEW_DESCRIPTORS: u64 = 512;
/// Seconds by which the copy on a server may be late.
const LATE: i64 = 300;
const SERVER: &str = "server";

/// The checks of the daemon that runs, and of the unit.
pub(super) fn checks(daemon: Option<&HelloLine>) -> Vec<Check> {
    let mut checks = vec![unit()];
    checks.extend(running_original());
    if let Some(daemon) = daemon {
        checks.extend([
            capabilities(daemon.monitor),
            sandbox(daemon),
            limits(daemon.monitor),
            version(daemon),
        ]);
        checks.extend(losses(daemon));
        checks.extend(daemon.servers.iter().map(|copy| server(copy, model::text::time::now())));
    }
    checks
}

fn running_original() -> Option<Check> {
    let text = running_notice()?;
    Some(Check::new("original", Rating::Minor, text, "the original picosnitch is running as well"))
}

fn capabilities(monitor: u32) -> Check {
    const NAME: &str = "capabilities";
    let status = fs::read_to_string(format!("/proc/{monitor}/status")).unwrap_or_default();
    let Some(effective) = effective_capabilities(&status) else {
        return Check::needs_root(NAME, "which rights the monitor has");
    };
    let missing: Vec<(&str, &str)> = missing_capabilities(effective);
    if missing.is_empty() {
        return Check::good(NAME, "the monitor has the rights that it needs", "all");
    }
    let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
    let text: Vec<String> = missing.iter().map(|(name, what)| format!("without {name} {what}")).collect();
    Check::new(
        NAME,
        Rating::Matters,
        format!("the monitor lacks rights: {}", text.join("; ")),
        names.join(", "),
    )
    .advise("see CapabilityBoundingSet of the unit, or the options of the container")
}

/// Whether the processes are confined as they should be.
fn sandbox(daemon: &HelloLine) -> Check {
    const NAME: &str = "sandbox";
    match daemon.unprotected.as_slice() {
        [] => Check::good(NAME, "its processes are confined", "complete"),
        walls => {
            let walls = model::text::sanitize::message(&walls.join("; "));
            Check::new(NAME, Rating::Minor, format!("not enforced on this kernel: {walls}"), walls)
        }
    }
}

fn effective_capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn missing_capabilities(effective: u64) -> Vec<(&'static str, &'static str)> {
    let has = |number: &u32| effective & (1 << number) != 0;
    NEEDED
        .iter()
        .filter(|(numbers, ..)| !numbers.iter().any(has))
        .map(|(_, name, what)| (*name, *what))
        .collect()
}

fn limits(monitor: u32) -> Check {
    const NAME: &str = "limits";
    let Ok(limits) = fs::read_to_string(format!("/proc/{monitor}/limits")) else {
        return Check::needs_root(NAME, "the limits of the monitor");
    };
    match open_files(&limits) {
        Some(limit) if limit < FEW_DESCRIPTORS => Check::new(
            NAME,
            Rating::Minor,
            format!("the monitor may open {limit} files only, so that programs are hashed again and again"),
            format!("{limit} open files"),
        )
        .advise("raise monitor.rlimit_nofile in the configuration, or LimitNOFILE of the unit"),
        Some(limit) => Check::good(NAME, format!("it may open {limit} files"), format!("{limit} open files")),
        None => Check::good(NAME, "it may open any number of files", "unlimited open files"),
    }
}

/// The soft limit of open files (proc_pid_limits(5)); `None` if there is none.
fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn version(daemon: &HelloLine) -> Check {
    const NAME: &str = "version";
    let ours = env!("CARGO_PKG_VERSION");
    let is_replaced = fs::read_link(format!("/proc/{}/exe", daemon.monitor))
        .is_ok_and(|path| path.to_string_lossy().ends_with(" (deleted)"));
    let running = model::text::sanitize::message(&daemon.version);
    if daemon.version == ours && !is_replaced {
        return Check::good(NAME, format!("version {ours}"), ours);
    }
    let text = match is_replaced {
        true => format!(
            "the daemon (version {running}) runs a program file that was replaced since, by version {ours} maybe"
        ),
        false => format!("the daemon is version {running}, this command {ours}"),
    };
    Check::new(NAME, Rating::Minor, text, format!("daemon {running}, command {ours}"))
        .advise(model::service::command("restart"))
}

/// What was lost since the start.
fn losses(daemon: &HelloLine) -> Option<Check> {
    let losses = model::Losses::from_names(daemon.losses.iter().map(|(name, count)| (name.as_str(), *count)));
    if !losses.is_anything_missing() {
        return Some(Check::good("losses", "nothing was lost since the start", "none"));
    }
    let summary = model::text::sanitize::message(&losses.summary());
    Some(
        Check::new("losses", Rating::Matters, format!("since the start, {summary}"), summary)
            .advise("picosnitch query --events --kind loss --range all says when"),
    )
}

/// Whether a server has a copy of the log.
fn server(copy: &ServerCopy, now: i64) -> Check {
    let (name, text) = (model::text::sanitize::message(&copy.name), copy.sentence(now));
    let text = format!("{name}: {}", model::text::sanitize::message(&text));
    let lag = copy.lacks_since.map_or(0, |since| now - since);
    let (rating, fact) = match () {
        () if copy.problem.is_some() || copy.unsent_windows + copy.unsent_records > 0 => {
            (Rating::Matters, "incomplete")
        }
        () if lag > LATE => (Rating::Minor, "late"),
        () => return Check::good(SERVER, text, "up to date"),
    };
    Check::new(SERVER, rating, text, fact)
        .advise("docs/export.md says what to do; picosnitch status shows how it goes on")
}

fn unit() -> Check {
    const NAME: &str = "unit";
    if !Path::new("/run/systemd/system").is_dir() {
        return Check::new(
            NAME,
            Rating::Informational,
            "systemd does not run here: sudo picosnitch start, at each boot",
            "no systemd",
        );
    }
    let Some(used) = unit_file() else {
        return Check::new(
            NAME,
            Rating::Minor,
            format!("there is no {UNIT}: it does not start at boot"),
            "none",
        )
        .advise("install a package, or run: sudo picosnitch systemd");
    };
    if let Some(hidden) = hidden_unit_file() {
        let (used, hidden) = (used.display(), hidden.display());
        return Check::new(
            NAME,
            Rating::Minor,
            format!("{used} goes before {hidden}, the unit of the package, which is not used"),
            "hidden",
        )
        .advise(format!(
            "unless that is meant: sudo rm {used}; sudo systemctl daemon-reload; sudo systemctl restart picosnitch"
        ));
    }
    let ask = |question: &str| {
        let answer = Command::new("/usr/bin/systemctl").args([question, UNIT]).output();
        answer.map(|answer| String::from_utf8_lossy(&answer.stdout).trim().to_owned()).unwrap_or_default()
    };
    let (active, enabled) = (ask("is-active"), ask("is-enabled"));
    let fact = format!("{active}, {enabled}");
    match (active.as_str(), enabled.as_str()) {
        ("active", "enabled") => Check::good(NAME, format!("{UNIT} is active and starts at boot"), fact),
        ("active", _) => Check::new(
            NAME,
            Rating::Minor,
            format!("{UNIT} is active, but does not start at boot ({enabled})"),
            fact,
        )
        .advise("sudo systemctl enable picosnitch"),
        _ => Check::new(NAME, Rating::Minor, format!("{UNIT} is {active}, {enabled}"), fact)
            .advise("sudo systemctl enable --now picosnitch; journalctl -u picosnitch says why it ended"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_rights_are_named_with_their_consequence() {
        assert_eq!(missing_capabilities(0x1ff_ffff_ffff), []);
        assert_eq!(missing_capabilities(0).len(), NEEDED.len());
        let without_read = 0x1ff_ffff_ffff & !0b110;
        assert_eq!(missing_capabilities(without_read)[0].0, "CAP_DAC_READ_SEARCH");
        assert_eq!(effective_capabilities("Name: x\nCapEff:\t0000000000000003\n"), Some(3));
        assert_eq!(effective_capabilities(""), None);
    }

    #[test]
    fn a_server_that_lacks_something_matters() {
        let copy = ServerCopy {
            name: "log.server".into(),
            server: "MariaDB at db:3306".into(),
            connected: true,
            lag_windows: Some(0),
            ..ServerCopy::default()
        };
        let good = server(&copy, 1000);
        assert_eq!((good.rating, &*good.text), (Rating::Good, "log.server: MariaDB at db:3306 has all"));
        let late = ServerCopy { lag_windows: Some(3), lacks_since: Some(100), ..copy.clone() };
        assert_eq!(server(&late, 1000).rating, Rating::Minor);
        assert!(server(&late, 1000).text.ends_with("gets what it lacks: 3 windows, the oldest of 900 s ago"));
        assert_eq!(server(&late, 150).rating, Rating::Good);
        let away = ServerCopy { connected: false, problem: Some("no\u{1b} route".into()), ..late };
        let check = server(&away, 150);
        assert_eq!(check.rating, Rating::Matters);
        assert!(check.text.contains("is not reached and lacks 3 windows") && !check.text.contains('\u{1b}'));
        let lost = ServerCopy { unsent_windows: 2, ..copy };
        assert_eq!(server(&lost, 1000).rating, Rating::Matters);
        assert!(server(&lost, 1000).text.ends_with("has all; 2 windows were deleted before they were sent"));
    }

    #[test]
    fn the_limit_of_open_files_is_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            1024                 524288               files\n";
        assert_eq!(open_files(limits), Some(1024));
        assert_eq!(open_files("Max open files            unlimited  unlimited files\n"), None);
    }
}
