//! What the daemon says of itself, asked once for all who want to know it at the same time.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use live::{SOCKET_NAME, client::LiveClient, protocol::HelloLine};
use tokio::sync::Mutex;

use crate::error::with_sources;

/// How long an answer is good.
const KEPT_FOR: Duration = Duration::from_secs(1);

/// The status of the daemon, or why there is none.
pub(crate) type Status = Result<HelloLine, String>;

/// Asks the daemon at its live socket.
pub(crate) struct DaemonStatus {
    socket: PathBuf,
    asked: Mutex<Option<(Instant, Status)>>,
}

impl DaemonStatus {
    pub fn new(run_directory: &Path) -> Self {
        Self { socket: run_directory.join(SOCKET_NAME), asked: Mutex::default() }
    }

    /// The status. A daemon that does not answer is waited for by one thread, some seconds long.
    pub async fn now(&self) -> Status {
        let mut asked = self.asked.lock().await;
        if let Some((time, status)) = &*asked
            && time.elapsed() < KEPT_FOR
        {
            return status.clone();
        }
        let socket = self.socket.clone();
        let ask = move || LiveClient::connect(&socket).map(|client| client.status().clone());
        let status = match tokio::task::spawn_blocking(ask).await {
            Ok(status) => status.map_err(|error| with_sources(&error)),
            Err(error) => Err(error.to_string()),
        };
        *asked = Some((Instant::now(), status.clone()));
        status
    }
}
