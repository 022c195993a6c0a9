//! The resource limits of the monitor.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::error::{MonitorError, io_error};

/// Sets the limit of open descriptors to the configured one, or to the hard limit. Each executable that waits to be
/// hashed holds a descriptor.
pub(super) fn raise_descriptor_limit(configured: Option<u64>) -> Result<(), MonitorError> {
    let fail = "the limit of open descriptors (monitor.rlimit_nofile) cannot be set";
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| io_error(fail)(error.into()))?;
    let limit = configured.unwrap_or(hard);
    setrlimit(Resource::RLIMIT_NOFILE, limit, hard.max(limit)).map_err(|error| io_error(fail)(error.into()))
}
