//! An actor: a process of its own that makes known traffic and says what it truly moved.
//!
//! It talks with the selftest through its standard input and output, one line at a time:
//! `meet WORD` waits until every actor of the scenario has met and is answered by `words JSON` (role -> word);
//! `flow JSON` says what one socket moved with one peer; `done`, `skipped WHY` or `failed WHY` ends it.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::{lab::Link, scenario, socket::SystemError};

/// The first word after `picosnitch role` that makes the process an actor.
pub const ROLE: &str = "selftest-actor";

/// Why an actor ended early.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// This kernel cannot do what the scenario asks for.
    #[error("{0}")]
    Skipped(String),
    /// A call failed that should not.
    #[error(transparent)]
    System(#[from] SystemError),
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Something else went wrong.
    #[error("{0}")]
    Failed(String),
}

/// The result of an actor's work.
pub type Outcome<T> = Result<T, Stop>;

/// Makes the answers with which a kernel says that it lacks something a reason to skip.
pub trait OrSkip<T> {
    /// Skips the scenario when the kernel does not have `what`; other errors stay errors.
    fn or_skip(self, what: &str) -> Outcome<T>;
}

impl<T> OrSkip<T> for Result<T, SystemError> {
    fn or_skip(self, what: &str) -> Outcome<T> {
        self.map_err(|error| match error.source.raw_os_error() {
            Some(
                libc::EAFNOSUPPORT
                | libc::EPROTONOSUPPORT
                | libc::ESOCKTNOSUPPORT
                | libc::ENOPROTOOPT
                | libc::EOPNOTSUPP
                | libc::ENOSYS
                | libc::ENOENT
                | libc::EADDRNOTAVAIL,
            ) => Stop::Skipped(format!("this kernel has no {what} ({error})")),
            _ => Stop::System(error),
        })
    }
}

/// What an actor knows about the scenario it plays in.
pub struct Stage {
    /// The selftest's private directory.
    pub directory: PathBuf,
    /// The scenario.
    pub scenario: String,
    /// The role that this process plays.
    pub role: String,
    /// What another actor told this one on the command line.
    pub words: Vec<OsString>,
}

impl Stage {
    /// Waits until every actor of the scenario is here too; returns the word that each of them brought.
    pub fn meet(&self, word: &str) -> Outcome<BTreeMap<String, String>> {
        say(&format!("meet {word}"))?;
        let mut line = String::new();
        io::stdin().read_line(&mut line)?;
        let words = line
            .strip_prefix("words ")
            .ok_or_else(|| Stop::Failed("the selftest closed the connection".to_owned()))?;
        serde_json::from_str(words).map_err(|error| Stop::Failed(error.to_string()))
    }

    /// Waits for the others and returns the port that the actor in `role` brought.
    pub fn port_of(&self, role: &str) -> Outcome<u16> {
        port_in(&self.meet("")?, role)
    }

    /// Tells the others the local port of an address and waits for them.
    pub fn offer(&self, address: SocketAddr) -> Outcome<BTreeMap<String, String>> {
        self.meet(&address.port().to_string())
    }

    /// Where the server of a link listens, once the actor in role `server` has offered its port.
    pub fn server(&self, link: Link) -> Outcome<SocketAddr> {
        Ok(SocketAddr::new(link.server_address(), self.port_of("server")?))
    }

    /// The executable of another role of this scenario.
    pub fn executable(&self, role: &str) -> PathBuf {
        executable(&self.directory, &self.scenario, role)
    }

    /// The arguments that make a process of [`Self::executable`] play `role`.
    pub fn arguments(&self, role: &str, words: &[&OsStr]) -> Vec<OsString> {
        let mut arguments = arguments(&self.directory, &self.scenario, role);
        arguments.extend(words.iter().map(OsString::from));
        arguments
    }

    /// The number that another actor gave on the command line.
    pub fn number(&self, index: usize) -> Outcome<i32> {
        self.words
            .get(index)
            .and_then(|word| word.to_str()?.parse().ok())
            .ok_or_else(|| Stop::Failed(format!("word {index} is missing")))
    }
}

/// The port that the actor in `role` brought to a meeting.
pub fn port_in(words: &BTreeMap<String, String>, role: &str) -> Outcome<u16> {
    words
        .get(role)
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| Stop::Failed(format!("the actor {role:?} gave no port")))
}

/// The executable that one role of a scenario runs: every actor has a path of its own.
pub fn executable(directory: &Path, scenario: &str, role: &str) -> PathBuf {
    directory.join("bin").join(format!("{scenario}-{role}"))
}

/// The arguments that make a picosnitch process play a role.
pub fn arguments(directory: &Path, scenario: &str, role: &str) -> Vec<OsString> {
    ["role", ROLE]
        .iter()
        .map(OsString::from)
        .chain([directory.into(), scenario.into(), role.into()])
        .collect()
}

/// Plays the role that the arguments after `selftest-actor` name: directory, scenario, role, words.
pub fn run(arguments: &[OsString]) -> ExitCode {
    let [directory, scenario, role, words @ ..] = arguments else {
        eprintln!("picosnitch: an actor of the selftest is started by the selftest only");
        return ExitCode::FAILURE;
    };
    let stage = Stage {
        directory: directory.into(),
        scenario: scenario.to_string_lossy().into_owned(),
        role: role.to_string_lossy().into_owned(),
        words: words.to_vec(),
    };
    let (line, code) = match scenario::play(&stage) {
        Ok(()) => ("done".to_owned(), ExitCode::SUCCESS),
        Err(Stop::Skipped(why)) => (format!("skipped {why}"), ExitCode::SUCCESS),
        Err(error) => (format!("failed {error}"), ExitCode::FAILURE),
    };
    // The children of an actor share its output, but only the actor itself, which leads the process group, is done.
    // SAFETY: neither call has preconditions.
    let is_actor = unsafe { libc::getpid() == libc::getpgrp() };
    if line == "done" && !is_actor {
        return code;
    }
    match say(&line) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Writes one line to the selftest.
pub fn say(line: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(format!("{}\n", line.replace('\n', " ")).as_bytes())?;
    output.flush()
}
