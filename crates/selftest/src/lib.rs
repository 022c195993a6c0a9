//! The selftest: makes known traffic of every kind in a private network, records it with a picosnitch of its own, and compares.
//!
//! `lab` makes two network namespaces. `runner` starts the processes of a `scenario` in them, each with an executable path
//! of its own. An `actor` makes `traffic` over a `socket` that counts. `recorder` runs the recorder and reads its log.
//! `compare` compares both, and `report` prints the result.

use std::{
    fs, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

pub mod actor;
mod actor_process;
mod ancestors;
mod compare;
mod expected_flow;
mod flow_matching;
pub mod fuse;
mod identity_check;
mod lab;
mod netlink;
mod private_directory;
pub mod program;
mod recorder;
pub mod report;
mod runner;
mod scenario;
mod socket;
mod socket_address;
mod system_error;
mod traffic;

use compare::RecorderOutput;
use lab::Lab;
use private_directory::PrivateDirectory;
use recorder::Recorder;
use report::{Comparison, Report, Verdict};
use runner::{ScenarioOutcome, ScenarioResult, ScenarioRunner};
use scenario::Scenario;

/// The time limit is divided by this for one scenario, and for the start and the end of the recorder.
const TIME_LIMIT_DIVISOR: u32 = 6;

/// The options of a run.
#[derive(Clone, Debug)]
pub struct Request {
    /// The scenarios to run; empty for all.
    pub only: Vec<String>,
    /// Time for the whole run. A scenario that has not begun by then fails.
    pub time_limit: Duration,
    /// The parent of the private directory; `None` for `/var/tmp`.
    pub directory: Option<PathBuf>,
    /// Whether the private directory is kept at the end.
    pub keep: bool,
    /// Whether the traffic is made without a recorder, to test the scenarios themselves.
    pub without_recorder: bool,
}

/// The reason why the selftest could not run.
#[derive(Debug, thiserror::Error)]
pub enum SelftestError {
    /// Network namespaces and BPF need root.
    #[error("the selftest makes network namespaces and watches the kernel: it needs root. Run: sudo {0}")]
    NotRoot(String),
    /// No scenario has this id.
    #[error("there is no scenario {0:?}; picosnitch selftest --list names them all")]
    UnknownScenario(String),
    /// The private directory could not be made or used.
    #[error("the private directory of the selftest: {0}")]
    Directory(#[from] io::Error),
    /// The private network could not be made.
    #[error(transparent)]
    Lab(#[from] lab::LabError),
    /// The recorder did not start or end.
    #[error(transparent)]
    Recorder(#[from] recorder::RecorderError),
    /// The user has interrupted the selftest.
    #[error("interrupted")]
    Interrupted,
}

/// Returns the ids of all scenarios.
pub fn scenario_ids() -> Vec<String> {
    traffic::all_scenarios().into_iter().map(|scenario| scenario.id).collect()
}

/// Runs the scenarios and compares. Nothing of it stays on the machine, except for a directory that the user wants to keep.
///
/// # Errors
/// When no scenario can run: without root, without network namespaces, or if the recorder does not start.
pub fn run(request: &Request) -> Result<Report, SelftestError> {
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        return Err(SelftestError::NotRoot(std::env::args().collect::<Vec<_>>().join(" ")));
    }
    let scenarios = select_scenarios(&request.only)?;
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    let directory = PrivateDirectory::new(request.directory.as_deref(), request.keep)?;
    let lab = Lab::new()?;
    let runner = ScenarioRunner {
        lab: &lab,
        directory: directory.path(),
        time_limit: request.time_limit / TIME_LIMIT_DIVISOR,
        deadline: Instant::now() + request.time_limit,
        interrupted: &interrupted,
    };
    runner.link_executables(&scenarios)?;
    let (results, recorder) = run_all(&runner, &scenarios, request.without_recorder)?;
    if interrupted.load(Ordering::Relaxed) {
        return Err(SelftestError::Interrupted);
    }
    let mut comparisons = Vec::new();
    let rows = match recorder {
        Some(recorder) => {
            // A recorder that does not end properly is a failure of its own. Its log is still compared.
            if let Err(error) = recorder.stop() {
                comparisons.push(Comparison::new("recorder", "all", Verdict::Fail, &error.to_string()));
            }
            Some(recorder::read_log(directory.path())?)
        }
        None => None,
    };
    let unclaimed = compare::unclaimed(rows.as_deref().unwrap_or_default(), &results);
    let recorded = RecorderOutput {
        rows: rows.as_deref(),
        unclaimed: &unclaimed,
        is_ring_reported: recorder::is_ring_reported(directory.path()),
        sha256: &private_directory::executable_sha256(directory.path())?,
    };
    for (scenario, result) in scenarios.iter().zip(&results) {
        comparisons.extend(compare::compare(scenario, result, &recorded));
    }
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned();
    Ok(Report { kernel, scenarios: comparisons })
}

/// Returns the scenarios with these ids; all of them if there are no ids.
fn select_scenarios(only: &[String]) -> Result<Vec<Scenario>, SelftestError> {
    let mut scenarios = traffic::all_scenarios();
    if let Some(unknown) = only.iter().find(|id| !scenarios.iter().any(|scenario| scenario.id == **id)) {
        return Err(SelftestError::UnknownScenario(unknown.clone()));
    }
    scenarios.retain(|scenario| only.is_empty() || only.contains(&scenario.id));
    Ok(scenarios)
}

/// Runs all scenarios: first those that begin before the recorder, then the parallel ones, then the others one after another.
fn run_all(
    runner: &ScenarioRunner,
    scenarios: &[Scenario],
    without_recorder: bool,
) -> Result<(Vec<ScenarioResult>, Option<Recorder>), SelftestError> {
    let is_recorder_running = AtomicBool::new(false);
    thread::scope(|scope| {
        // Each of the early scenarios holds a sender until its actors have reached their barrier, or an actor has failed.
        let (waiting, all_reached) = mpsc::channel::<()>();
        let early: Vec<_> = scenarios
            .iter()
            .map(|scenario| {
                (scenario.barriers_before_recorder > 0).then(|| {
                    let waiting = waiting.clone();
                    let is_recorder_running = &is_recorder_running;
                    scope.spawn(move || {
                        let mut waiting = Some(waiting);
                        runner.run(scenario, |barriers| {
                            if barriers == scenario.barriers_before_recorder {
                                waiting = None;
                                while !is_recorder_running.load(Ordering::Acquire) {
                                    thread::sleep(Duration::from_millis(10));
                                }
                            }
                        })
                    })
                })
            })
            .collect();
        drop(waiting);
        let _ = all_reached.recv();
        let started = match without_recorder {
            true => Ok(None),
            false => Recorder::start(runner.directory, runner.time_limit, runner.interrupted).map(Some),
        };
        if started.is_err() {
            runner.interrupted.store(true, Ordering::Relaxed);
        }
        is_recorder_running.store(true, Ordering::Release);
        let recorder = started?;
        let parallel: Vec<_> = scenarios
            .iter()
            .map(|scenario| scenario.is_parallel.then(|| scope.spawn(|| runner.run(scenario, |_| ()))))
            .collect();
        let mut results = Vec::new();
        for ((scenario, early), parallel) in scenarios.iter().zip(early).zip(parallel) {
            results.push(match early.or(parallel) {
                Some(thread) => Err(thread),
                None if runner.interrupted.load(Ordering::Relaxed) => Ok(ScenarioResult {
                    outcome: ScenarioOutcome::Failed("interrupted".to_owned()),
                    flows: Vec::new(),
                }),
                None => Ok(runner.run(scenario, |_| ())),
            });
        }
        let panicked = || ScenarioResult {
            outcome: ScenarioOutcome::Failed("a thread panicked".to_owned()),
            flows: Vec::new(),
        };
        let results = results
            .into_iter()
            .map(|result| result.unwrap_or_else(|thread| thread.join().unwrap_or_else(|_| panicked())))
            .collect();
        Ok((results, recorder))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_scenario_is_refused() {
        let selected = select_scenarios(&["no-such".to_owned()]);
        assert!(matches!(selected, Err(SelftestError::UnknownScenario(id)) if id == "no-such"));
    }
}
