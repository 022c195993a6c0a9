//! What a sink tells of itself.

use serde::{Deserialize, Serialize};

/// The state of the copy on one server. Counts are since the process started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkStatus {
    /// The section of the configuration, for example `log.server`.
    pub name: String,
    /// The server, for example `PostgreSQL at db.example:5432`.
    pub server: String,
    /// The server was asked what it has, and nothing failed since.
    pub is_connected: bool,
    /// Windows that were sent.
    pub sent_windows: u64,
    /// Records that were sent.
    pub sent_records: u64,
    /// The number of the last window that the server has; 0 if it has none, or is not known.
    pub last_window: i64,
    /// Windows that the server lacks; `None` if that is not known.
    pub lag_windows: Option<u64>,
    /// End of the oldest window that the server lacks, unix seconds UTC; `None` if it lacks none, or that is not known.
    pub lacks_since: Option<i64>,
    /// Windows and records that were deleted before they were sent.
    pub unsent: Unsent,
    /// What is wrong, and what to do; `None` if nothing is.
    pub problem: Option<String>,
}

/// What was deleted from the log before it was sent, and so is in no copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsent {
    /// Whole windows.
    pub windows: u64,
    /// Records of windows of which only the sums are left.
    pub records: u64,
}

/// What a sink tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SinkNews {
    /// Its state has changed.
    Status(SinkStatus),
    /// A sentence about a problem that it did not have before.
    Problem(String),
    /// This was deleted before it was sent: a sentence, and the numbers.
    Deleted(String, Unsent),
}
