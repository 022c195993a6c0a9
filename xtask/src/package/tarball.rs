//! The archive for any distribution: it runs where it is unpacked, and `install.sh` installs it.

use std::{env, fs, path::Path};

use anyhow::Context;

use super::{Making, VERSION, empty_directory, install_tree, make_archive, run_to_end, strip};

/// What `install.sh` expects.
const PREFIX: &str = "/usr/local";

/// Makes `picosnitch-VERSION-ARCHITECTURE-linux.tar.gz`.
///
/// # Errors
/// A file cannot be written, or a program fails.
pub(super) fn make(making: &Making, binary: &Path) -> anyhow::Result<()> {
    let parent = empty_directory(making, "tarball")?;
    let name = format!("picosnitch-{VERSION}-{}-linux", env::consts::ARCH);
    let tree = empty_directory(making, "tarball-root")?;
    run_to_end(&mut install_tree(making, binary, &tree, PREFIX))?;
    // bin, lib and share to the top, beside etc.
    let top = parent.join(&name);
    fs::rename(tree.join(PREFIX.trim_start_matches('/')), &top).context("cannot move the tree")?;
    fs::rename(tree.join("etc"), top.join("etc")).context("cannot move the tree")?;
    fs::remove_dir_all(&tree).context("cannot remove what is left of the tree")?;
    for (file, place) in [
        ("packaging/tarball/install.sh", "install.sh"),
        ("docs/install.md", "INSTALL.md"),
        ("LICENSE", "LICENSE"),
    ] {
        fs::copy(making.project.join(file), top.join(place))
            .with_context(|| format!("cannot copy {file}"))?;
    }
    strip(&top.join("bin/picosnitch"))?;
    make_archive(making, &parent, &name, &making.output.join(format!("{name}.tar.gz")))
}
