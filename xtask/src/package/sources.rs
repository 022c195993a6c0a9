//! The archive of the sources, and the recipe for Arch Linux that builds them.

use std::{fs, process::Command};

use anyhow::{Context, ensure};
use sha2::{Digest, Sha256};

use super::{Making, VERSION, git, run_to_end};

/// Makes `picosnitch-VERSION.tar.gz` of the last commit, and `aur/` with PKGBUILD, what belongs to it, and the archive that it builds.
///
/// # Errors
/// A file cannot be written, or git fails.
pub(super) fn make(making: &Making) -> anyhow::Result<()> {
    let name = format!("picosnitch-{VERSION}");
    let archive = making.output.join(format!("{name}.tar.gz"));
    let mut archiver = git(&making.project);
    archiver.args(["archive", "--format=tar.gz", &format!("--prefix={name}/"), "--output"]);
    run_to_end(archiver.arg(&archive).arg("HEAD"))?;
    let content = fs::read(&archive).with_context(|| format!("cannot read {}", archive.display()))?;
    let digest = hex::encode(Sha256::digest(&content));

    let recipe = making.project.join("packaging/aur/PKGBUILD");
    let recipe = fs::read_to_string(&recipe).with_context(|| format!("cannot read {}", recipe.display()))?;
    ensure!(
        recipe.contains("@VERSION@") && recipe.contains("@SHA256@"),
        "PKGBUILD has no place for the version or the digest"
    );
    let directory = making.output.join("aur");
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let recipe = recipe.replace("@VERSION@", VERSION).replace("@SHA256@", &digest);
    fs::write(directory.join("PKGBUILD"), recipe).context("cannot write PKGBUILD")?;
    fs::copy(making.project.join("packaging/aur/picosnitch.install"), directory.join("picosnitch.install"))
        .context("cannot copy picosnitch.install")?;
    let info = directory.join(".SRCINFO");
    let output = fs::File::create(&info).with_context(|| format!("cannot write {}", info.display()))?;
    let mut srcinfo = Command::new(making.project.join("packaging/aur/srcinfo"));
    run_to_end(srcinfo.arg(directory.join("PKGBUILD")).stdout(output))?;
    // makepkg takes it from there: it needs no download, and works before the release.
    fs::copy(&archive, directory.join(format!("{name}.tar.gz"))).context("cannot copy the archive")?;
    Ok(())
}
