//! The kernel half and its user-space side: the only crate that knows BPF.
//!
//! [`Capture::start`] probes the kernel's features (`features.rs`), loads the object (`load.rs`) and attaches its hooks
//! (`hooks.rs`). A hook that cannot be attached becomes a [`BlindSpot`]. [`Capture::drain`] returns what happened since
//! the last drain: [`Event`]s of processes and sockets, and the [`FlowDelta`]s of the flow table.

mod abi;
mod capture;
mod drain;
mod drain_state;
mod error;
mod event;
mod event_batch;
mod features;
mod file_probe;
mod flow;
mod flow_array;
mod flow_table;
mod hand_over;
mod hook;
mod hook_id;
mod hooks;
mod instructions;
mod iterators;
mod links;
mod load;
mod losses;
mod machine;
mod observations;
mod open_flows;
mod reconciler;
mod resolver_probes;
pub mod return_probe;
mod ring;
mod unwatched_programs;
mod variables;
mod weight;

pub use abi::MAX_ARGUMENTS_BYTES;
pub use capture::Capture;
pub use drain::{DrainMode, DrainOutput};
pub use error::CaptureError;
pub use event::Event;
pub use features::Features;
pub use file_probe::{FdInfo, FileProbe};
pub use flow::FlowDelta;
pub use hand_over::{HandOver, LeftBehind, TakenOver, left_behind, mount_bpf_file_system, remove_pins};
pub use hook::BlindSpot;
pub use hook_id::HookId;
pub use instructions::{ProgramInstructions, count_instructions};
pub use load::Settings;
pub use machine::check_machine;
pub use open_flows::OpenFlows;
pub use resolver_probes::{CLibrary, ResolverFunction};
pub use unwatched_programs::{UnwatchedProgram, UnwatchedRing};
pub use weight::{Weight, blind_spots_in_short, count_that_matter};
