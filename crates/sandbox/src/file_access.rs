//! The files that a web server may read, enforced by Landlock where the kernel has it (5.13; ports 6.7; signals 6.12).

use std::{fs, io, path::Path};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
};

/// The newest rights that were tried.
const NEWEST: ABI = ABI::V7;

/// Restricts this thread, and those that it will start, to reading beneath these paths: it can write, make and execute nothing,
/// connect to no other machine, listen on no port more, and signal no other process. Where the kernel has only some of these
/// rules, those hold; without Landlock, none.
///
/// # Errors
/// The kernel refuses the rules.
pub(crate) fn restrict<'a>(readable: impl IntoIterator<Item = &'a Path>) -> io::Result<()> {
    restrict_to(readable).map_err(io::Error::other)
}

fn restrict_to<'a>(readable: impl IntoIterator<Item = &'a Path>) -> Result<(), RulesetError> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for path in readable {
        let Some(path) = nearest_that_exists(path) else { continue };
        let access: BitFlags<AccessFs> = match path.is_dir() {
            true => AccessFs::ReadFile | AccessFs::ReadDir,
            false => AccessFs::ReadFile.into(),
        };
        // What cannot be opened now could not be read either.
        let Ok(opened) = PathFd::new(path) else { continue };
        rules = rules.add_rule(PathBeneath::new(opened, access))?;
    }
    rules.restrict_self().map(|_| ())
}

/// The path itself, or the nearest directory above it, since it may be made later; but not the root of all.
fn nearest_that_exists(path: &Path) -> Option<&Path> {
    let is_missing =
        |path: &Path| fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    path.ancestors().find(|path| !is_missing(path)).filter(|path| path.parent().is_some())
}
