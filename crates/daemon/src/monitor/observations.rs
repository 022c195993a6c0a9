//! Sends observations that may name peers to the recorder, and connects it with the sources of names.

use std::{os::fd::AsFd, time::Instant};

use super::state::Monitor;
use crate::{error::MonitorError, messages::ToRecorder, parser::Functions};
use capture::CLibrary;
use identity::FoundLibrary;
use model::{NameObservation, ObservedPayload};

/// Bytes of observations in one message.
const MAX_MESSAGE_BYTES: usize = 32 * 1024;
/// Bytes of one observation in a message, without its payload.
const HEAD_BYTES: usize = 96;
/// Bytes of one address in a message.
const ADDRESS_BYTES: usize = 17;

/// The number of observations that fit into one message.
fn count_fitting(observations: &[NameObservation]) -> usize {
    let mut bytes = 0;
    let fitting = observations.iter().take_while(|observation| {
        bytes += HEAD_BYTES
            + match &observation.payload {
                ObservedPayload::Sent(payload, _) | ObservedPayload::Received(payload, _) => payload.len(),
                ObservedPayload::Resolved(name, addresses) => name.len() + addresses.len() * ADDRESS_BYTES,
            };
        bytes <= MAX_MESSAGE_BYTES
    });
    fitting.count().max(1)
}

impl Monitor {
    /// Sends what the BPF programs have observed.
    pub(super) fn send_observations(&mut self) -> Result<(), MonitorError> {
        let mut observations = match self.capture.take_observations() {
            Ok(observations) => observations,
            // The flows of this drain must not be lost with it.
            Err(error) => {
                let error = model::error_chain(&error);
                let text = format!(
                    "{error}. Connections may lack their domain until that succeeds; it is tried again."
                );
                return self.recorder.report(text);
            }
        };
        while !observations.is_empty() {
            let rest = observations.split_off(count_fitting(&observations));
            let fitting = std::mem::replace(&mut observations, rest);
            self.recorder.send(&ToRecorder::NameObservations(fitting), None)?;
        }
        Ok(())
    }

    /// Sends a new connection to systemd-resolved, and probes the libraries that were found.
    pub(super) fn send_name_sources(&mut self, now: Instant) -> Result<(), MonitorError> {
        if let Some(connection) = self.name_sources.resolved.connect_if_due() {
            self.recorder.send(&ToRecorder::ResolvedConnection, Some(connection))?;
        }
        for (number, library) in self.name_sources.take_found(now) {
            self.attach_to_library(number, &library)?;
        }
        match self.name_sources.take_refusals() {
            Some(refusals) => self.recorder.send_unseen(&self.capture, &refusals),
            None => Ok(()),
        }
    }

    /// Attaches probes to the functions that the parser has found in a library.
    fn attach_to_library(
        &mut self,
        number: u64,
        found: &FoundLibrary<Functions>,
    ) -> Result<(), MonitorError> {
        let library = CLibrary { number, is_ours: found.is_ours, file: found.file.as_fd() };
        match self.capture.attach_resolver_probes(library, &found.content) {
            Ok(()) => Ok(()),
            Err(error) => self.recorder.report(format!(
                "Probes cannot be attached to a C library, so connections to names that programs resolve with it may lack the \
                 domain: {}.",
                model::error_chain(&error)
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ProcessId;

    #[test]
    fn a_message_has_at_least_one_observation_and_no_more_than_its_bytes() {
        let observation = |bytes: usize| NameObservation {
            time: 0,
            process: ProcessId::default(),
            network_namespace: 0,
            uid: 0,
            socket: 0,
            remote: None,
            remote_port: 0,
            protocol: 0,
            payload: ObservedPayload::Sent(vec![0; bytes], 0),
        };
        assert_eq!(count_fitting(&[observation(2 * MAX_MESSAGE_BYTES)]), 1);
        let half = MAX_MESSAGE_BYTES / 2 - HEAD_BYTES;
        assert_eq!(count_fitting(&[observation(half), observation(half), observation(0)]), 2);
    }
}
