//! Runs scenarios: starts the actors, synchronizes them at barriers, and collects their flows.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Write},
    os::fd::AsRawFd,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    actor_process,
    expected_flow::ExpectedFlow,
    lab::{self, Lab},
    private_directory::{actor_executable, link_executable},
    scenario::{ActorDefinition, Scenario},
};

/// Interval at which a waiting selftest checks for an interruption.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// The end of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ScenarioOutcome {
    /// All actors ended without an error.
    Done,
    /// The kernel lacks something that the scenario needs; the reason.
    Skipped(String),
    /// An actor failed; the reason.
    Failed(String),
}

/// The result of a scenario, as its actors reported it.
#[derive(Clone, Debug)]
pub(crate) struct ScenarioResult {
    pub(crate) outcome: ScenarioOutcome,
    pub(crate) flows: Vec<ExpectedFlow>,
}

/// Runs scenarios in the private network.
pub(crate) struct ScenarioRunner<'a> {
    pub(crate) lab: &'a Lab,
    /// The private directory of the selftest.
    pub(crate) directory: &'a Path,
    /// Time limit of one scenario.
    pub(crate) time_limit: Duration,
    /// Time after which no scenario begins.
    pub(crate) deadline: Instant,
    /// Set when the user interrupts the selftest.
    pub(crate) interrupted: &'a AtomicBool,
}

/// A running actor, which is killed with all its children when this is dropped.
struct RunningActor {
    child: Child,
    input: ChildStdin,
    /// The value that it passed at the barrier at which it waits.
    barrier_value: Option<String>,
    is_done: bool,
}

/// A line that the actor in this role wrote; `None` at the end of its output.
type ActorLine = (String, Option<String>);

impl Drop for RunningActor {
    fn drop(&mut self) {
        // The actor leads a process group, which contains its children also after the actor itself has ended.
        // SAFETY: no pointers are passed; the child has not been waited for, so that its process id is not used again.
        unsafe { libc::kill(-(self.child.id() as libc::pid_t), libc::SIGKILL) };
        let _ = self.child.wait();
    }
}

