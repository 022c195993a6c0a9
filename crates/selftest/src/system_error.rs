//! The error of a system call that failed.

use std::io;

/// A system call that failed.
#[derive(Debug, thiserror::Error)]
#[error("{call}: {source}")]
pub struct SystemError {
    /// The name of the call, as in its man page.
    pub call: &'static str,
    /// The error that the kernel returned.
    pub source: io::Error,
}

impl SystemError {
    /// Makes an error from `errno`.
    pub(crate) fn last(call: &'static str) -> Self {
        Self { call, source: io::Error::last_os_error() }
    }

    /// Whether the kernel returned this `errno`.
    pub(crate) fn is(&self, errno: i32) -> bool {
        self.source.raw_os_error() == Some(errno)
    }
}

/// Turns the return value of a system call into a count, or into the error in `errno` if it is negative.
pub(crate) fn check(call: &'static str, returned: isize) -> Result<usize, SystemError> {
    usize::try_from(returned).map_err(|_| SystemError::last(call))
}
