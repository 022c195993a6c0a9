//! `cargo xtask soak`: many times a desktop's traffic for an hour, all of it known, and whether picosnitch stays as it is: memory,
//! descriptors, the size of the log, and not one byte that is missing untold.
//!
//! The traffic stays on loopback. Workers make it, each as a user of its own: the growth of the log by one user is limited, and a
//! program with very many peers in a window is folded, which are other tests' subjects.

mod samples;
mod worker;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use store::Reader;

pub use worker::{Options as WorkerOptions, run as run_worker};

use crate::{
    bench::recorder::Recorder,
    traffic::{Log, Moved},
    vm,
};
use samples::{Sample, Samples};
use worker::Worker;

/// What a desktop does in its busy hours, on average. The load has `--rate` times as much, in as many workers as it takes.
pub struct Desktop {
    /// Connections a second: a browser, mail, and what runs in the background.
    pub connections: f64,
    /// Programs a second that use the network: updaters, scripts, helpers.
    pub programs: f64,
    /// Connections that stay open.
    pub open: f64,
    /// Bytes a second on them, both ways: 360 MB an hour.
    pub bytes: f64,
}

pub const DESKTOP: Desktop = Desktop { connections: 1.0, programs: 0.5, open: 8.0, bytes: 100_000.0 };

/// Bytes of the log for a record, with its share of all other tables (docs/schema.md), and of a record in the rollups.
const RECORD_BYTES: f64 = 40.0;
/// How far the log may be from that.
const SIZE_TOLERANCE: f64 = 0.25;
/// How far memory may be from that of the first settled tenth.
const MEMORY_TOLERANCE: f64 = 0.05;
const SAMPLE_INTERVAL: Duration = Duration::from_secs(10);

/// Options of the chore.
#[derive(clap::Args)]
pub struct Options {
    /// Minutes of traffic, at least 3
    #[arg(long, default_value_t = 60, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(3..))]
    minutes: u64,
    /// How many times a desktop's traffic
    #[arg(long, default_value_t = 50, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=200))]
    rate: u16,
    /// The size limit of the log (log.retention_megabytes); without it, the default
    #[arg(long, value_name = "MB")]
    megabytes: Option<u64>,
    /// The binary to test; without it, the release build
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Set by SIGINT and the like: the traffic ends early, and everything is cleaned up.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn interrupt(_: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Runs the chore; fails if a figure is beyond its limit.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    // SAFETY: geteuid has no preconditions.
    ensure!(unsafe { libc::geteuid() } == 0, "recording needs root: run it with sudo");
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler only stores to an atomic.
        unsafe { libc::signal(signal, interrupt as *const () as libc::sighandler_t) };
    }
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent directory")?;
    let built = match &options.binary {
        Some(binary) => binary.clone(),
        None => vm::release_binary(project)?,
    };
    let place = tempfile::tempdir().context("cannot make a directory for the programs")?;
    // A copy: another one may be built meanwhile, which is at home in another log.
    let binary = place.path().join("picosnitch");
    fs::copy(&built, &binary).with_context(|| format!("cannot copy {}", built.display()))?;
    let workers = worker::prepare(project, place.path(), options.rate)?;
    let configuration = options.megabytes.map(|limit| format!("[log]\nretention_megabytes = {limit}\n"));
    let recorder = Recorder::start_with(&binary, configuration.as_deref().unwrap_or_default())?;
    let base = recorder.directory.clone();
    let outcome = measure(&recorder, &workers, options);
    // Whatever has failed, nothing stays.
    let stopped = recorder.stop();
    let figures =
        outcome.and_then(|measured| stopped.and_then(|_| judge(&binary, &base, options, &measured)));
    fs::remove_dir_all(&base).context("cannot remove the log")?;
    if INTERRUPTED.load(Ordering::Relaxed) {
        eprintln!("soak: interrupted; everything is cleaned up");
        return Ok(ExitCode::from(130));
    }
    print(&figures?, options.json)
}

/// What a run has shown.
struct Measured {
    samples: Samples,
    moved: Vec<Moved>,
    seconds: f64,
}

