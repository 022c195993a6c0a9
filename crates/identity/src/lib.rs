//! Which program is behind a process, who started it, and where it runs.
//!
//! [`Processes`] is kept by the events of the kernel half alone; /proc is read only for the arguments of processes
//! that ran before picosnitch did. [`Cgroups`] turns cgroup ids into paths. [`Executables`] has a descriptor of each
//! executed file, so that the recorder can hash it, and knows which files are still what they were. [`Libraries`] finds the
//! C libraries that they ask for addresses.

mod cgroups;
mod container_names;
pub mod digests;
mod executables;
mod fanotify;
mod known;
mod libraries;
mod mounts;
mod opener;
mod place;
mod processes;
mod watcher;

pub use cgroups::Cgroups;
pub use container_names::ContainerNames;
pub use executables::{Executables, Outgoing};
pub use libraries::Libraries;
pub use opener::OpenAsUser;
pub use place::{CgroupPath, Container, place};
pub use processes::{Ancestry, Process, Processes, Running};
