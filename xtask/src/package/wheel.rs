//! The wheel that carries the binary, for pip and pipx.

use std::{env, fs, path::PathBuf};

use anyhow::Context;

use super::{Making, OLDEST_GLIBC, empty_directory, flags_without_paths, run_to_end, target, tool};

/// Makes the wheel. maturin builds the binary itself, of what was built for the other packages.
///
/// # Errors
/// A file cannot be written, or maturin fails.
pub(super) fn make(making: &Making) -> anyhow::Result<()> {
    let work = empty_directory(making, "wheel")?;
    for name in ["pyproject.toml", "README.md"] {
        fs::copy(making.project.join("packaging/python").join(name), work.join(name))
            .with_context(|| format!("cannot copy {name}"))?;
    }
    let share = making.work.join("root/usr/share");
    // What pip puts below its prefix, and the licences, which are where Python looks for them (pyproject.toml).
    for (from, to) in [
        ("man/man1", "data/data/share/man/man1"),
        ("picosnitch", "data/data/share/picosnitch"),
        ("licenses/picosnitch", ""),
    ] {
        let to = work.join(to);
        fs::create_dir_all(&to).with_context(|| format!("cannot make {}", to.display()))?;
        for file in fs::read_dir(share.join(from)).with_context(|| format!("cannot read share/{from}"))? {
            let file = file?.file_name();
            fs::copy(share.join(from).join(&file), to.join(&file)).context("cannot copy a file")?;
        }
    }
    let mut maturin = tool(making, "maturin");
    maturin.env("RUSTFLAGS", flags_without_paths(making)?);
    maturin.current_dir(&work).args(["build", "--release", "--target", &target()]);
    maturin.args(["--compatibility", &format!("manylinux_{}", OLDEST_GLIBC.replace('.', "_"))]);
    // maturin has a cargo-zigbuild of its own, whose compiler has another name: everything would be built anew.
    let cargo = env::var_os("CARGO").map_or_else(find_cargo, |path| Ok(path.into()))?;
    maturin.env("REAL_CARGO", cargo).env("GLIBC", OLDEST_GLIBC).env_remove("CARGO");
    maturin.env("FIRST_IN_PATH", making.project.join("packaging/python"));
    run_to_end(maturin.arg("--out").arg(&making.output))
}

fn find_cargo() -> anyhow::Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|directory| directory.join("cargo")).find(|file| file.is_file());
    found.context("cargo is not in PATH")
}
