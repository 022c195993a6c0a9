//! The kernel half seen from user space: the only room that knows BPF.
//!
//! [`Capture::start`] finds out what this kernel has ([`features`]), loads the object and attaches what it can
//! ([`load`]); whatever could not be attached is a [`BlindSpot`] with a sentence. [`Capture::drain`] brings what
//! happened since the last drain: [`Event`]s of processes and sockets, and the [`FlowDelta`]s of the flow table.

mod abi;
mod drain;
mod drain_state;
mod event;
mod event_batch;
mod features;
mod file_probe;
mod flow;
mod flow_array;
mod flow_table;
mod hooks;
mod instructions;
mod load;
mod losses;
mod observations;
mod open_flows;
mod reconciler;
mod resolver_probes;
pub mod return_probe;
mod ring;
mod unwatched_programs;

pub use abi::FlowKey;
pub use drain::{DrainMode, DrainOutput};
pub use event::{Event, join_arguments};
pub use features::Features;
pub use file_probe::{FdInfo, FileProbe};
pub use flow::FlowDelta;
pub use hooks::BlindSpot;
pub use instructions::instructions;
pub use load::{Capture, Settings};
pub use open_flows::OpenFlows;
pub use resolver_probes::ResolverFunction;
pub use unwatched_programs::{UnwatchedProgram, UnwatchedRing};

/// Why the kernel half cannot work at all.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The caller lacks the rights.
    #[error("picosnitch has to run as root to load BPF programs: run `sudo {0}`")]
    NotRoot(String),
    /// The kernel was built without type information.
    #[error(
        "this kernel has no BTF (/sys/kernel/btf/vmlinux): nothing can be recorded. A kernel of version 5.10 or \
         later built with CONFIG_DEBUG_INFO_BTF=y is needed; those of all large distributions are"
    )]
    NoBtf,
    /// A hook without which there is nothing to record.
    #[error("{what} cannot be watched on this kernel, so nothing can be recorded: {why}")]
    Essential {
        /// What stays unseen.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// libbpf refused.
    #[error("{what}")]
    Bpf {
        /// What was tried.
        what: String,
        /// libbpf's error.
        #[source]
        source: libbpf_rs::Error,
    },
    /// A system call failed.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

impl CaptureError {
    fn bpf(what: impl Into<String>) -> impl FnOnce(libbpf_rs::Error) -> Self {
        let what = what.into();
        move |source| Self::Bpf { what, source }
    }

    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
