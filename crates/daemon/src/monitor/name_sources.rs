//! The sources of names for peers besides the BPF programs: C libraries, which are probed, and systemd-resolved.

use std::{fs::File, io, time::Instant};

use super::resolved_connector::ResolvedConnector;
use crate::parser::{self, Functions};
use identity::{CLibraries, FoundLibrary, LibraryRefusal};
use model::ProcessEvent;

/// Finds the C libraries that processes use, and connects to systemd-resolved.
pub(super) struct NameSources {
    /// `None` where probes in C libraries do not work.
    libraries: Option<CLibraries<Functions>>,
    next_number: u64,
    /// The number of refusals that the recorder was told.
    told_refusals: usize,
    pub(super) resolved: ResolvedConnector,
}

impl NameSources {
    /// Starts to look for libraries if `probes_work`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(probes_work: bool) -> io::Result<Self> {
        let libraries = probes_work.then(|| CLibraries::start(look_into)).transpose()?;
        Ok(Self { libraries, next_number: 0, told_refusals: 0, resolved: ResolvedConnector::default() })
    }

    /// Looks for the libraries of a process that was executed.
    pub(super) fn add_process(&mut self, event: &ProcessEvent, now: Instant) {
        if let Some(libraries) = &mut self.libraries {
            libraries.add_program(event, now);
        }
    }

    /// Returns the libraries that were found since the last call, each with a new number.
    pub(super) fn take_found(&mut self, now: Instant) -> Vec<(u64, FoundLibrary<Functions>)> {
        let found = self.libraries.as_mut().map(|libraries| libraries.take_found(now)).unwrap_or_default();
        let first = self.next_number;
        self.next_number += found.len() as u64;
        (first..).zip(found).collect()
    }

    /// The reasons why libraries are not probed, if there is a new one since the last call.
    pub(super) fn take_refusals(&mut self) -> Option<Vec<LibraryRefusal>> {
        let refusals = self.libraries.as_ref()?.refusals();
        if refusals.len() == std::mem::replace(&mut self.told_refusals, refusals.len()) {
            return None;
        }
        let mut refusals: Vec<LibraryRefusal> = refusals.iter().copied().collect();
        refusals.sort_unstable();
        Some(refusals)
    }
}

/// The functions of a library; `None` if there are none.
fn look_into(library: &File) -> io::Result<Option<Functions>> {
    parser::functions_of(library).map(|functions| Some(functions).filter(|functions| !functions.is_empty()))
}