impl ScenarioRunner<'_> {
    /// Runs a scenario to its end. `at_barrier` is called each time that all actors have reached a barrier, with the number of
    /// barriers up to now; its time does not count towards the time limit.
    pub(crate) fn run(&self, scenario: &Scenario, mut at_barrier: impl FnMut(usize)) -> ScenarioResult {
        let mut flows = Vec::new();
        if Instant::now() > self.deadline {
            return ScenarioResult {
                outcome: ScenarioOutcome::Failed("the time limit was reached before it began".to_owned()),
                flows,
            };
        }
        let outcome = match self.run_actors(scenario, &mut flows, &mut at_barrier) {
            Ok(outcome) => outcome,
            Err(error) => ScenarioOutcome::Failed(error.to_string()),
        };
        ScenarioResult { outcome, flows }
    }

    /// Links the executable to the path of every actor. This must happen before the recorder starts, because each new link
    /// changes the metadata of the file.
    pub(crate) fn link_executables(&self, scenarios: &[Scenario]) -> io::Result<()> {
        for scenario in scenarios {
            for actor in &scenario.actors {
                link_executable(
                    self.directory,
                    &actor_executable(self.directory, &scenario.id, &actor.role),
                )?;
            }
        }
        Ok(())
    }

    fn run_actors(
        &self,
        scenario: &Scenario,
        flows: &mut Vec<ExpectedFlow>,
        at_barrier: &mut impl FnMut(usize),
    ) -> io::Result<ScenarioOutcome> {
        let (sender, lines) = mpsc::channel();
        let mut running = BTreeMap::new();
        for actor in &scenario.actors {
            if actor.namespace.is_some() {
                running.insert(actor.role.clone(), self.start(scenario, actor, sender.clone())?);
            }
        }
        drop(sender);
        let mut deadline = Instant::now() + self.time_limit;
        let mut barriers = 0;
        while running.values().any(|actor| !actor.is_done) {
            let (role, line) = match lines.recv_timeout(CHECK_INTERVAL) {
                Ok(message) => message,
                Err(mpsc::RecvTimeoutError::Timeout) if self.interrupted.load(Ordering::Relaxed) => {
                    return Ok(ScenarioOutcome::Failed("interrupted".to_owned()));
                }
                Err(mpsc::RecvTimeoutError::Timeout) if Instant::now() > deadline => {
                    let late: Vec<_> =
                        running.iter().filter(|(_, actor)| !actor.is_done).map(|(role, _)| &**role).collect();
                    let seconds = self.time_limit.as_secs();
                    return Ok(ScenarioOutcome::Failed(format!(
                        "{} not done after {seconds} s",
                        late.join(", ")
                    )));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => continue,
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            };
            let Some(actor) = running.get_mut(&role) else { continue };
            match line.as_deref().map(|line| line.split_once(' ').unwrap_or((line, ""))) {
                Some(("flow", flow)) => flows.push(serde_json::from_str(flow)?),
                Some(("barrier", value)) => actor.barrier_value = Some(value.to_owned()),
                Some(("done", _)) => actor.is_done = true,
                Some(("skipped", why)) => return Ok(ScenarioOutcome::Skipped(why.to_owned())),
                Some(("failed", why)) => return Ok(failure(&lines, format!("{role}: {why}"))),
                Some((keyword, _)) => {
                    return Ok(ScenarioOutcome::Failed(format!("{role}: unknown keyword {keyword:?}")));
                }
                None if actor.is_done => {}
                None => {
                    let status = actor.child.try_wait()?;
                    let status = status.map_or("closed its output".to_owned(), |status| status.to_string());
                    return Ok(ScenarioOutcome::Failed(format!("{role} ended early: {status}")));
                }
            }
            let is_barrier_reached =
                running.values().all(|actor| actor.is_done || actor.barrier_value.is_some());
            if is_barrier_reached && running.values().any(|actor| !actor.is_done) {
                barriers += 1;
                let start = Instant::now();
                at_barrier(barriers);
                deadline += start.elapsed();
                release(&mut running)?;
            }
        }
        Ok(ScenarioOutcome::Done)
    }

    fn start(
        &self,
        scenario: &Scenario,
        actor: &ActorDefinition,
        lines: mpsc::Sender<ActorLine>,
    ) -> io::Result<RunningActor> {
        let mut command = Command::new(actor_executable(self.directory, &scenario.id, &actor.role));
        command
            .args(actor_process::arguments(self.directory, &scenario.id, &actor.role))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0);
        let namespace = actor.namespace.map(|namespace| self.lab.descriptor(namespace).as_raw_fd());
        // SAFETY: between fork and exec only two system calls are made; nothing is allocated or locked.
        unsafe {
            command.pre_exec(move || {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                namespace.map_or(Ok(()), lab::enter)
            });
        }
        let mut child = command.spawn()?;
        let missing = || io::Error::other("the actor has no pipes");
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = child.stdout.take().ok_or_else(missing)?;
        let role = actor.role.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if lines.send((role.clone(), Some(line))).is_err() {
                    return;
                }
            }
            let _ = lines.send((role, None));
        });
        Ok(RunningActor { child, input, barrier_value: None, is_done: false })
    }
}

/// Waits a moment for the reports of the other actors after one has failed. A failing actor makes its peers fail too, so that the
/// first report is not always that of the cause; and if any actor skips the scenario, it is no failure.
fn failure(lines: &mpsc::Receiver<ActorLine>, mut why: String) -> ScenarioOutcome {
    let deadline = Instant::now() + Duration::from_secs(1);
    while let Ok((role, line)) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        let Some(line) = line else { continue };
        match line.split_once(' ') {
            Some(("skipped", reason)) => return ScenarioOutcome::Skipped(reason.to_owned()),
            Some(("failed", reason)) => why.push_str(&format!("; {role}: {reason}")),
            _ => {}
        }
    }
    ScenarioOutcome::Failed(why)
}

/// Releases the actors that wait at the barrier, with the values of all of them.
fn release(running: &mut BTreeMap<String, RunningActor>) -> io::Result<()> {
    let values: BTreeMap<_, _> = running
        .iter_mut()
        .filter_map(|(role, actor)| Some((role.clone(), actor.barrier_value.take()?)))
        .collect();
    let line = format!("values {}\n", serde_json::to_string(&values)?);
    for role in values.keys() {
        if let Some(actor) = running.get_mut(role) {
            actor.input.write_all(line.as_bytes())?;
        }
    }
    Ok(())
}
