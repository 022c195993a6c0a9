//! Lists of open sockets for the recorder, while a client of the live socket wants to see connections.

use std::time::{Duration, Instant};

use super::state::Monitor;
use crate::{error::MonitorError, messages::ToRecorder};
use live::connections::ListKind;

/// Time between two lists of sockets that have moved nothing: for each the open files of all processes are read.
const QUIET_PAUSE: Duration = Duration::from_secs(3);

/// Which lists are due.
pub(super) struct OpenSocketLists {
    /// Whether the recorder needs the list of connections that have moved something: it gets that one once.
    busy: bool,
    /// When the sockets that have moved nothing are listed next.
    quiet_at: Instant,
}

impl OpenSocketLists {
    pub(super) fn new() -> Self {
        Self { busy: true, quiet_at: Instant::now() }
    }
}

impl Monitor {
    /// At the end of a drain, lists open sockets if that is due and the recorder keeps up.
    pub(super) fn send_open_sockets(&mut self, now: Instant) -> Result<(), MonitorError> {
        let Some(lists) = &mut self.open_sockets else { return Ok(()) };
        if now >= lists.quiet_at && self.recorder.free_messages() > 0 {
            lists.quiet_at = now + QUIET_PAUSE;
            let busy = std::mem::take(&mut lists.busy);
            match self.capture.open_flows() {
                Ok(open) => {
                    if busy {
                        self.send_flows(&open.flows, ToRecorder::OpenSockets)?;
                        self.recorder.send(&ToRecorder::OpenSocketsEnd(ListKind::ActiveFlows), None)?;
                    }
                    self.send_flows(&open.idle, ToRecorder::OpenSockets)?;
                    self.recorder.send(&ToRecorder::OpenSocketsEnd(ListKind::IdleSockets), None)?;
                }
                Err(error) => self.recorder.report(model::error_chain(&error))?,
            }
        }
        self.recorder.send(&ToRecorder::DrainEnd, None)
    }
}
