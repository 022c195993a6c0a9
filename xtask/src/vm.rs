//! `cargo xtask vm`: runs a command under stock Debian kernels, each in a virtual machine of its own, as root
//! on an ext4 root file system that is thrown away afterwards.
//!
//! Kernels and the image are made once, in `${XDG_CACHE_HOME:-~/.cache}/picosnitch/`.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use anyhow::{Context, anyhow, bail, ensure};

/// The kernels that are tested on: the oldest one supported, those of Debian's releases, a new and the newest.
const KERNELS: [&str; 5] = ["5.10", "6.1", "6.12", "6.17", "7.3"];

/// Debian release of the root image.
const SUITE: &str = "trixie";

/// Programs that a run needs, as `make setup-test` installs them.
const NEEDED: [&str; 3] = ["qemu-system-x86_64", "busybox", "python3"];

/// The file of the project that the tests read besides their binaries.
const COUNTRIES: &str = "assets/country.mmdb";

/// Where the guest finds the files of this run.
const STAGE: &str = "/mnt/picosnitch";

/// Options of the chore.
#[derive(clap::Args)]
pub struct Options {
    /// Series (6.1) or exact name (6.1.0-50-amd64) of a Debian kernel; may be repeated [default: 5.10 6.1
    /// 6.12 6.17 7.3]
    #[arg(long, value_name = "KERNEL")]
    pub kernel: Vec<String>,
    /// Use this picosnitch; otherwise the release build, which is brought up to date first
    #[arg(long, value_name = "FILE")]
    pub binary: Option<PathBuf>,
    /// Also build the integration tests and put them into the guest as picosnitch-test-NAME
    #[arg(long)]
    pub tests: bool,
    /// Show a directory of this machine in the guest, read-only unless :rw; may be repeated
    #[arg(long, value_name = "HOST:GUEST[:rw]")]
    pub share: Vec<String>,
    /// Seconds after which a guest is stopped
    #[arg(long, default_value_t = 1800, value_name = "SECONDS")]
    pub timeout: u32,
    /// Memory of the guest
    #[arg(long, default_value = "2G", value_name = "SIZE")]
    pub memory: String,
    /// More arguments of vmrun
    #[arg(skip)]
    pub machine: Vec<String>,
    /// Command and arguments; `picosnitch` is in the PATH
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

/// Runs the chore; succeeds only if the command did under every kernel.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    check_programs()?;
    let root = project()?;
    let scripts = root.join("xtask/vm");
    let cache = cache()?;
    let wanted: Vec<&str> = match options.kernel.as_slice() {
        [] => KERNELS.to_vec(),
        kernels => kernels.iter().map(String::as_str).collect(),
    };
    let kernels = wanted
        .iter()
        .map(|kernel| find_kernel(&scripts, &cache.join("kernels"), kernel))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let image = find_image(&scripts, &cache, &Image::TESTS)?;
    let stage = stage(root, options)?;

    let mut outcomes = Vec::new();
    for kernel in &kernels {
        let name = kernel.file_name().unwrap_or_default().to_string_lossy().into_owned();
        eprintln!("--- {name}: {}", options.command.join(" "));
        let start = Instant::now();
        let mut vmrun = Command::new(scripts.join("vmrun"));
        vmrun.arg("--kernel").arg(kernel).arg("--image").arg(&image);
        vmrun.arg("--share").arg(format!("{}:{STAGE}", stage.path().display()));
        for share in &options.share {
            vmrun.args(["--share", share]);
        }
        vmrun.args(["--timeout", &options.timeout.to_string(), "--mem", &options.memory]);
        vmrun.args(&options.machine).arg("--");
        vmrun.args(["sh", &format!("{STAGE}/enter")]).args(&options.command);
        let status = vmrun.stdin(Stdio::null()).status().context("cannot run vmrun")?;
        // vmrun's own: 124 the time ran out, 125 the guest never reported.
        outcomes.push((name, status.code().unwrap_or(125), start.elapsed().as_secs()));
    }
    eprintln!("--- result");
    for (name, code, seconds) in &outcomes {
        let note = match code {
            124 => " (no end in time)",
            125 => " (the guest crashed)",
            _ => "",
        };
        eprintln!("{name:<28} exit code {code}{note}, {seconds} s");
    }
    let failed = outcomes.iter().any(|(_, code, _)| *code != 0);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn project() -> anyhow::Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent directory")
}

