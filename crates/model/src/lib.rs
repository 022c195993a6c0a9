//! Plain data that every crate shares, and its conversions to text ([`text`]).
//!
//! Paths, names and command lines are untrusted bytes ([`Bytes`]): other programs chose them, and any byte may occur. They
//! become text for an output in [`text::sanitize`], and text that can be converted back in [`text::lossless`].

mod address;
mod bytes;
mod clock;
mod context;
mod digest;
mod error_chain;
mod event;
mod flow;
mod loss;
mod many;
mod mount;
mod observation;
mod process_event;
mod scope;
pub mod service;
mod shrink;
pub mod text;

pub use address::{Address, AddressError};
pub use bytes::Bytes;
pub use clock::{boot_seconds, boot_time};
pub use context::{CgroupInfo, ProcessContext, ProcessId, Program};
pub use digest::Sha256;
pub use error_chain::error_chain;
pub use event::{Event, EventKind, Writer};
pub use flow::{
    Continuity, Counters, DomainSource, DrainId, Flow, FlowId, FlowTuple, GeoInfo, PORT_EXECUTION, PORT_MANY,
    Port, Record, Window,
};
pub use loss::{Consequence, Loss, LossKind, Losses, add_losses};
pub use many::MANY;
pub use mount::Mount;
pub use observation::{NameObservation, ObservedPayload};
pub use process_event::{FileIdentity, ProcessEvent};
pub use scope::Scope;
pub use shrink::ShrinkAfterBurst;
