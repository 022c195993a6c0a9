//! `cargo xtask service`: the package and its unit in virtual machines with real systemd: installed, restarted, killed, reloaded,
//! rebooted, upgraded, suspended and removed, while traffic of known size goes on that the log must have to the byte.
//!
//! The host's part makes packages and images, and boots. The guest's part ([`guest`]) is this program again, in the guest.

pub mod guest;
mod life;
mod other_tools;
mod package_steps;
mod restarts;
mod steps;
mod unit;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use anyhow::{Context, bail, ensure};

use crate::{traffic, vm};

/// Debian releases and their kernels.
const SUITES: [(&str, &str); 2] = [("trixie", "6.12"), ("bookworm", "6.1")];
/// The release on which suspending is tested: once is enough, and it takes a slower start.
const SUSPENDED: &str = "trixie";
/// Where the guest finds the files of this run. They are copied from there: 9p does not outlive a suspend.
const STAGE: &str = "/mnt/service";
/// Seconds after which a boot is given up.
const TIMEOUT: u32 = 5400;
const NONE_CHOSEN: i32 = guest::NONE_CHOSEN as i32;

/// Options of the chore.
#[derive(clap::Args)]
pub struct Options {
    /// Only this Debian release (trixie, bookworm); may be repeated
    #[arg(long, value_name = "NAME")]
    suite: Vec<String>,
    /// Use this picosnitch; otherwise the release build, which is brought up to date first
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Only what must never break: few kills, no suspend
    #[arg(long)]
    essential: bool,
    /// How many times the monitor alone is killed [default: 50, with --essential 3]
    #[arg(long, value_name = "NUMBER")]
    kills: Option<u32>,
    /// Only steps whose name contains this; installing always happens
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Keep the disk of each machine here, after the run
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Runs the chore; succeeds only if every step did on every release.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    vm::check_programs()?;
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent directory")?;
    for suite in &options.suite {
        ensure!(
            SUITES.iter().any(|(name, _)| name == suite),
            "there is no release {suite}: trixie, bookworm"
        );
    }
    let stage = tempfile::tempdir().context("cannot make a directory for the guest's files")?;
    make_stage(project, options, stage.path())?;
    let disks = tempfile::tempdir_in("/var/tmp").context("cannot make a directory for disks")?;
    let mut failed = Vec::new();
    for (suite, kernel) in SUITES {
        if !options.suite.is_empty() && !options.suite.iter().any(|wanted| wanted == suite) {
            continue;
        }
        let machine = Machine {
            suite,
            kernel: vm::kernel(kernel)?,
            image: vm::service_image(suite)?,
            disk: disks.path().join(format!("{suite}.ext4")),
            stage: stage.path(),
        };
        if !machine.run(options)? {
            failed.push(suite);
        }
        if let Some(directory) = &options.keep {
            let to = directory.join(format!("{suite}.ext4"));
            let copied = Command::new("cp").arg("--sparse=always").arg(&machine.disk).arg(&to).status();
            ensure!(copied.is_ok_and(|status| status.success()), "cannot keep {}", to.display());
        }
        let _ = fs::remove_file(&machine.disk);
    }
    eprintln!(
        "--- {}",
        if failed.is_empty() { "all steps passed".into() } else { format!("failed: {failed:?}") }
    );
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Makes two packages of the same content, the program for the guest, and the script that starts it.
fn make_stage(project: &Path, options: &Options, stage: &Path) -> anyhow::Result<()> {
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => vm::release_binary(project)?,
    };
    let own = env::current_exe()?;
    for revision in ["1", "2"] {
        let made = stage.join(format!("made-{revision}"));
        let mut package = Command::new(&own);
        package.args(["package", "deb", "--revision", revision, "--binary"]).arg(&binary);
        let status = package.arg("--output").arg(&made).stdout(Stdio::null()).status()?;
        ensure!(status.success(), "the package could not be made");
        let found = fs::read_dir(&made)?.flatten().map(|entry| entry.path());
        let mut debs = found.filter(|path| path.extension().is_some_and(|extension| extension == "deb"));
        let (Some(deb), None) = (debs.next(), debs.next()) else { bail!("not one package was made") };
        fs::rename(deb, stage.join(format!("picosnitch_{revision}.deb")))?;
    }
    // Without debug information: the guest hashes it, and is slow.
    let strip = Command::new("strip").arg("-o").arg(stage.join("xtask")).arg(&own).status();
    ensure!(strip.context("cannot run strip")?.success(), "strip failed");
    traffic::compile_talker(project, &stage.join("talk"))?;
    let script = format!(
        "set -e\ncp {STAGE}/*.deb /var/tmp/\nchmod 644 /var/tmp/*.deb\n\
         for program in xtask talk; do\n  cmp -s {STAGE}/$program /usr/local/bin/$program || \
         install {STAGE}/$program /usr/local/bin/\ndone\numount -l {STAGE}\nexec /usr/local/bin/xtask service-guest \"$@\"\n"
    );
    fs::write(stage.join("enter"), script).context("cannot write the guest's script")
}

/// A virtual machine of one release. Its disk lives through all boots.
struct Machine<'a> {
    suite: &'a str,
    kernel: PathBuf,
    image: PathBuf,
    disk: PathBuf,
    stage: &'a Path,
}

impl Machine<'_> {
    /// Boots it as often as needed. Returns whether all steps passed.
    fn run(&self, options: &Options) -> anyhow::Result<bool> {
        let kills = options.kills.unwrap_or(if options.essential { 3 } else { 50 }).to_string();
        let mut arguments = vec!["--kills", &kills, "--only", &options.only];
        if options.essential {
            arguments.push("--essential");
        } else if self.suite == SUSPENDED {
            arguments.push("--suspend");
        }
        let (mut passed, mut has_run) = (true, false);
        for boot in ["first", "again"] {
            let begin = Instant::now();
            eprintln!("--- {} with systemd, boot {boot:?}", self.suite);
            let code = self.boot(boot, &arguments)?;
            let note = match code {
                0 => "all steps passed".to_owned(),
                NONE_CHOSEN => format!("no step has {:?} in its name", options.only),
                124 => "no end in time".to_owned(),
                125 => "the guest crashed".to_owned(),
                1 => "some steps failed".to_owned(),
                code => format!("exit code {code}"),
            };
            eprintln!("--- {}, boot {boot:?}: {note}, {} s", self.suite, begin.elapsed().as_secs());
            has_run |= code != NONE_CHOSEN;
            passed &= matches!(code, 0 | NONE_CHOSEN);
            // A machine that is in no known state proves nothing more.
            if !matches!(code, 0 | 1 | NONE_CHOSEN) {
                return Ok(false);
            }
        }
        Ok(passed && has_run)
    }

    fn boot(&self, boot: &str, arguments: &[&str]) -> anyhow::Result<i32> {
        let mut vmrun = vm::vmrun()?;
        vmrun.arg("--kernel").arg(&self.kernel).arg("--image").arg(&self.image).arg("--keep").arg(&self.disk);
        vmrun.arg("--share").arg(format!("{}:{STAGE}", self.stage.display()));
        vmrun.args(["--systemd", "--timeout", &TIMEOUT.to_string()]);
        if arguments.contains(&"--suspend") {
            vmrun.args(["--wake", &life::ASLEEP.as_secs().to_string()]);
        }
        vmrun.args(["--", "/bin/sh", &format!("{STAGE}/enter"), boot]).args(arguments);
        let status = vmrun.stdin(Stdio::null()).status().context("cannot run vmrun")?;
        Ok(status.code().unwrap_or(125))
    }
}