/// Fails if a program is missing that a virtual machine needs.
pub fn check_programs() -> anyhow::Result<()> {
    for program in NEEDED {
        let found = env::split_paths(&env::var_os("PATH").unwrap_or_default())
            .any(|directory| directory.join(program).is_file());
        ensure!(found, "{program} is missing; run: make setup-test");
    }
    Ok(())
}

/// The script that boots a guest.
pub fn vmrun() -> anyhow::Result<Command> {
    Ok(Command::new(project()?.join("xtask/vm/vmrun")))
}

/// The directory of a kernel of that series, downloaded if it is not there.
pub fn kernel(series: &str) -> anyhow::Result<PathBuf> {
    find_kernel(&project()?.join("xtask/vm"), &cache()?.join("kernels"), series)
}

/// A root image of a Debian release that boots systemd, made if it is not there.
pub fn service_image(suite: &str) -> anyhow::Result<PathBuf> {
    let image = Image { suite, name: &format!("service-{suite}"), systemd: "1", size: "2G" };
    find_image(&project()?.join("xtask/vm"), &cache()?, &image)
}

/// A root image that `make-image` makes.
struct Image<'a> {
    suite: &'a str,
    /// Beginning of the file's name.
    name: &'a str,
    /// Not empty for one that boots systemd.
    systemd: &'a str,
    size: &'a str,
}

impl Image<'_> {
    /// The image of `cargo xtask vm`.
    const TESTS: Self = Image { suite: SUITE, name: SUITE, systemd: "", size: "4G" };

    fn variables(&self) -> [(&str, &str); 3] {
        [("SUITE", self.suite), ("SYSTEMD", self.systemd), ("SIZE", self.size)]
    }
}

/// Where kernels and images are kept.
fn cache() -> anyhow::Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    let cache = base.join("picosnitch");
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    Ok(cache)
}

/// The directory of a kernel, downloaded if it is not there. `kernel` is a series or an exact name.
fn find_kernel(scripts: &Path, kernels: &Path, kernel: &str) -> anyhow::Result<PathBuf> {
    if let Some(found) = cached_kernel(kernels, kernel) {
        return Ok(found);
    }
    eprintln!("--- downloading a kernel {kernel}");
    let status = Command::new(scripts.join("fetch-kernel"))
        .arg(kernel)
        .env("KERNELS", kernels)
        .stdout(Stdio::null())
        .status()
        .context("cannot run fetch-kernel")?;
    ensure!(status.success(), "no kernel {kernel} could be downloaded");
    cached_kernel(kernels, kernel).ok_or_else(|| anyhow!("fetch-kernel left no kernel {kernel}"))
}

/// The newest kernel of that series or name among those that are there.
fn cached_kernel(kernels: &Path, kernel: &str) -> Option<PathBuf> {
    let fits = |name: &str| {
        name.strip_prefix(kernel).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-', '+']))
    };
    let numbers = |name: &str| -> Vec<u64> {
        name.split(|character: char| !character.is_ascii_digit())
            .filter_map(|part| part.parse().ok())
            .collect()
    };
    fs::read_dir(kernels)
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        // A download that was interrupted is called .tmp.
        .filter(|name| fits(name) && !name.ends_with(".tmp") && kernels.join(name).join("vmlinuz").exists())
        .max_by_key(|name| numbers(name))
        .map(|name| kernels.join(name))
}

/// The root image, made if it is not there, or was made by another version of the script.
fn find_image(scripts: &Path, cache: &Path, wanted: &Image<'_>) -> anyhow::Result<PathBuf> {
    let mut version = DefaultHasher::new();
    fs::read(scripts.join("make-image")).context("cannot read make-image")?.hash(&mut version);
    let image = cache.join(format!("{}-{:08x}.ext4", wanted.name, version.finish() as u32));
    if image.exists() {
        return Ok(image);
    }
    for old in fs::read_dir(cache)?.flatten() {
        if old
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(wanted.name) && name.ends_with(".ext4"))
        {
            let _ = fs::remove_file(old.path());
        }
    }
    eprintln!("--- making the root image {} (once)", image.display());
    // Only root can make the files of root in the image; the cache belongs to the user that runs this command.
    let owner = fs::metadata(cache).context("cannot look at the cache")?;
    let make = scripts.join("make-image");
    let mut command = if fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
        Command::new(make)
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg("env").args(wanted.variables().map(|(name, value)| format!("{name}={value}"))).arg(make);
        sudo
    };
    let status = command.arg(&image).envs(wanted.variables()).status().context("cannot run make-image")?;
    ensure!(status.success() && image.exists(), "the root image could not be made");
    // No guest writes to the image (each has a snapshot), but the owner of the cache must be able to delete it.
    let _ = std::os::unix::fs::chown(&image, Some(owner.uid()), Some(owner.gid()));
    Ok(image)
}