/// Makes the traffic and takes samples.
fn measure(recorder: &Recorder, workers: &[worker::Plan], options: &Options) -> anyhow::Result<Measured> {
    let time = Duration::from_secs(options.minutes * 60);
    let mut samples = Samples::default();
    let mut running = workers.iter().map(Worker::start).collect::<anyhow::Result<Vec<_>>>()?;
    let begin = Instant::now();
    let mut next = SAMPLE_INTERVAL;
    while begin.elapsed() < time && !INTERRUPTED.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(250));
        if begin.elapsed() >= next {
            next += SAMPLE_INTERVAL;
            let sample = Sample::take(recorder)?;
            if !options.json {
                eprintln!("{:>5} s  {}", begin.elapsed().as_secs(), sample.text());
            }
            samples.add(sample);
        }
        for worker in &mut running {
            worker.check()?;
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let mut moved = Vec::new();
    for worker in running {
        moved.extend(worker.stop()?);
    }
    // The last window, and what waits for it.
    thread::sleep(Duration::from_secs(3));
    Ok(Measured { samples, moved, seconds })
}

/// Compares everything with its limit.
fn judge(binary: &Path, base: &Path, options: &Options, measured: &Measured) -> anyhow::Result<Vec<Value>> {
    let limit = |name: &str, value: f64, least: f64, most: f64| json!({"name": name, "value": value, "least": least, "most": most, "within": (least..=most).contains(&value)});
    let mut figures = Vec::new();
    for (process, [settled, end]) in measured.samples.memory() {
        let (least, most) = (settled * (1.0 - MEMORY_TOLERANCE), settled * (1.0 + MEMORY_TOLERANCE));
        figures.push(limit(&format!("PSS of {process} in the last tenth, kB"), end, least, most));
    }
    for (process, [settled, end]) in measured.samples.descriptors() {
        figures.push(limit(
            &format!("descriptors of {process} in the last tenth"),
            end,
            settled - 2.0,
            settled + 2.0,
        ));
    }
    let reader = Reader::open(&base.join("snitch.db"))?;
    let (records, bytes) = (reader.record_count()? as f64, reader.used_bytes()? as f64);
    let allowed = options.megabytes.map_or(f64::INFINITY, |limit| limit as f64 * 1e6);
    let predicted = (records * RECORD_BYTES).min(allowed);
    let (least, most) = (predicted * (1.0 - SIZE_TOLERANCE), predicted * (1.0 + SIZE_TOLERANCE));
    figures.push(limit(&format!("bytes of the log, {records} records"), bytes, least, most.min(allowed)));
    let log = Log { picosnitch: binary.to_owned(), base: Some(base.to_owned()) };
    let connections: u64 = measured.moved.iter().map(|moved| moved.amounts.connections).sum();
    let moved: u64 = measured.moved.iter().map(|moved| moved.amounts.sent + moved.amounts.received).sum();
    let (mut missing, mut surplus) = (0, 0);
    for part in &measured.moved {
        let [less, more] = log.difference(part)?;
        missing += less;
        surplus += more;
    }
    let answer = log.query(&["--range", "all"])?;
    // Their ports are not known any more, so they are missing below.
    let folded = log.amounts("lport=many")?.connections;
    let what = "connections in folded records: if there are some, a window took too long for this load";
    figures.push(limit(what, folded as f64, 0.0, 0.0));
    // What a loss takes is not known to the byte, so one that is told excuses nothing here.
    let what = format!("connections and bytes missing ({connections} connections, {moved} bytes moved)");
    figures.push(limit(&what, missing as f64, 0.0, 0.0));
    figures.push(limit("connections and bytes too many", surplus as f64, 0.0, 0.0));
    if let Some(differences) = log.compare(&measured.moved)? {
        figures.push(json!({"name": "differences", "value": differences, "within": false}));
    }
    figures.push(json!({"name": "losses told", "value": answer["losses"], "within": true}));
    figures.push(json!({"name": "seconds", "value": measured.seconds, "within": true}));
    Ok(figures)
}

fn print(figures: &[Value], as_json: bool) -> anyhow::Result<ExitCode> {
    let all_within = figures.iter().all(|figure| figure["within"] == true);
    if as_json {
        println!("{:#}", Value::from(figures));
    } else {
        for figure in figures {
            let verdict = if figure["within"] == true { "ok  " } else { "FAIL" };
            let range = match (figure["least"].as_f64(), figure["most"].as_f64()) {
                (Some(least), Some(most)) => format!(" (allowed {least:.0} to {most:.0})"),
                _ => String::new(),
            };
            println!("{verdict} {}: {}{range}", figure["name"].as_str().unwrap_or_default(), figure["value"]);
        }
    }
    Ok(if all_within { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
