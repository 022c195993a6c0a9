//! The signals of the monitor: SIGTERM and SIGINT end it, SIGHUP makes it open its logs again and read its
//! configuration anew.

use std::os::fd::RawFd;

use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};

use crate::error::{MonitorError, io_error};

/// Standard input and standard error, which are a terminal in a foreground run.
const TERMINALS: [RawFd; 2] = [0, 2];

/// The action that a received signal requests.
pub(super) enum Request {
    End,
    Reload,
}

/// Receives signals through a descriptor (signalfd(2)).
pub(super) struct Signals {
    /// Readable when a signal has come.
    pub(super) descriptor: SignalFd,
    /// Which of [`TERMINALS`] were terminals at the start.
    terminals: [bool; 2],
}

impl Signals {
    /// Blocks the signals for this thread and those it starts.
    pub(super) fn block() -> Result<Self, MonitorError> {
        let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
        let fail = "signals cannot be received";
        signals.thread_block().map_err(|error| io_error(fail)(error.into()))?;
        let descriptor = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(|error| io_error(fail)(error.into()))?;
        Ok(Self { descriptor, terminals: TERMINALS.map(is_terminal) })
    }

    /// Takes the next signal; `None` if there is none.
    pub(super) fn receive(&self) -> Result<Option<Request>, MonitorError> {
        let signal = self
            .descriptor
            .read_signal()
            .map_err(|error| io_error("signals cannot be received")(error.into()))?;
        Ok(signal.map(|info| {
            let hangup = info.ssi_signo == Signal::SIGHUP as u32;
            // A terminal that is closed sends SIGHUP, and isatty(3) is false for it from then on.
            if hangup && self.terminals == TERMINALS.map(is_terminal) {
                Request::Reload
            } else {
                Request::End
            }
        }))
    }
}

fn is_terminal(descriptor: RawFd) -> bool {
    // SAFETY: isatty(3) takes any number, which need not be that of an open file.
    unsafe { libc::isatty(descriptor) == 1 }
}
