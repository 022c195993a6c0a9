//! The files that a process may use, and the ports that it may connect to, enforced by Landlock where the kernel has it (5.13;
//! ports 6.7; signals 6.12).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
};

/// The newest rights that were tried.
const NEWEST: ABI = ABI::V7;
/// landlock_create_ruleset(2) on every architecture, and its question for the version.
const CREATE_RULESET: libc::c_long = 444;
const VERSION: libc::c_uint = 1;

/// What a process may still do with files and other machines.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileAccess {
    /// Files, and directories beneath which everything may be read.
    pub(crate) readable: Vec<PathBuf>,
    /// Directories beneath which files may be read, written, made and removed.
    pub(crate) writable: Vec<PathBuf>,
    /// Ports of other machines that may be connected to over TCP.
    pub(crate) ports: Vec<u16>,
}

impl FileAccess {
    /// Restricts this thread, and those that it will start, to these files and ports: it can execute nothing, make no device,
    /// socket or symbolic link, listen on no port, and signal no other process. Where the kernel has only some of these rules, those
    /// hold; without Landlock, none.
    ///
    /// # Errors
    /// The kernel refuses the rules.
    pub(crate) fn restrict(&self) -> io::Result<()> {
        self.try_restrict().map_err(io::Error::other)
    }

    fn try_restrict(&self) -> Result<(), RulesetError> {
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(NEWEST))?
            .handle_access(AccessNet::from_all(NEWEST))?
            .scope(Scope::from_all(NEWEST))?
            .create()?;
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let write =
            read | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::RemoveFile;
        let readable = self.readable.iter().filter_map(|path| Some((nearest_that_exists(path)?, read)));
        let writable = self.writable.iter().map(|path| (&**path, write));
        for (path, access) in readable.chain(writable) {
            let access: BitFlags<AccessFs> =
                if path.is_dir() { access } else { access & AccessFs::from_file(NEWEST) };
            // What cannot be opened now could not be read either.
            let Ok(opened) = PathFd::new(path) else { continue };
            rules = rules.add_rule(PathBeneath::new(opened, access))?;
        }
        for port in &self.ports {
            rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
        }
        rules.restrict_self().map(|_| ())
    }
}

/// The version of Landlock that this kernel enforces; 0 if it has none, or does not use it.
pub(crate) fn version() -> u32 {
    // SAFETY: the question has no attributes.
    let version = unsafe { libc::syscall(CREATE_RULESET, std::ptr::null::<u8>(), 0_usize, VERSION) };
    u32::try_from(version).unwrap_or(0)
}

/// The directory of a file, since it may be replaced, and that to which symbolic links of it lead; nothing for one in the root
/// directory.
pub(crate) fn directories_of(file: &Path) -> impl Iterator<Item = PathBuf> {
    let target = fs::canonicalize(file).ok();
    let given = file.parent().map(Path::to_owned);
    let linked = target.as_deref().and_then(Path::parent).map(Path::to_owned);
    given.into_iter().chain(linked).filter(|path| path.parent().is_some())
}

/// The path itself, or the nearest directory above it, since it may be made later; but not the root of all.
fn nearest_that_exists(path: &Path) -> Option<&Path> {
    let is_missing =
        |path: &Path| fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    path.ancestors().find(|path| !is_missing(path)).filter(|path| path.parent().is_some())
}
