//! `cargo xtask package`: makes the packages. All of them hold one binary, which runs with every glibc from 2.17 on, and the files
//! that `scripts/install-tree` lists.

mod changelog;
mod sources;
mod tarball;
mod wheel;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, ensure};
use changelog::{Changelog, VERSION};

/// The oldest glibc with which the binary runs: that of RHEL 7, and older than that of Debian 8.
const OLDEST_GLIBC: &str = "2.17";

/// Options of the chore.
#[derive(clap::Args)]
pub struct Options {
    /// What to make [default: all]
    kind: Vec<Kind>,
    /// Put the packages there [default: target/package]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Use this picosnitch; otherwise one for old systems is built (cargo-zigbuild)
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// The revision of the .deb and the .rpm, for packages that are made anew of the same version
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    revision: u32,
}

/// A kind of package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// For Debian and Ubuntu
    Deb,
    /// For Fedora, openSUSE and their relatives
    Rpm,
    /// An archive for any distribution, with a script that installs it
    Tarball,
    /// For pip and pipx
    Wheel,
    /// The recipe for Arch Linux (PKGBUILD), and the archive of sources that it builds
    Aur,
}

/// What all kinds need.
struct Making {
    /// The directory of the project.
    project: PathBuf,
    /// Where the packages go.
    output: PathBuf,
    /// Where everything lies that is made on the way, such as the tree that the packages hold (`root`).
    work: PathBuf,
    revision: u32,
    /// The binary was not built here for old systems.
    is_native: bool,
    changelog: Changelog,
}

impl Making {
    /// What the binary holds besides our own sources, with its licences.
    fn third_party(&self) -> PathBuf {
        self.work.join("THIRD-PARTY")
    }
}

