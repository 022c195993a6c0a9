//! What a sink tells of itself.

use serde::{Deserialize, Serialize};
use store::{LogName, WindowMark, WindowPosition};

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

/// A place in the log, as it is kept for a receiver that cannot be asked what it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkPosition {
    /// UUID of the log, hexadecimal digits.
    pub log: String,
    /// Its epoch.
    pub epoch: i64,
    /// The number of the last window before the place; 0 if there is none.
    pub window: i64,
    /// The rest of its mark ([`WindowMark`]).
    pub time: i64,
    /// See [`WindowMark`].
    pub uptime: i64,
    /// See [`WindowMark`].
    pub first_sequence: i64,
    /// See [`WindowMark`].
    pub nonce: Option<i64>,
}

impl SinkPosition {
    /// The position in a form that can be kept.
    pub fn of(position: &WindowPosition) -> Self {
        let WindowPosition { log: LogName { uuid, epoch }, mark } = position;
        Self {
            log: hex::encode(uuid),
            epoch: *epoch,
            window: mark.number,
            time: mark.time,
            uptime: mark.uptime,
            first_sequence: mark.first_sequence,
            nonce: mark.nonce,
        }
    }

    /// The position for the log. One that was kept with a wrong UUID is that of no log.
    pub fn to_window(&self) -> WindowPosition {
        let mut uuid = [0; 16];
        let _ = hex::decode_to_slice(&self.log, &mut uuid);
        let Self { log: _, epoch, window: number, time, uptime, first_sequence, nonce } = *self;
        let mark = WindowMark { number, time, uptime, first_sequence, nonce };
        WindowPosition { log: LogName { uuid, epoch }, mark }
    }
}

/// What a sink tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SinkNews {
    /// Its state has changed.
    Status(SinkStatus),
    /// A sentence about a problem that it did not have before.
    Problem(String),
    /// The sink of this name has taken all up to a position, which it needs at its next start.
    Position(String, SinkPosition),
    /// This was deleted before it was sent: a sentence, and the numbers.
    Deleted(String, Unsent),
}
