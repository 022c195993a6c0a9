//! The selftest's side of a scenario: starts the actors, lets them meet, collects what they say.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead, BufReader, Write},
    os::fd::AsRawFd,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    actor,
    lab::{self, Lab},
    scenario::{Actor, Scenario},
    socket::Flow,
};
use identity::digests;

/// How often waiting looks for an interruption.
const TICK: Duration = Duration::from_millis(50);

/// How a scenario ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All actors did their work.
    Done,
    /// This kernel cannot do it, and why.
    Skipped(String),
    /// An actor failed, and why.
    Failed(String),
}

/// What the actors of a scenario say they did.
#[derive(Clone, Debug)]
pub struct Played {
    /// How it ended.
    pub ending: Ending,
    /// What they moved.
    pub flows: Vec<Flow>,
}

/// Starts actors and leads them through their scenario.
pub struct Director<'a> {
    /// Where they talk.
    pub lab: &'a Lab,
    /// The private directory.
    pub directory: &'a Path,
    /// How long a scenario may take.
    pub time_limit: Duration,
    /// No scenario begins after this.
    pub deadline: Instant,
    /// Set when the user wants the selftest to end.
    pub interrupted: &'a AtomicBool,
}

/// A started actor; ends with all its children when dropped.
struct Running {
    child: Child,
    input: ChildStdin,
    word: Option<String>,
    finished: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        // The actor leads a process group: its children are in it, also after the actor itself ended.
        // SAFETY: no pointers are passed; the child was not waited for yet, so that its number is still its own.
        unsafe { libc::kill(-(self.child.id() as libc::pid_t), libc::SIGKILL) };
        let _ = self.child.wait();
    }
}

impl Director<'_> {
    /// Plays a scenario to its end. `pause` is called before each answer to a meeting with the number of
    /// meetings up to now; the time it takes does not count.
    pub fn play(&self, scenario: &Scenario, mut pause: impl FnMut(usize)) -> Played {
        let mut flows = Vec::new();
        if Instant::now() > self.deadline {
            return Played { ending: Ending::Failed("the time limit was over".to_owned()), flows };
        }
        let ending = match self.lead(scenario, &mut flows, &mut pause) {
            Ok(ending) => ending,
            Err(error) => Ending::Failed(error.to_string()),
        };
        Played { ending, flows }
    }

    /// Gives every actor its executable. Before anything is recorded: each new name of a file is a change of it.
    pub fn prepare(&self, scenarios: &[Scenario]) -> io::Result<()> {
        for scenario in scenarios {
            for actor in &scenario.actors {
                give_executable(
                    self.directory,
                    &actor::executable(self.directory, &scenario.id, &actor.role),
                )?;
            }
        }
        Ok(())
    }

    fn lead(
        &self,
        scenario: &Scenario,
        flows: &mut Vec<Flow>,
        pause: &mut impl FnMut(usize),
    ) -> io::Result<Ending> {
        let (sender, lines) = mpsc::channel();
        let mut running = BTreeMap::new();
        for actor in &scenario.actors {
            if actor.place.is_some() {
                running.insert(actor.role.clone(), self.start(scenario, actor, sender.clone())?);
            }
        }
        drop(sender);
        let mut deadline = Instant::now() + self.time_limit;
        let mut meetings = 0;
        while running.values().any(|actor| !actor.finished) {
            let (role, line) = match lines.recv_timeout(TICK) {
                Ok(message) => message,
                Err(mpsc::RecvTimeoutError::Timeout) if self.interrupted.load(Ordering::Relaxed) => {
                    return Ok(Ending::Failed("interrupted".to_owned()));
                }
                Err(mpsc::RecvTimeoutError::Timeout) if Instant::now() > deadline => {
                    let late: Vec<_> = running
                        .iter()
                        .filter(|(_, actor)| !actor.finished)
                        .map(|(role, _)| &**role)
                        .collect();
                    let seconds = self.time_limit.as_secs();
                    return Ok(Ending::Failed(format!("{} not done after {seconds} s", late.join(", "))));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => continue,
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            };
            let Some(actor) = running.get_mut(&role) else { continue };
            match line.as_deref().map(|line| line.split_once(' ').unwrap_or((line, ""))) {
                Some(("flow", flow)) => flows.push(serde_json::from_str(flow)?),
                Some(("meet", word)) => actor.word = Some(word.to_owned()),
                Some(("done", _)) => actor.finished = true,
                Some(("skipped", why)) => return Ok(Ending::Skipped(why.to_owned())),
                Some(("failed", why)) => return Ok(first_cause(&lines, format!("{role}: {why}"))),
                Some((word, _)) => return Ok(Ending::Failed(format!("{role}: unknown word {word:?}"))),
                None if actor.finished => {}
                None => {
                    let status = actor.child.try_wait()?;
                    let status = status.map_or("closed its output".to_owned(), |status| status.to_string());
                    return Ok(Ending::Failed(format!("{role} ended early: {status}")));
                }
            }
            let all_here = running.values().all(|actor| actor.finished || actor.word.is_some());
            if all_here && running.values().any(|actor| !actor.finished) {
                meetings += 1;
                let start = Instant::now();
                pause(meetings);
                deadline += start.elapsed();
                answer(&mut running)?;
            }
        }
        Ok(Ending::Done)
    }

    fn start(
        &self,
        scenario: &Scenario,
        actor: &Actor,
        lines: mpsc::Sender<(String, Option<String>)>,
    ) -> io::Result<Running> {
        let mut command = Command::new(actor::executable(self.directory, &scenario.id, &actor.role));
        command
            .args(actor::arguments(self.directory, &scenario.id, &actor.role))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0);
        let namespace = actor.place.map(|place| self.lab.namespace(place).as_raw_fd());
        // SAFETY: between fork and exec only two system calls are made, nothing is allocated or locked.
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
        Ok(Running { child, input, word: None, finished: false })
    }
}

