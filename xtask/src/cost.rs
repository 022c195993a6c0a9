//! `cargo xtask cost`: instructions per operation, of the program that performs it and of the daemon.
//!
//! An emulated CPU that counts (QEMU's `-icount shift=0`) takes a nanosecond of the guest's time for each instruction,
//! whatever else the machine does. So the guest's CPU clocks count instructions, and the figures of two runs can be
//! compared. The program in `xtask/cost/` performs the operations, first without and then with picosnitch, in one boot.
//!
//! The figures are compared with the accepted ones in `xtask/cost/accepted.json`, which hold for one kernel, one rustc
//! and one clang. Figures that are lower than accepted by more than the tolerance fail too: once they are accepted,
//! they cannot be lost again unnoticed.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, ensure};
use serde_json::json;

use crate::vm;

mod accepted;
mod figures;

use accepted::{Accepted, Comparison};
use figures::{Figures, Key};

/// Where the guest finds the load and leaves the measurements.
const SHARE: &str = "/mnt/cost";

/// One CPU that executes one instruction a nanosecond and skips the time in which it is idle. It always boots at the
/// same time of day, so that the rollups of the log fall into the same repetitions of each run. Booting takes longer
/// than on other machines.
const COUNTING_MACHINE: [&str; 10] = [
    "--cpus",
    "1",
    "--accel",
    "tcg,thread=single,tb-size=512",
    "--qemu-arg=-icount",
    "--qemu-arg=shift=0,sleep=off",
    "--qemu-arg=-rtc",
    "--qemu-arg=base=2026-01-01T00:00:00,clock=vm",
    "--boot-timeout",
    "300",
];

/// Options of the chore.
#[derive(clap::Args)]
pub struct Options {
    /// Series or exact name of a Debian kernel
    #[arg(long, default_value = "6.12", value_name = "KERNEL")]
    kernel: String,
    /// Use this picosnitch; otherwise the release build, which is brought up to date first
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Accept these figures for this kernel, rustc and clang, instead of comparing them
    #[arg(long)]
    accept: bool,
}

/// Runs the chore; fails if a figure differs from the accepted one by more than its tolerance.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent directory")?;
    let accepted_file = root.join("xtask/cost/accepted.json");
    // A damaged file should be noticed before the measurement, which takes minutes.
    let mut accepted = Accepted::read(&accepted_file)?;
    let figures = measure(root, options)?;
    if options.accept {
        accepted.accept(figures.clone());
        accepted.write(&accepted_file)?;
    }
    let comparison = accepted.compare(&figures);
    if options.json {
        println!("{:#}", json!({ "figures": figures, "comparison": comparison }));
    } else {
        print!("{}", figures.table());
    }
    eprintln!("{}", comparison.message(&figures.key));
    let passed = !matches!(comparison, Comparison::Differs { .. });
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Boots the guest, has it perform the load, and calculates the figures.
fn measure(root: &Path, options: &Options) -> anyhow::Result<Figures> {
    let rustc = version(root, &env::var("RUSTC").unwrap_or_else(|_| "rustc".into()))?;
    let clang = version(root, "clang")?;
    let share = tempfile::tempdir().context("cannot make a directory for the guest")?;
    compile(&root.join("xtask/cost"), &share.path().join("load"))?;
    fs::copy(root.join("xtask/cost/guest.sh"), share.path().join("guest.sh"))
        .context("cannot copy guest.sh")?;
    eprintln!("--- counting instructions, which takes several minutes");
    let outcome = vm::run(&vm::Options {
        kernel: vec![options.kernel.clone()],
        binary: options.binary.clone(),
        tests: false,
        share: vec![format!("{}:{SHARE}:rw", share.path().display())],
        timeout: 3600,
        memory: "2G".into(),
        machine: COUNTING_MACHINE.map(String::from).to_vec(),
        command: vec!["sh".into(), format!("{SHARE}/guest.sh"), SHARE.into()],
    })?;
    ensure!(outcome == ExitCode::SUCCESS, "the load failed in the guest; its messages are above");
    let answer = |name: &str| {
        fs::read_to_string(share.path().join(name))
            .with_context(|| format!("the guest has left no file {name}"))
    };
    let key = Key { kernel: answer("kernel")?.trim().to_owned(), rustc, clang };
    Figures::calculate(key, &answer("without")?, &answer("with")?)
}

/// Compiles the load. It is linked statically, because the guest has another C library.
fn compile(directory: &Path, program: &Path) -> anyhow::Result<()> {
    let status = Command::new("gcc")
        .args(["-O2", "-Wall", "-Wextra", "-Werror", "-static", "-o"])
        .arg(program)
        .args(["load.c", "operations.c"].map(|source| directory.join(source)))
        .status()
        .context("cannot run gcc; run: make setup")?;
    ensure!(status.success(), "gcc cannot compile the load in {}", directory.display());
    Ok(())
}

/// The first line that a compiler prints about its version.
fn version(root: &Path, compiler: &str) -> anyhow::Result<String> {
    let output = Command::new(compiler)
        .arg("--version")
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {compiler}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().unwrap_or_default().trim();
    ensure!(output.status.success() && !line.is_empty(), "{compiler} --version failed");
    Ok(line.to_owned())
}
