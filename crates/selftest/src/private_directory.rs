//! The private directory of the selftest, and the executables of the actors in it.
//!
//! Each actor runs picosnitch under a path of its own, so that the log tells the actors apart.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use identity::digests;

/// The directory (mode 0711: the user that writes the log passes through it), which is removed when this is dropped.
pub(crate) struct PrivateDirectory {
    path: PathBuf,
    /// The user wants to keep the directory.
    is_kept: bool,
}

impl PrivateDirectory {
    /// Makes the directory in `parent` (by default `/var/tmp`), with a copy of the running executable in it.
    pub(crate) fn new(parent: Option<&Path>, is_kept: bool) -> io::Result<Self> {
        let parent = parent.unwrap_or(Path::new("/var/tmp"));
        let path = nix::unistd::mkdtemp(&parent.join("picosnitch-selftest.XXXXXX"))?;
        // From here on the directory is removed if a step fails.
        let directory = Self { path, is_kept };
        fs::set_permissions(&directory.path, fs::Permissions::from_mode(0o711))?;
        fs::create_dir(directory.path.join("bin"))?;
        copy_running_executable(&directory.path)?;
        Ok(directory)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        if self.is_kept {
            eprintln!("picosnitch: the selftest's files are in {}", self.path.display());
        } else if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("picosnitch: cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Puts the running executable into the directory: a hard link if the file system allows it, else a copy.
fn copy_running_executable(directory: &Path) -> io::Result<()> {
    let copy = executable_copy(directory);
    match fs::hard_link(fs::read_link("/proc/self/exe")?, &copy) {
        Ok(()) => Ok(()),
        // The target does not exist, so that nothing is overwritten.
        Err(_) => fs::copy("/proc/self/exe", &copy).map(drop),
    }
}

/// Links the executable to another path.
pub(crate) fn link_executable(directory: &Path, path: &Path) -> io::Result<()> {
    fs::hard_link(executable_copy(directory), path)
}

/// Returns the SHA-256 of the executable of all actors, hexadecimal.
pub(crate) fn executable_sha256(directory: &Path) -> io::Result<String> {
    let executable = fs::File::open(executable_copy(directory))?;
    Ok(digests::hash(&executable, &mut vec![0; 128 * 1024])?.to_hex())
}

/// Returns the path under which the actor in this role of a scenario runs.
pub(crate) fn actor_executable(directory: &Path, scenario: &str, role: &str) -> PathBuf {
    directory.join("bin").join(format!("{scenario}-{role}"))
}

fn executable_copy(directory: &Path) -> PathBuf {
    directory.join("bin").join("picosnitch")
}
