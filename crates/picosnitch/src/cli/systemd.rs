//! `picosnitch systemd`: writes the units, with the path of this program in them, and has systemd read them. It enables nothing.
//! Exit codes: 0, 1 when they cannot be written, 77 (`EX_NOPERM`) without root.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, bail, ensure};

use super::{
    common::{Common, EXIT_NO_PERMISSION},
    output::print,
};

/// A unit, as packages install it.
struct Unit {
    name: &'static str,
    text: &'static str,
    /// What it does, for the command that enables it; empty if another unit starts it.
    does: &'static str,
}

const UNITS: [Unit; 3] = [
    Unit {
        name: "picosnitch.service",
        text: include_str!("../../../../packaging/systemd/picosnitch.service"),
        does: "records, also after each boot",
    },
    Unit {
        name: "picosnitch-exporter.service",
        text: include_str!("../../../../packaging/systemd/picosnitch-exporter.service"),
        does: "",
    },
    Unit {
        name: "picosnitch-dash.service",
        text: include_str!("../../../../packaging/systemd/picosnitch-dash.service"),
        does: "serves the page, which `picosnitch dash --open` opens",
    },
];

/// The user that writes the log, as packages make it.
const SYSUSERS: &str = include_str!("../../../../packaging/systemd/picosnitch.sysusers");
const SYSUSERS_FILE: &str = "/etc/sysusers.d/picosnitch.conf";

/// Where the administrator's units are.
const DIRECTORY: &str = "/etc/systemd/system";
/// Where units of packages are; ours in `DIRECTORY` would hide them.
const PACKAGE_DIRECTORIES: [&str; 3] =
    ["/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
/// It is there while systemd runs the machine (sd_booted(3)).
const SIGN_OF_SYSTEMD: &str = "/run/systemd/system";
/// The program in the units.
const PACKAGED_PROGRAM: &str = "/usr/bin/picosnitch";
/// Begins the units that this command wrote, and may write anew.
const MARK: &str =
    "# Written by `picosnitch systemd`, which may replace it: for changes, use `sudo systemctl edit";
/// What the units hide from the services: a program there cannot be run by them (ProtectHome=, PrivateTmp=).
const HIDDEN: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];

#[derive(clap::Args)]
pub struct Options {
    /// Print the units and change nothing
    #[arg(long)]
    print: bool,
}

