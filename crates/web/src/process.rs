//! What a process uses, from /proc.

use std::fs;

use serde::Serialize;
use utoipa::ToSchema;

/// Processor time and memory of a process.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct ProcessUse {
    /// Its part in picosnitch: `monitor`, `recorder`, `dash`.
    name: &'static str,
    /// Process id.
    pid: u32,
    /// Seconds of processor time since its start, in user and in kernel mode.
    pub cpu_seconds: f64,
    /// Bytes of memory that are resident; those shared with other processes count too.
    pub resident_bytes: u64,
    /// When it was started, unix seconds.
    started: i64,
}

/// What a process uses (proc_pid_stat(5)); `None` if there is no such process, or it is hidden.
pub(crate) fn usage(name: &'static str, pid: u32) -> Option<ProcessUse> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may have any character.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    // The first of these fields is the third of the file.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??.max(1) as f64;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??.unsigned_abs();
    Some(ProcessUse {
        name,
        pid,
        cpu_seconds: (field(14)? + field(15)?) as f64 / ticks,
        resident_bytes: field(24)? * page,
        started: boot_time()? + (field(22)? as f64 / ticks) as i64,
    })
}

/// When the machine was booted, unix seconds.
fn boot_time() -> Option<i64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_use_of_this_process_is_known() {
        let used = usage("dash", std::process::id()).unwrap();
        assert!(used.resident_bytes > 100_000 && used.cpu_seconds >= 0.0, "{used:?}");
        let age = model::text::time::now() - used.started;
        assert!((-2..3600).contains(&age), "{age}");
        assert_eq!(usage("dash", u32::MAX), None);
    }
}
