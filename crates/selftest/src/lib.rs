//! Makes known traffic of every kind in a private lab, has a private recorder watch it, and compares.
//!
//! [`lab`] makes two network namespaces; [`director`] starts the processes of a [`scenario`] there, each with an
//! executable path of its own; an [`actor`] makes [`traffic`] over a [`socket`] that counts; [`recorder`] runs the
//! recorder and reads its log; [`compare`] and [`report`] say what came of it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

pub mod actor;
mod compare;
mod director;
mod fuse;
mod lab;
mod netlink;
pub mod program;
mod recorder;
pub mod report;
mod scenario;
mod socket;
mod traffic;

use compare::Recorded;
use director::{Director, Ending, Played};
use lab::Lab;
use recorder::Recorder;
use report::{Comparison, Report};
use scenario::Scenario;

/// The part of the whole time limit that one scenario, or the recorder's start or end, may take.
const PART_OF_TIME_LIMIT: u32 = 6;

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// Only these scenarios; empty: all.
    pub only: Vec<String>,
    /// How long the whole may take: what has not begun by then fails.
    pub time_limit: Duration,
    /// Where the private directory is made; `None`: `/var/tmp`.
    pub directory: Option<PathBuf>,
    /// Keep the private directory.
    pub keep: bool,
    /// Make the traffic without a recorder: shows whether the traffic makers themselves work.
    pub without_recorder: bool,
}

