//! What the monitor keeps to hear the names that processes ask for.

use std::{collections::VecDeque, fs::File, io, os::fd::OwnedFd, time::Instant};

use crate::resolved::Connecting;
use identity::CLibraries;
use model::{NameObservation, ObservedPayload, ProcessEvent};

/// CLibraries that wait for the recorder to find their functions.
const MAX_LIBRARIES: usize = 64;
/// Bytes of what was heard in one message.
const MAX_BYTES: usize = 32 * 1024;
/// Of one thing that was heard, besides what was said.
const HEAD_BYTES: usize = 96;

/// C libraries on their way from being found to being listened to.
pub struct Listening {
    /// `None` where they cannot be listened to.
    libraries: Option<CLibraries>,
    /// CLibraries whose functions the recorder looks for.
    found: VecDeque<(u64, bool, File)>,
    next: u64,
    pub resolved: Connecting,
}

impl Listening {
    /// Begins to look for libraries, unless that is of no use.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(wanted: bool) -> io::Result<Self> {
        let libraries = wanted.then(CLibraries::start).transpose()?;
        Ok(Self { libraries, found: VecDeque::new(), next: 0, resolved: Connecting::default() })
    }

    /// A process runs this program.
    pub fn runs(&mut self, event: &ProcessEvent, now: Instant) {
        if let Some(libraries) = &mut self.libraries {
            libraries.add_program(event, now);
        }
    }

    /// CLibraries that were found since the last call, each with a number of its own and a descriptor to give away.
    pub fn found(&mut self, now: Instant) -> Vec<(u64, OwnedFd)> {
        let files = self.libraries.as_mut().map(|libraries| libraries.take_found(now)).unwrap_or_default();
        let mut found = Vec::new();
        for (file, is_ours) in files {
            let Ok(copy) = file.try_clone() else { continue };
            found.push((self.next, copy.into()));
            self.found.push_back((self.next, is_ours, file));
            self.next += 1;
            if self.found.len() > MAX_LIBRARIES {
                self.found.pop_front();
            }
        }
        found
    }

    /// The library of a number that [`Listening::found`] gave out, and whether the host uses it.
    pub fn take(&mut self, number: u64) -> Option<(bool, File)> {
        let at = self.found.iter().position(|(of, ..)| *of == number)?;
        self.found.remove(at).map(|(_, is_ours, file)| (is_ours, file))
    }

    /// How many of these fit into one message.
    pub fn fitting(heard: &[NameObservation]) -> usize {
        let mut bytes = 0;
        let fit = heard.iter().take_while(|heard| {
            bytes += HEAD_BYTES
                + match &heard.payload {
                    ObservedPayload::Sent(said, _) | ObservedPayload::Received(said, _) => said.len(),
                    ObservedPayload::Resolved(name, addresses) => name.len() + addresses.len() * 17,
                };
            bytes <= MAX_BYTES
        });
        fit.count().max(1)
    }
}
