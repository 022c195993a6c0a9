//! The process of an actor: what it knows about its scenario, and its connection to the selftest.
//!
//! It writes lines to the selftest through its standard output and reads lines from its standard input:
//! `barrier VALUE` waits until every actor of the scenario has reached the barrier, and is answered by `values JSON` (an object
//! of role and value); `flow JSON` reports one flow; `done`, `skipped WHY` or `failed WHY` ends the actor.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::{lab::Link, private_directory::actor_executable, system_error::SystemError};

/// The word after `picosnitch role` that makes a process an actor.
pub(crate) const ROLE: &str = "selftest-actor";

/// The reason why an actor ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ActorError {
    /// The kernel lacks something that the scenario needs.
    #[error("{0}")]
    Skipped(String),
    #[error(transparent)]
    System(#[from] SystemError),
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The traffic was not as expected.
    #[error("{0}")]
    Failed(String),
}

pub(crate) type ActorResult<T> = Result<T, ActorError>;

/// The process of an actor.
pub(crate) struct ActorProcess {
    /// The private directory of the selftest.
    pub(crate) directory: PathBuf,
    /// The id of the scenario.
    pub(crate) scenario: String,
    pub(crate) role: String,
    /// Arguments that another actor passed when it started this one.
    pub(crate) extra_arguments: Vec<OsString>,
}

impl ActorProcess {
    /// Waits until every actor of the scenario has reached the barrier. Returns the value that each of them passed, by role.
    pub(crate) fn barrier(&self, value: &str) -> ActorResult<BTreeMap<String, String>> {
        write_line(&format!("barrier {value}"))?;
        let mut line = String::new();
        io::stdin().read_line(&mut line)?;
        let values = line
            .strip_prefix("values ")
            .ok_or_else(|| ActorError::Failed("the selftest closed the connection".to_owned()))?;
        serde_json::from_str(values).map_err(|error| ActorError::Failed(error.to_string()))
    }

    /// Waits at a barrier and returns the port that the actor in `role` passed.
    pub(crate) fn port_of(&self, role: &str) -> ActorResult<u16> {
        port_from(&self.barrier("")?, role)
    }

    /// Waits at a barrier and passes the port of an address to the other actors.
    pub(crate) fn publish_port(&self, address: SocketAddr) -> ActorResult<BTreeMap<String, String>> {
        self.barrier(&address.port().to_string())
    }

    /// Waits at a barrier for the port of the actor in role `server`; returns the address of that server.
    pub(crate) fn server(&self, link: Link) -> ActorResult<SocketAddr> {
        Ok(SocketAddr::new(link.server_address(), self.port_of("server")?))
    }

    /// Returns the executable of another role of this scenario.
    pub(crate) fn executable(&self, role: &str) -> PathBuf {
        actor_executable(&self.directory, &self.scenario, role)
    }

    /// Returns the arguments with which [`Self::executable`] runs the actor in `role`.
    pub(crate) fn arguments(&self, role: &str, extra: &[&OsStr]) -> Vec<OsString> {
        let mut arguments = arguments(&self.directory, &self.scenario, role);
        arguments.extend(extra.iter().map(OsString::from));
        arguments
    }

    /// Returns the number that another actor passed as an extra argument.
    pub(crate) fn number(&self, index: usize) -> ActorResult<i32> {
        self.extra_arguments
            .get(index)
            .and_then(|argument| argument.to_str()?.parse().ok())
            .ok_or_else(|| ActorError::Failed(format!("argument {index} is missing")))
    }
}

/// Returns the port that the actor in `role` passed at a barrier.
pub(crate) fn port_from(values: &BTreeMap<String, String>, role: &str) -> ActorResult<u16> {
    values
        .get(role)
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| ActorError::Failed(format!("the actor {role:?} passed no port")))
}

/// Returns the arguments with which a picosnitch process runs the actor in this role of a scenario.
pub(crate) fn arguments(directory: &Path, scenario: &str, role: &str) -> Vec<OsString> {
    ["role", ROLE]
        .iter()
        .map(OsString::from)
        .chain([directory.into(), scenario.into(), role.into()])
        .collect()
}

/// Writes one line to the selftest.
pub(crate) fn write_line(line: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(format!("{}\n", line.replace('\n', " ")).as_bytes())?;
    output.flush()
}
