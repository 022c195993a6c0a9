//! A restart is not a gap: what one run of the monitor leaves for the next one. The hooks go on counting in between, because
//! their links and maps are pinned (`pins.rs`), and the journal (`journal.rs`) says how much of what they have counted is recorded.

mod change;
mod journal;
mod open_sockets;
mod pins;
mod state;

pub(crate) use change::{Change, ReconcilerState, SavedSocket};
pub(crate) use pins::{Pins, pin_maps};
pub use pins::{mount_bpf_file_system, remove_pins};
pub(crate) use state::HandOverState;
pub use state::{LeftBehind, left_behind};

use std::path::PathBuf;

/// Where a run leaves what the next one takes over.
#[derive(Clone, Debug)]
pub struct HandOver {
    /// A directory in a BPF file system, which is made.
    pub pins: PathBuf,
    /// A directory for the journal, on a file system in memory, which is made.
    pub journal: PathBuf,
}

/// What was taken over from the run before.
#[derive(Debug, Default)]
pub struct TakenOver {
    /// Its hooks have counted until now; else only sockets that are still open tell what they moved.
    pub has_hooks: bool,
    /// What that run said about its processes with flows.
    pub processes: Vec<Vec<u8>>,
    /// Bytes, sent and received, of connections that have ended and that the log does not have.
    pub lost_bytes: u64,
    /// Why it is not known what that run has recorded, if it is not: then nothing is recorded of what was counted until now.
    pub problem: Option<String>,
}