/// A directory with the programs for the guest and the script that installs them there.
fn stage(root: &Path, options: &Options) -> anyhow::Result<tempfile::TempDir> {
    let stage = tempfile::tempdir().context("cannot make a directory for the guest's files")?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => release_binary(root)?,
    };
    let put = |file: &Path, name: &str| {
        let to = stage.path().join(name);
        fs::copy(file, &to).with_context(|| format!("cannot copy {} to {}", file.display(), to.display()))
    };
    put(&binary, "picosnitch")?;
    // Tests run the program by the path it was built at.
    let mut links = Vec::new();
    if options.tests {
        let listed = cargo(
            root,
            &[
                "test",
                "--release",
                "--package",
                "picosnitch",
                "--test",
                "*",
                "--no-run",
                "--message-format=json",
            ],
        )?;
        for line in listed.lines() {
            let message: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            let Some(executable) = message["executable"].as_str() else { continue };
            let name = message["target"]["name"].as_str().unwrap_or_default();
            if message["profile"]["test"] == true {
                put(Path::new(executable), &format!("picosnitch-test-{name}"))?;
            } else if name == "picosnitch" {
                links.push(executable.to_owned());
            }
        }
    }
    let mut script = format!("set -e\ncp {STAGE}/picosnitch* /usr/local/bin/\n");
    if options.tests {
        // They read it by the path they were built at.
        put(&root.join(COUNTRIES), "country.mmdb")?;
        let there = root.join(COUNTRIES);
        script += &format!("install -D {STAGE}/country.mmdb '{}'\n", there.display());
    }
    for link in links {
        let Some((directory, _)) = link.rsplit_once('/') else { bail!("no absolute path: {link}") };
        script += &format!("mkdir -p '{directory}'\nln -sf /usr/local/bin/picosnitch '{link}'\n");
    }
    script += "exec \"$@\"\n";
    fs::write(stage.path().join("enter"), script).context("cannot write the guest's script")?;
    Ok(stage)
}

/// Runs cargo in the project and returns what it printed.
pub fn cargo(root: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(arguments)
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "cargo {} failed", arguments.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Builds the release binary. Cargo says where it is: the environment and its configuration may place it anywhere.
pub fn release_binary(root: &Path) -> anyhow::Result<PathBuf> {
    let build = ["build", "--release", "--bin", "picosnitch", "--message-format=json-render-diagnostics"];
    let built = cargo(root, &build)?;
    let executable = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message["executable"].as_str()?))
    };
    built.lines().rev().find_map(executable).context("cargo has built no picosnitch")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_not_the_beginning_of_another() {
        let place = tempfile::tempdir().unwrap();
        for name in
            ["6.1.0-9-amd64", "6.1.0-50-amd64", "6.1.0-51-amd64.tmp", "6.12.107+deb13-amd64", "6.17.13"]
        {
            let kernel = place.path().join(name);
            fs::create_dir(&kernel).unwrap();
            fs::write(kernel.join("vmlinuz"), "").unwrap();
        }
        // Unpacked only in part.
        fs::create_dir(place.path().join("6.1.0-99-amd64")).unwrap();
        let found = |kernel| {
            let path = cached_kernel(place.path(), kernel)?;
            path.file_name().and_then(|name| name.to_str()).map(str::to_owned)
        };
        assert_eq!(found("6.1").as_deref(), Some("6.1.0-50-amd64"));
        assert_eq!(found("6.1.0-9-amd64").as_deref(), Some("6.1.0-9-amd64"));
        assert_eq!(found("6.12").as_deref(), Some("6.12.107+deb13-amd64"));
        assert_eq!(found("6.17").as_deref(), Some("6.17.13"));
        assert_eq!(found("5.10"), None);
    }
}
