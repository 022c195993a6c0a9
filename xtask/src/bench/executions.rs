//! Measures the cost of starting programs while picosnitch watches.

use std::{
    fs, io,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::recorder::Recorder;

/// Programs started a second.
const A_SECOND: u64 = 500;
/// Share of one core that all roles together may take at that rate.
const LIMIT: f64 = 0.15;

fn execute() -> io::Result<()> {
    Command::new("/bin/true").stdin(Stdio::null()).status().map(drop)
}

/// Starts one program after the other: fork, execve, exit and wait, as often as the time allows.
pub fn as_fast_as_possible(time: Duration) -> io::Result<f64> {
    let begin = Instant::now();
    let mut count = 0_u32;
    while begin.elapsed() < time {
        execute()?;
        count += 1;
    }
    Ok(f64::from(count) / begin.elapsed().as_secs_f64())
}

/// 500 programs a second: the share of a core that all roles take, and what was lost.
pub fn steady(binary: &Path, seconds: u64) -> anyhow::Result<Value> {
    let recorder = Recorder::start(binary)?;
    let (begin, before) = (Instant::now(), recorder.cpu_seconds()?);
    for slice in 0..seconds * 100 {
        for _ in 0..A_SECOND / 100 {
            execute()?;
        }
        thread::sleep(Duration::from_millis((slice + 1) * 10).saturating_sub(begin.elapsed()));
    }
    let took = begin.elapsed().as_secs_f64();
    let share = (recorder.cpu_seconds()? - before) / took;
    let directory = recorder.stop()?;
    let log = fs::read_to_string(directory.join("error.log")).unwrap_or_default();
    let lost: Vec<&str> = log.lines().collect();
    Ok(json!({
        "name": format!("{} programs started in {took:.1} s", seconds * A_SECOND), "unit": "of a core, all roles",
        "with": share, "limit": LIMIT, "error_log": lost, "within": share <= LIMIT && lost.is_empty(),
    }))
}
