//! One connection to the recorder.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use serde::{Deserialize, Serialize};

use crate::{
    messages::{FromExporter, ToExporter, VERSION},
    workers::Workers,
};
use ipc::{Channel, Received};
use virustotal::LookupRequest;

/// The longest wait, milliseconds: the status has seconds.
const MAX_WAIT: u16 = 30_000;
/// Questions that are taken before the threads have their turn.
const MAX_QUESTIONS: usize = 64;

/// A message that never comes: the monitor only closes its channel.
#[derive(Serialize, Deserialize)]
enum Never {}

/// Why a session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The recorder is gone, or cannot take messages: connect again.
    RecorderGone,
    /// The monitor is gone.
    MonitorGone,
}

/// Whether the monitor, which started this process, is gone.
pub(crate) fn is_gone(monitor: &mut Option<Channel>) -> bool {
    monitor.as_mut().is_some_and(|monitor| !matches!(monitor.receive::<Never>(), Ok(Received::Nothing)))
}

/// Serves the recorder until one of the others is gone. `problems`: sentences that the user should know first.
pub(crate) fn serve(
    recorder: OwnedFd,
    monitor: &mut Option<Channel>,
    workers: &mut Workers,
    problems: &[String],
) -> io::Result<Ended> {
    let mut recorder = Channel::new(recorder);
    let mut waiting = VecDeque::from([FromExporter::Hello {
        version: VERSION.to_owned(),
        virustotal: workers.virustotal.is_some(),
        reverse_dns: workers.reverse.is_some(),
    }]);
    waiting.extend(problems.iter().map(|text| FromExporter::Problem(text.clone())));
    workers.tell_status();
    loop {
        waiting.extend(workers.take_news());
        while let Some(message) = waiting.pop_front() {
            // A recorder that takes nothing has all its questions answered again later.
            if !matches!(recorder.send(&Channel::encode(&message)?, None), Ok(true)) {
                waiting.push_front(message);
                workers.give_back(waiting);
                return Ok(Ended::RecorderGone);
            }
        }
        wait(&recorder, monitor.as_ref(), workers)?;
        if is_gone(monitor) {
            return Ok(Ended::MonitorGone);
        }
        for _ in 0..MAX_QUESTIONS {
            match recorder.receive::<ToExporter>() {
                Ok(Received::Message(ToExporter::LookUp { digest, is_uploaded }, file)) => {
                    workers.look_up(LookupRequest { digest, file: file.map(File::from), is_uploaded });
                }
                Ok(Received::Message(ToExporter::Reverse(address), _)) => {
                    if let Some(reverse) = &workers.reverse {
                        reverse.ask(address);
                    }
                }
                Ok(Received::Message(ToExporter::Positions(positions), _)) => {
                    workers.set_positions(positions);
                }
                Ok(Received::Nothing) => break,
                Ok(Received::Closed) | Err(_) => return Ok(Ended::RecorderGone),
            }
        }
    }
}

fn wait(recorder: &Channel, monitor: Option<&Channel>, workers: &Workers) -> io::Result<()> {
    let mut descriptors = vec![recorder.as_fd()];
    descriptors.extend(monitor.map(AsFd::as_fd));
    descriptors.extend(workers.virustotal.as_ref().map(AsFd::as_fd));
    descriptors.extend(workers.reverse.as_ref().map(AsFd::as_fd));
    descriptors.extend(workers.sinks.as_ref().map(AsFd::as_fd));
    let mut interests: Vec<PollFd> =
        descriptors.into_iter().map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN)).collect();
    match poll(&mut interests, PollTimeout::from(MAX_WAIT)) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
