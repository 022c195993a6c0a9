//! The signals of the monitor: SIGTERM, SIGINT and SIGUSR2 end it, SIGHUP makes it open its logs again and read its
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
    /// SIGINT, or a terminal that is closed.
    End,
    /// SIGTERM: ends, and leaves the hooks to the next run if that is wanted.
    Terminate,
    /// SIGUSR2: ends because the next run follows at once.
    Restart,
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
        let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR2]);
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
            match Signal::try_from(info.ssi_signo.cast_signed()) {
                Ok(Signal::SIGTERM) => Request::Terminate,
                Ok(Signal::SIGUSR2) => Request::Restart,
                // A terminal that is closed sends SIGHUP, and isatty(3) is false for it from then on.
                Ok(Signal::SIGHUP) if self.terminals == TERMINALS.map(is_terminal) => Request::Reload,
                _ => Request::End,
            }
        }))
    }
}

fn is_terminal(descriptor: RawFd) -> bool {
    // SAFETY: isatty(3) takes any number, which need not be that of an open file.
    unsafe { libc::isatty(descriptor) == 1 }
}