/// The selftest could not run.
#[derive(Debug, thiserror::Error)]
pub enum SelftestError {
    /// Namespaces and BPF need root.
    #[error("the selftest makes network namespaces and watches the kernel: it needs root. Run: sudo {0}")]
    NotRoot(String),
    /// There is no scenario of this name.
    #[error("there is no scenario {0:?}; picosnitch selftest --list names them all")]
    UnknownScenario(String),
    /// The private directory could not be made or used.
    #[error("the private directory of the selftest: {0}")]
    Directory(#[from] io::Error),
    /// The network could not be made.
    #[error(transparent)]
    Lab(#[from] lab::LabError),
    /// The recorder did not work.
    #[error(transparent)]
    Recorder(#[from] recorder::RecorderError),
    /// The user wants it to end.
    #[error("interrupted")]
    Interrupted,
}

/// The names of all scenarios.
pub fn names() -> Vec<String> {
    scenario::all().into_iter().map(|scenario| scenario.id).collect()
}

/// Runs the scenarios and compares. Leaves nothing behind (but the directory, if asked to keep it).
///
/// # Errors
/// Something that is no scenario's fault: no root, no network namespaces, a recorder that does not start or end.
pub fn run(request: &Request) -> Result<Report, SelftestError> {
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        return Err(SelftestError::NotRoot(std::env::args().collect::<Vec<_>>().join(" ")));
    }
    let mut scenarios = scenario::all();
    if let Some(unknown) =
        request.only.iter().find(|id| !scenarios.iter().any(|scenario| scenario.id == **id))
    {
        return Err(SelftestError::UnknownScenario(unknown.clone()));
    }
    scenarios.retain(|scenario| request.only.is_empty() || request.only.contains(&scenario.id));

    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    let directory = Directory::new(request.directory.as_deref(), request.keep)?;
    let lab = Lab::new()?;
    let director = Director {
        lab: &lab,
        directory: &directory.path,
        time_limit: request.time_limit / PART_OF_TIME_LIMIT,
        deadline: Instant::now() + request.time_limit,
        interrupted: &interrupted,
    };
    director.prepare(&scenarios)?;
    let (played, recorder) = play_all(&director, &scenarios, request.without_recorder)?;
    if interrupted.load(Ordering::Relaxed) {
        return Err(SelftestError::Interrupted);
    }
    let mut comparisons = Vec::new();
    let rows = match recorder {
        Some(recorder) => {
            // A recorder that ends badly is a failure of its own; what it wrote is compared all the same.
            if let Err(error) = recorder.stop() {
                comparisons.push(Comparison::failure("recorder", error.to_string()));
            }
            Some(recorder::read_log(&directory.path)?)
        }
        None => None,
    };
    let unclaimed = compare::unclaimed(rows.as_deref().unwrap_or_default(), &played);
    let recorded = Recorded {
        rows: rows.as_deref(),
        unclaimed: &unclaimed,
        ring_reported: recorder::ring_was_reported(&directory.path),
        sha256: &director::digest(&directory.path)?,
    };
    for (scenario, played) in scenarios.iter().zip(&played) {
        comparisons.extend(compare::compare(scenario, played, &recorded));
    }
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned();
    Ok(Report { kernel, scenarios: comparisons })
}

/// Plays all scenarios: those that begin before the recorder, then those beside the others, then one by one.
fn play_all(
    director: &Director,
    scenarios: &[Scenario],
    without_recorder: bool,
) -> Result<(Vec<Played>, Option<Recorder>), SelftestError> {
    let recorder_runs = AtomicBool::new(false);
    thread::scope(|scope| {
        let (held, is_held) = mpsc::channel::<()>();
        let early: Vec<_> = scenarios
            .iter()
            .map(|scenario| {
                (scenario.meetings_before_recorder > 0).then(|| {
                    let held = held.clone();
                    let recorder_runs = &recorder_runs;
                    scope.spawn(move || {
                        let mut held = Some(held);
                        director.play(scenario, |meetings| {
                            if meetings == scenario.meetings_before_recorder {
                                // The other end waits until nobody holds this any more: also when an actor fails.
                                held = None;
                                while !recorder_runs.load(Ordering::Acquire) {
                                    thread::sleep(Duration::from_millis(10));
                                }
                            }
                        })
                    })
                })
            })
            .collect();
        drop(held);
        let _ = is_held.recv();
        let started = match without_recorder {
            true => Ok(None),
            false => Recorder::start(director.directory, director.time_limit, director.interrupted).map(Some),
        };
        if started.is_err() {
            director.interrupted.store(true, Ordering::Relaxed);
        }
        recorder_runs.store(true, Ordering::Release);
        let recorder = started?;
        let beside: Vec<_> = scenarios
            .iter()
            .map(|scenario| scenario.overlapping.then(|| scope.spawn(|| director.play(scenario, |_| ()))))
            .collect();
        let mut played = Vec::new();
        for ((scenario, early), beside) in scenarios.iter().zip(early).zip(beside) {
            played.push(match early.or(beside) {
                Some(thread) => Err(thread),
                None if director.interrupted.load(Ordering::Relaxed) => {
                    Ok(Played { ending: Ending::Failed("interrupted".to_owned()), flows: Vec::new() })
                }
                None => Ok(director.play(scenario, |_| ())),
            });
        }
        let panicked =
            || Played { ending: Ending::Failed("a thread panicked".to_owned()), flows: Vec::new() };
        let played = played
            .into_iter()
            .map(|played| played.unwrap_or_else(|thread| thread.join().unwrap_or_else(|_| panicked())))
            .collect();
        Ok((played, recorder))
    })
}

/// The private directory (mode 0700); removed when dropped.
struct Directory {
    path: PathBuf,
    keep: bool,
}

impl Directory {
    fn new(parent: Option<&Path>, keep: bool) -> io::Result<Self> {
        let parent = parent.unwrap_or(Path::new("/var/tmp"));
        let path = nix::unistd::mkdtemp(&parent.join("picosnitch-selftest.XXXXXX"))?;
        // Removed from here on, whatever fails.
        let directory = Self { path, keep };
        fs::create_dir(directory.path.join("bin"))?;
        director::keep_executable(&directory.path)?;
        Ok(directory)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.keep {
            eprintln!("picosnitch: the selftest's files are in {}", self.path.display());
        } else if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("picosnitch: cannot remove {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_scenario_is_refused() {
        // SAFETY: geteuid has no preconditions.
        if unsafe { libc::geteuid() } != 0 {
            eprintln!("not run: needs root");
            return;
        }
        let request = Request {
            directory: None,
            only: vec!["no-such".to_owned()],
            time_limit: Duration::from_secs(1),
            keep: false,
            without_recorder: true,
        };
        assert!(matches!(run(&request), Err(SelftestError::UnknownScenario(id)) if id == "no-such"));
    }
}