/// Runs the chore.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let project =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent directory")?.to_owned();
    let work = project.join("target/package");
    let output = match &options.output {
        Some(directory) => std::path::absolute(directory)?,
        None => work.clone(),
    };
    fs::create_dir_all(&work)
        .and_then(|()| fs::create_dir_all(&output))
        .context("cannot make the directories")?;
    let changelog = Changelog::read(&project.join("CHANGELOG.md"), &time_of_commit(&project)?)?;
    let is_native = options.binary.is_some();
    let making = Making { project, output, work, revision: options.revision, is_native, changelog };
    let binary = match &options.binary {
        Some(file) => std::path::absolute(file)?,
        None => build(&making)?,
    };
    write_third_party(&making)?;
    stage(&making, &binary)?;
    let kinds = match options.kind.as_slice() {
        [] => <Kind as clap::ValueEnum>::value_variants(),
        kinds => kinds,
    };
    for kind in kinds {
        match kind {
            Kind::Deb => make_deb(&making)?,
            Kind::Rpm => make_rpm(&making)?,
            Kind::Tarball => tarball::make(&making, &binary)?,
            Kind::Wheel => wheel::make(&making)?,
            Kind::Aur => sources::make(&making)?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The target of Rust that is built for.
fn target() -> String {
    format!("{}-unknown-linux-gnu", env::consts::ARCH)
}

/// Builds the binary for old systems.
fn build(making: &Making) -> anyhow::Result<PathBuf> {
    let target = target();
    let directory = target_directory(making)?;
    let mut zigbuild = tool(making, "cargo-zigbuild");
    // With each commit it is another, and libraries in C would be built anew.
    zigbuild.env_remove("SOURCE_DATE_EPOCH");
    zigbuild.env("RUSTFLAGS", flags_without_paths(making)?);
    zigbuild.args(["zigbuild", "--release", "--locked", "--package", "picosnitch"]);
    run_to_end(zigbuild.args(["--target", &format!("{target}.{OLDEST_GLIBC}")]))?;
    Ok(directory.join(target).join("release/picosnitch"))
}

/// Flags of rustc with which a binary does not say where it was built: the same sources make the same one anywhere.
fn flags_without_paths(making: &Making) -> anyhow::Result<String> {
    let home = env::var_os("HOME").map(PathBuf::from).context("HOME is not set")?;
    let cargo_home = env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let target = target_directory(making)?;
    // The last one that fits counts.
    let places = [(&cargo_home, "/cargo"), (&making.project, "/picosnitch"), (&target, "/target")];
    let flags = places.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    Ok(flags.join(" "))
}

/// Where Cargo builds.
fn target_directory(making: &Making) -> anyhow::Result<PathBuf> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(&making.project);
    let output = cargo.output().context("cannot run cargo")?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    Ok(metadata["target_directory"].as_str().context("cargo names no target directory")?.into())
}

/// Writes the licences of what the binary holds besides our own sources, which every package carries.
fn write_third_party(making: &Making) -> anyhow::Result<()> {
    let file = making.third_party();
    let output = fs::File::create(&file).with_context(|| format!("cannot write {}", file.display()))?;
    run_to_end(Command::new(making.project.join("scripts/third-party")).stdout(output))
}

/// Makes the tree that the packages hold.
fn stage(making: &Making, binary: &Path) -> anyhow::Result<()> {
    let root = empty_directory(making, "root")?;
    run_to_end(&mut install_tree(making, binary, &root, "/usr"))?;
    strip(&root.join("usr/bin/picosnitch"))
}

/// Removes the symbols of a binary, as distributions do.
fn strip(binary: &Path) -> anyhow::Result<()> {
    run_to_end(Command::new("llvm-strip").arg("--strip-all").arg(binary))
}

/// Installs everything below `root`.
fn install_tree(making: &Making, binary: &Path, root: &Path, prefix: &str) -> Command {
    let mut install = Command::new(making.project.join("scripts/install-tree"));
    install.arg(binary).env("DESTDIR", root).env("PREFIX", prefix);
    install.env("SOURCE_DATE_EPOCH", &making.changelog.epoch).env("THIRD_PARTY", making.third_party());
    install
}

fn make_deb(making: &Making) -> anyhow::Result<()> {
    let changelog = making.work.join("changelog.debian");
    fs::write(&changelog, making.changelog.debian(making.revision)?).context("cannot write the changelog")?;
    // As Debian does with long documents.
    let third_party = making.work.join("THIRD-PARTY.gz");
    let compressed = fs::File::create(&third_party).context("cannot write THIRD-PARTY.gz")?;
    run_to_end(Command::new("gzip").arg("-9nc").arg(making.third_party()).stdout(compressed))?;
    let mut deb = tool(making, "cargo-deb");
    deb.args(["deb", "--quiet", "--no-build", "--no-strip", "--package", "picosnitch"]);
    if making.is_native {
        deb.args(["--variant", "native"]);
    }
    deb.arg("--deb-revision").arg(making.revision.to_string()).arg("--output").arg(&making.output);
    run_to_end(&mut deb)
}

fn make_rpm(making: &Making) -> anyhow::Result<()> {
    let mut rpm = tool(making, "cargo-generate-rpm");
    // The builtin search for libraries asks the dynamic linker of this machine; rpm has a better one, where it is installed.
    rpm.args(["generate-rpm", "--package", "crates/picosnitch", "--output"]).arg(&making.output);
    run_to_end(rpm.args(["--set-metadata", &format!("release = \"{}\"", making.revision)]))
}

/// Makes an archive of one directory (`name`, in `parent`), the same for the same content.
fn make_archive(making: &Making, parent: &Path, name: &str, archive: &Path) -> anyhow::Result<()> {
    // Under another name first: an archive that is there is a whole one.
    let new = archive.with_extension("new");
    let mut tar = Command::new("tar");
    tar.args([
        "--create",
        // The time of the compression is no part of the archive.
        "--use-compress-program=gzip -9n",
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mode=go=rX,u+rw,a-s",
    ]);
    tar.arg(format!("--mtime=@{}", making.changelog.epoch)).arg("--file").arg(&new);
    run_to_end(tar.arg("--directory").arg(parent).arg(name))?;
    fs::rename(&new, archive).with_context(|| format!("cannot make {}", archive.display()))
}

/// A new, empty directory below the work directory.
fn empty_directory(making: &Making, name: &str) -> anyhow::Result<PathBuf> {
    let directory = making.work.join(name);
    if directory.exists() {
        fs::remove_dir_all(&directory).with_context(|| format!("cannot empty {}", directory.display()))?;
    }
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(directory)
}

/// A tool that `scripts/package-tool` has, to run in the directory of the project.
fn tool(making: &Making, name: &str) -> Command {
    let mut tool = Command::new(making.project.join("scripts/package-tool"));
    // The times of files in packages, so that the same commit makes the same packages.
    tool.arg(name).current_dir(&making.project).env("SOURCE_DATE_EPOCH", &making.changelog.epoch);
    tool
}

/// The time of the last commit in seconds, or what SOURCE_DATE_EPOCH says.
fn time_of_commit(project: &Path) -> anyhow::Result<String> {
    if let Ok(given) = env::var("SOURCE_DATE_EPOCH") {
        return Ok(given);
    }
    let seconds = git(project).args(["log", "-1", "--format=%ct"]).output().context("cannot run git")?.stdout;
    let seconds = String::from_utf8_lossy(&seconds).trim().to_owned();
    ensure!(
        !seconds.is_empty(),
        "git names no commit; set SOURCE_DATE_EPOCH to the time of this version in seconds"
    );
    Ok(seconds)
}

/// git in the project, also for root in the clone of another user.
fn git(project: &Path) -> Command {
    let mut git = Command::new("git");
    git.arg("-c").arg(format!("safe.directory={}", project.display())).current_dir(project);
    git
}

fn run_to_end(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_owned();
    let status = command.status().with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(status.success(), "{} {status}", program.display());
    Ok(())
}