/// Writes the units, or prints them.
///
/// # Errors
/// This program cannot be run by a service, or the units cannot be written.
pub fn run(common: &Common, options: &Options) -> anyhow::Result<ExitCode> {
    ensure!(
        common.base_dir.is_none() && common.config.is_none(),
        "the units are for the directories of the system: leave --base-dir, --config and PICOSNITCH_BASE_DIR out"
    );
    let program = program()?;
    if options.print {
        print(&UNITS.iter().map(|unit| unit_text(unit, &program)).collect::<Vec<_>>().join("\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(
        Path::new(SIGN_OF_SYSTEMD).is_dir(),
        "systemd does not run here ({SIGN_OF_SYSTEMD} is missing), so no unit was written; `picosnitch systemd --print` shows what \
         it would be, and `sudo {program} start` records without it"
    );
    if !nix::unistd::geteuid().is_root() {
        eprintln!("picosnitch: writing units needs root: run `sudo {program} systemd`");
        return Ok(ExitCode::from(EXIT_NO_PERMISSION));
    }
    let mut said = make_user()?;
    if let Some(unit) = packaged_unit(&program) {
        systemctl("daemon-reload")?;
        print(&format!("{said}{unit} is installed already, so no unit was written.\n\n{}", commands()))?;
        return Ok(ExitCode::SUCCESS);
    }
    for unit in &UNITS {
        let path = Path::new(DIRECTORY).join(unit.name);
        write_unit(&path, &unit_text(unit, &program))?;
        said += &format!("{} is written.\n", path.display());
    }
    systemctl("daemon-reload")?;
    print(&format!("{said}systemd has read the units. Nothing was enabled or started:\n\n{}", commands()))?;
    Ok(ExitCode::SUCCESS)
}

/// The path of this program, if a service of root may run it.
fn program() -> anyhow::Result<String> {
    let path = std::env::current_exe().context("the path of this program is not known")?;
    ensure!(
        path.exists(),
        "{} was replaced or removed since this command began; run it again",
        path.display()
    );
    config::check_program(&path).map_err(|why| {
        anyhow::anyhow!("root would run {} at each boot, but others could replace it: {why}", path.display())
    })?;
    check_place(&path)
}

/// Refuses a path that a unit cannot name, or that its service cannot see.
fn check_place(path: &Path) -> anyhow::Result<String> {
    let is_plain =
        |text: &&str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._+-@~,:=".contains(&byte));
    let install = "install the program elsewhere: `sudo install -m 0755 PROGRAM /usr/local/bin/picosnitch`";
    let Some(text) = path.to_str().filter(is_plain) else {
        bail!("a unit cannot name {}, because of its special characters; {install}", path.display());
    };
    if let Some(hidden) = HIDDEN.iter().find(|hidden| path.starts_with(hidden)) {
        bail!("the service could not see {text}, because {hidden} is hidden from it; {install}");
    }
    Ok(text.to_owned())
}

/// The unit with the mark and the path of this program.
fn unit_text(unit: &Unit, program: &str) -> String {
    let name = unit.name.trim_end_matches(".service");
    format!("{MARK} {name}`.\n{}", unit.text.replace(PACKAGED_PROGRAM, program))
}

/// The unit of a package that runs this program already.
fn packaged_unit(program: &str) -> Option<String> {
    let name = UNITS[0].name;
    let paths = PACKAGE_DIRECTORIES.map(|directory| format!("{directory}/{name}"));
    paths.into_iter().find(|path| {
        let runs = |text: String| text.lines().any(|line| line.starts_with(&format!("ExecStart={program} ")));
        fs::read_to_string(path).is_ok_and(runs)
    })
}

/// Makes the user that writes the log, if it is missing, and says so.
fn make_user() -> anyhow::Result<String> {
    if nix::unistd::User::from_name("picosnitch")?.is_some() {
        return Ok(String::new());
    }
    let by_hand = "make it with `sudo useradd --system --user-group --no-create-home --home-dir /var/lib/picosnitch --shell \
                   /usr/sbin/nologin picosnitch`, and run this command again";
    let path = Path::new(SYSUSERS_FILE);
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    if !path.exists() {
        replace(path, SYSUSERS)?;
    }
    let made = Command::new("systemd-sysusers").arg(path).status();
    ensure!(
        made.as_ref().is_ok_and(|status| status.success()),
        "systemd-sysusers could not make the user picosnitch, who writes the log; {by_hand}"
    );
    Ok(format!("The user picosnitch, who writes the log, is made ({SYSUSERS_FILE}).\n"))
}

/// Writes a unit, unless there is one of somebody else in its place.
fn write_unit(path: &Path, text: &str) -> anyhow::Result<()> {
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot examine {shown}")),
        Ok(found) if found.is_symlink() => bail!(
            "{shown} is a symbolic link, as a masked unit is; remove it (`sudo systemctl unmask {}`), and run this command again",
            path.file_name().unwrap_or_default().display()
        ),
        Ok(_) => {
            let old = fs::read(path).with_context(|| format!("cannot read {shown}"))?;
            ensure!(
                old.starts_with(MARK.as_bytes()),
                "{shown} was not written by `picosnitch systemd`, and stays; if you do not need it, run `sudo mv {shown} \
                 {shown}.old`, and this command again"
            );
        }
    }
    replace(path, text)
}

/// Puts a file in place at once, so that a full disk or a crash leaves the old one.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let new = PathBuf::from(format!("{}.new", path.display()));
    let write = || -> io::Result<()> {
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = File::options().write(true).create_new(true).mode(0o644).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write()
        .inspect_err(|_| _ = fs::remove_file(&new))
        .with_context(|| format!("cannot write {}; what was there before is unchanged", path.display()))
}

fn systemctl(command: &str) -> anyhow::Result<()> {
    let status = Command::new("systemctl").arg(command).status().context("cannot run systemctl")?;
    ensure!(status.success(), "`systemctl {command}` failed ({status}); the units are written: run it again");
    Ok(())
}

/// The commands that the user may want next.
fn commands() -> String {
    let enable =
        |unit: &Unit| (format!("enable --now {}", unit.name.trim_end_matches(".service")), unit.does);
    let mut commands: Vec<_> = UNITS.iter().filter(|unit| !unit.does.is_empty()).map(enable).collect();
    commands.push(("restart picosnitch".to_owned(), "if it ran before"));
    let width = commands.iter().map(|(command, _)| command.len()).max().unwrap_or_default();
    let line = |(command, does): &(String, &str)| format!("  sudo systemctl {command:<width$}  # {does}\n");
    commands.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_run_this_program_and_nothing_else() {
        for unit in &UNITS {
            let text = unit_text(unit, "/opt/p/picosnitch");
            assert!(text.starts_with(MARK) && text.contains("\nExecStart=/opt/p/picosnitch "), "{text}");
            assert!(!text.contains(PACKAGED_PROGRAM), "{text}");
        }
        let daemon = UNITS[0].text;
        for line in ["ExecStart=/usr/bin/picosnitch start-no-daemon", "RestartPreventExitStatus=78"] {
            assert!(daemon.lines().any(|found| found.starts_with(line)), "{line}");
        }
    }

    #[test]
    fn places_that_a_service_cannot_use_are_refused() {
        assert_eq!(check_place(Path::new("/usr/local/bin/picosnitch")).unwrap(), "/usr/local/bin/picosnitch");
        for (path, why) in [
            ("/home/a/bin/picosnitch", "/home is hidden"),
            ("/root/picosnitch", "/root is hidden"),
            ("/opt/a b/picosnitch", "special characters"),
            ("/opt/%h/picosnitch", "special characters"),
            ("/opt/a\nExecStartPre=x/picosnitch", "special characters"),
        ] {
            assert!(check_place(Path::new(path)).unwrap_err().to_string().contains(why), "{path}");
        }
    }

    #[test]
    fn a_unit_of_somebody_else_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("picosnitch.service");
        write_unit(&path, &unit_text(&UNITS[0], "/a")).unwrap();
        write_unit(&path, &unit_text(&UNITS[0], "/b")).unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains("ExecStart=/b "));
        fs::write(&path, "[Service]\nExecStart=/usr/bin/python3 picosnitch\n").unwrap();
        let error = write_unit(&path, "x").unwrap_err().to_string();
        assert!(
            error.contains("sudo mv") && fs::read_to_string(&path).unwrap().contains("python3"),
            "{error}"
        );
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert!(write_unit(&path, "x").unwrap_err().to_string().contains("unmask picosnitch.service"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
