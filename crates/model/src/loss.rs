//! Losses: what was not seen, or not stored.

use serde::{Deserialize, Serialize};

/// A kind of loss. Every loss has a count and a sentence, so that silence means that nothing was lost.
///
/// In JSON a kind has its name in snake case (`flow_table_full`); the log stores a number (`docs/schema.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// Process events (exec, fork, exit) that did not fit into the ring buffer.
    ProcessEvents,
    /// Sends, receives and connects that found the kernel's flow table full; their bytes are in no record.
    FlowTableFull,
    /// The bytes of those sends and receives.
    FlowTableBytes,
    /// Closed sockets whose event did not fit into the ring buffer. Their traffic is recorded all the same.
    ReleaseEvents,
    /// Hook calls that the kernel skipped because the same hook was interrupted on that CPU.
    SkippedCalls,
    /// Flows that the monitor could not hand to the recorder.
    Channel,
    /// Records that could not be written to the log.
    Log,
    /// DNS answers and connection handshakes that were not captured; flows may lack their domain.
    Names,
    /// Sockets whose bytes this kernel does not show, for example an `AF_PACKET` ring.
    UncountableSocket,
}

impl LossKind {
    /// Every kind, in the order in which the log's readers list them.
    pub const ALL: [Self; 9] = [
        Self::SkippedCalls,
        Self::ProcessEvents,
        Self::FlowTableFull,
        Self::FlowTableBytes,
        Self::ReleaseEvents,
        Self::Channel,
        Self::Log,
        Self::Names,
        Self::UncountableSocket,
    ];

    /// The kind's name in JSON, for example `flow_table_full`.
    pub fn name(self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(name)) => name,
            _ => String::new(),
        }
    }
}

/// The amount of one kind that was lost in one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The kind of the loss.
    pub kind: LossKind,
    /// Number of events, calls, bytes, flows, records or sockets; `kind` determines the unit.
    pub count: u64,
}

impl Loss {
    /// A sentence for the user: what was lost, and what that means for the log.
    pub fn sentence(&self) -> String {
        let count = self.count;
        match self.kind {
            LossKind::ProcessEvents => format!(
                "{count} process events were lost because the ring buffer was full: traffic may lack the name of its \
                 program. A larger monitor.ring_buffer_pages helps."
            ),
            LossKind::FlowTableFull => format!(
                "{count} sends, receives or connects are in no record because the kernel's flow table was full."
            ),
            LossKind::FlowTableBytes => format!("{count} bytes are in no record because of that."),
            LossKind::ReleaseEvents => format!(
                "{count} closed sockets were noticed late because the ring buffer was full; their traffic is recorded."
            ),
            LossKind::SkippedCalls => format!(
                "{count} events were skipped by the kernel because picosnitch's hook was interrupted on that CPU: a send, \
                 a receive or the name of a program may be missing."
            ),
            LossKind::Channel => format!("{count} flows are in no record because the recorder was too slow."),
            LossKind::Log => format!("{count} records could not be written to the log and are lost."),
            LossKind::Names => format!(
                "{count} DNS answers or connection handshakes came too fast: connections may lack their domain."
            ),
            LossKind::UncountableSocket => {
                format!("{count} sockets moved bytes that this kernel does not show; they are in no record.")
            }
        }
    }
}
