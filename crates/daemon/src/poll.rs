//! Waiting for descriptors until a point in time.

use std::{
    io,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollTimeout, poll},
};

/// Waits until one of `interests` is ready, or until `until`. Returns whether one is ready.
///
/// # Errors
/// The errors of poll(2). A signal is no error, but ends the wait.
pub(crate) fn poll_until(interests: &mut [PollFd<'_>], until: Option<Instant>) -> io::Result<bool> {
    let timeout = match until {
        // Rounded up: a wait that ends early would be followed by another one at once.
        Some(until) => {
            let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        }
        None => PollTimeout::NONE,
    };
    match poll(interests, timeout) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
