//! How long a receiver is waited for.

use std::{future::Future, time::Duration};

use tokio::time::timeout;

use crate::error::ForwardError;

/// The longest wait for one step of a receiver.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// Waits for a step, but not longer than [`TIMEOUT`].
pub(crate) async fn in_time<T>(
    address: &str,
    step: impl Future<Output = Result<T, ForwardError>>,
) -> Result<T, ForwardError> {
    match timeout(TIMEOUT, step).await {
        Ok(result) => result,
        Err(_) => Err(ForwardError::Timeout(address.to_owned(), TIMEOUT.as_secs())),
    }
}
