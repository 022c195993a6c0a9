//! The wheel that carries the binary, for pip and pipx.

use std::fs;

use anyhow::Context;

use super::{Making, OLDEST_GLIBC, empty_directory, run_to_end, target, tool};

/// Makes the wheel. maturin builds the binary itself.
///
/// # Errors
/// A file cannot be written, or maturin fails.
pub(super) fn make(making: &Making) -> anyhow::Result<()> {
    let work = empty_directory(making, "wheel")?;
    for name in ["pyproject.toml", "README.md"] {
        fs::copy(making.project.join("packaging/python").join(name), work.join(name))
            .with_context(|| format!("cannot copy {name}"))?;
    }
    // What pip puts below its prefix.
    let share = making.work.join("root/usr/share");
    for (from, name) in
        [("man/man1", None), ("picosnitch", Some("country.mmdb")), ("licenses/picosnitch", None)]
    {
        let to = work.join("data/data/share").join(from);
        fs::create_dir_all(&to).with_context(|| format!("cannot make {}", to.display()))?;
        for file in fs::read_dir(share.join(from)).with_context(|| format!("cannot read share/{from}"))? {
            let file = file?.file_name();
            if name.is_none_or(|name| file == name) {
                fs::copy(share.join(from).join(&file), to.join(&file)).context("cannot copy a file")?;
            }
        }
    }
    let mut maturin = tool(making, "maturin");
    maturin.current_dir(&work).args(["build", "--release", "--zig", "--target", &target()]);
    maturin.args(["--compatibility", &format!("manylinux_{}", OLDEST_GLIBC.replace('.', "_"))]);
    run_to_end(maturin.arg("--out").arg(&making.output))
}
