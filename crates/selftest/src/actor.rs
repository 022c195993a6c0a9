//! The entry point of the processes that make the traffic.

use std::{ffi::OsString, process::ExitCode};

use crate::{
    actor_process::{self, ActorError, ActorProcess, ActorResult, write_line},
    lab, netlink,
    traffic::all_scenarios,
};

/// The word after `picosnitch role` that makes a process an actor.
pub const ROLE: &str = actor_process::ROLE;

/// Runs the actor that the arguments after [`ROLE`] name: directory, scenario, role and extra arguments.
pub fn run(arguments: &[OsString]) -> ExitCode {
    let [directory, scenario, role, extra_arguments @ ..] = arguments else {
        eprintln!("picosnitch: only the selftest starts its actors. Run: picosnitch selftest");
        return ExitCode::FAILURE;
    };
    let actor = ActorProcess {
        directory: directory.into(),
        scenario: scenario.to_string_lossy().into_owned(),
        role: role.to_string_lossy().into_owned(),
        extra_arguments: extra_arguments.to_vec(),
    };
    let (line, code) = match run_scenario_part(&actor) {
        Ok(()) => ("done".to_owned(), ExitCode::SUCCESS),
        Err(ActorError::Skipped(why)) => (format!("skipped {why}"), ExitCode::SUCCESS),
        Err(error) => (format!("failed {error}"), ExitCode::FAILURE),
    };
    // The children of an actor share its output, but only the actor itself, which leads its process group, reports its end.
    // SAFETY: neither call has preconditions.
    let is_actor = unsafe { libc::getpid() == libc::getpgrp() };
    if line == "done" && !is_actor {
        return code;
    }
    match write_line(&line) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Runs the function of the actor's role.
fn run_scenario_part(actor: &ActorProcess) -> ActorResult<()> {
    let scenarios = all_scenarios();
    let definition = scenarios
        .iter()
        .filter(|scenario| scenario.id == actor.scenario)
        .flat_map(|scenario| &scenario.actors)
        .find(|definition| definition.role == actor.role)
        .ok_or_else(|| ActorError::Failed(format!("no role {:?} in {:?}", actor.role, actor.scenario)))?;
    // If a user starts an actor by hand, it must not send its traffic to a real network.
    if definition.namespace.is_some() && netlink::interface_index(lab::INTERFACE).is_err() {
        return Err(ActorError::Failed("this is not the selftest's private network".to_owned()));
    }
    (definition.run)(actor)
}
