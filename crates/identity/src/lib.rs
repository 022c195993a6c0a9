//! Finds the program of a process, the programs that started it, and the cgroup that it runs in.
//!
//! [`Processes`] is kept by the events of the kernel half alone; /proc is read only for the arguments of processes that
//! ran before the start. [`CgroupPaths`] turns cgroup ids into paths, and [`CgroupPath`] into units, containers and
//! applications. [`Executables`] has a descriptor of each executed file, so that the recorder can hash it, and knows which
//! files are unchanged. [`CLibraries`] finds the C libraries that programs resolve names with.

mod app_image_files;
mod app_image_mount;
mod app_images;
mod c_libraries;
mod cgroup_path;
mod cgroup_paths;
mod container_names;
pub mod digests;
mod executable_messages;
mod executable_opener;
mod executable_watcher;
mod executables;
mod fanotify;
mod file_writers;
mod hash_cache;
mod library_trust;
mod mounts;
mod processes;
mod running_program;
mod saved_processes;

pub use app_images::AppImages;
pub use c_libraries::{CLibraries, FoundLibrary};
pub use cgroup_path::{CgroupPath, Container};
pub use cgroup_paths::CgroupPaths;
pub use container_names::ContainerNames;
pub use executable_opener::OpenAsUser;
pub use executables::{ExecutableUpdate, Executables};
pub use library_trust::LibraryRefusal;
pub use processes::{Ancestry, Processes};
pub use running_program::RunningProgram;