/// An actor that ends early makes its peers fail: waits a little for what they say, because a skipped scenario is
/// no failure, and because the first to speak is not always the one that has the cause.
fn first_cause(lines: &mpsc::Receiver<(String, Option<String>)>, mut why: String) -> Ending {
    let deadline = Instant::now() + Duration::from_secs(1);
    while let Ok((role, line)) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        let Some(line) = line else { continue };
        match line.split_once(' ') {
            Some(("skipped", reason)) => return Ending::Skipped(reason.to_owned()),
            Some(("failed", reason)) => why.push_str(&format!("; {role}: {reason}")),
            _ => {}
        }
    }
    Ending::Failed(why)
}

/// Answers everybody who waits with the words of all.
fn answer(running: &mut BTreeMap<String, Running>) -> io::Result<()> {
    let words: BTreeMap<_, _> =
        running.iter_mut().filter_map(|(role, actor)| Some((role.clone(), actor.word.take()?))).collect();
    let line = format!("words {}\n", serde_json::to_string(&words)?);
    for role in words.keys() {
        if let Some(actor) = running.get_mut(role) {
            actor.input.write_all(line.as_bytes())?;
        }
    }
    Ok(())
}

/// Puts the running program into the private directory, once, before anything else happens there: a hard link if
/// the file system allows it, else a copy.
pub fn keep_executable(directory: &Path) -> io::Result<()> {
    let copy = kept_executable(directory);
    match fs::hard_link(fs::read_link("/proc/self/exe")?, &copy) {
        Ok(()) => Ok(()),
        // The target does not exist: nothing can be overwritten, least of all the program that runs.
        Err(_) => fs::copy("/proc/self/exe", &copy).map(drop),
    }
}

/// Gives the program another path.
pub fn give_executable(directory: &Path, path: &Path) -> io::Result<()> {
    fs::hard_link(kept_executable(directory), path)
}

/// SHA-256 of the program that all actors are, hexadecimal.
pub fn digest(directory: &Path) -> io::Result<String> {
    let program = fs::File::open(kept_executable(directory))?;
    Ok(digests::hash(&program, &mut vec![0; 128 * 1024])?.to_hex())
}

fn kept_executable(directory: &Path) -> PathBuf {
    directory.join("bin").join("picosnitch")
}
