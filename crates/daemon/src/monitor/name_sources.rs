//! The sources of names for peers besides the BPF programs: C libraries, which are probed, and systemd-resolved.

use std::{collections::VecDeque, fs::File, io, os::fd::OwnedFd, time::Instant};

use super::resolved_connector::ResolvedConnector;
use identity::CLibraries;
use model::ProcessEvent;

/// Libraries that wait for the recorder to find their functions.
const MAX_LIBRARIES: usize = 64;

/// A C library on its way to the recorder and back.
pub(super) struct PendingLibrary {
    id: u64,
    /// Whether the process that uses it shares the mount namespace of the monitor.
    pub(super) is_ours: bool,
    pub(super) file: File,
}

/// Finds the C libraries that processes use, and connects to systemd-resolved.
pub(super) struct NameSources {
    /// `None` where probes in C libraries do not work.
    libraries: Option<CLibraries>,
    /// Libraries whose functions the recorder looks up.
    pending: VecDeque<PendingLibrary>,
    next_id: u64,
    pub(super) resolved: ResolvedConnector,
}

impl NameSources {
    /// Starts to look for libraries if `probes_work`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(probes_work: bool) -> io::Result<Self> {
        let libraries = probes_work.then(CLibraries::start).transpose()?;
        Ok(Self { libraries, pending: VecDeque::new(), next_id: 0, resolved: ResolvedConnector::default() })
    }

    /// Looks for the libraries of a process that was executed.
    pub(super) fn add_process(&mut self, event: &ProcessEvent, now: Instant) {
        if let Some(libraries) = &mut self.libraries {
            libraries.add_program(event, now);
        }
    }

    /// Returns the libraries that were found since the last call, each with a new id and a descriptor for the recorder.
    pub(super) fn take_found(&mut self, now: Instant) -> Vec<(u64, OwnedFd)> {
        let files = self.libraries.as_mut().map(|libraries| libraries.take_found(now)).unwrap_or_default();
        let mut found = Vec::new();
        for (file, is_ours) in files {
            let Ok(copy) = file.try_clone() else { continue };
            let id = self.next_id;
            self.next_id += 1;
            found.push((id, copy.into()));
            self.pending.push_back(PendingLibrary { id, is_ours, file });
            if self.pending.len() > MAX_LIBRARIES {
                self.pending.pop_front();
            }
        }
        found
    }

    /// Takes the library of an id that [`NameSources::take_found`] returned.
    pub(super) fn take_pending(&mut self, id: u64) -> Option<PendingLibrary> {
        let at = self.pending.iter().position(|library| library.id == id)?;
        self.pending.remove(at)
    }
}
