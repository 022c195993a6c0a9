//! Which program is behind a process, who started it, and where it runs.
//!
//! [`Processes`] is kept by the events of the kernel half alone; /proc is read only for the arguments of processes
//! that ran before picosnitch did. [`Cgroups`] turns cgroup ids into paths, [`executable`] opens executables so that
//! the recorder can hash them.

mod cgroups;
pub mod executable;
mod processes;

pub use cgroups::Cgroups;
pub use processes::{Ancestry, Process, Processes, Running};
