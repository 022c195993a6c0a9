//! Which command starts and stops picosnitch on this machine: that of its service manager, or its own.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The name of the unit.
pub const UNIT: &str = "picosnitch.service";
/// It exists while systemd is the init system (sd_booted(3)).
const SYSTEMD_RUNS: &str = "run/systemd/system";
/// Directories of units (systemd.unit(5)), those that win first.
const UNIT_DIRECTORIES: [&str; 5] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];

/// Those of packages.
const DIRECTORIES_OF_PACKAGES: [&str; 2] = ["usr/lib/systemd/system", "lib/systemd/system"];

/// The unit of picosnitch, if it is installed and systemd is the init system; a masked unit is none.
pub fn unit_file() -> Option<PathBuf> {
    unit_file_below(Path::new("/"))
}

/// The unit of a package that the unit which is used hides, as one that `picosnitch systemd` has written does.
pub fn hidden_unit_file() -> Option<PathBuf> {
    hidden_unit_file_below(Path::new("/"))
}

/// The command for an action (`start`, `stop`, `restart`), as a user types it.
pub fn command(action: &str) -> String {
    command_below(Path::new("/"), action)
}

fn command_below(root: &Path, action: &str) -> String {
    match unit_file_below(root) {
        Some(_) => format!("sudo systemctl {action} picosnitch"),
        None => format!("sudo picosnitch {action}"),
    }
}

fn unit_file_below(root: &Path) -> Option<PathBuf> {
    if !root.join(SYSTEMD_RUNS).is_dir() {
        return None;
    }
    let found = UNIT_DIRECTORIES
        .iter()
        .map(|directory| root.join(directory).join(UNIT))
        .find(|unit| fs::symlink_metadata(unit).is_ok())?;
    // A mask is a link to /dev/null, or an empty file.
    fs::metadata(&found).is_ok_and(|found| found.is_file() && found.len() > 0).then_some(found)
}

fn hidden_unit_file_below(root: &Path) -> Option<PathBuf> {
    let used = unit_file_below(root)?;
    let mut of_packages = DIRECTORIES_OF_PACKAGES.iter().map(|directory| root.join(directory).join(UNIT));
    let is_of_package = of_packages.clone().any(|unit| unit == used);
    if is_of_package { None } else { of_packages.find(|unit| unit.is_file()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_that_of_systemd_only_where_it_runs_and_has_the_unit() {
        let root = tempfile::tempdir().unwrap();
        let command = || command_below(root.path(), "start");
        let (own, of_systemd) = ("sudo picosnitch start", "sudo systemctl start picosnitch");
        assert_eq!(command(), own);
        let packaged = root.path().join("usr/lib/systemd/system");
        fs::create_dir_all(&packaged).unwrap();
        fs::write(packaged.join(UNIT), "[Unit]\n").unwrap();
        assert_eq!(command(), own, "systemd does not run");
        fs::create_dir_all(root.path().join(SYSTEMD_RUNS)).unwrap();
        assert_eq!(command(), of_systemd);
        let local = root.path().join("etc/systemd/system");
        fs::create_dir_all(&local).unwrap();
        assert_eq!(hidden_unit_file_below(root.path()), None);
        fs::write(local.join(UNIT), "[Unit]\n").unwrap();
        assert_eq!(hidden_unit_file_below(root.path()), Some(packaged.join(UNIT)));
        fs::remove_file(local.join(UNIT)).unwrap();
        std::os::unix::fs::symlink("/dev/null", local.join(UNIT)).unwrap();
        assert_eq!(hidden_unit_file_below(root.path()), None, "it is masked");
        assert_eq!(command(), own, "it is masked");
        fs::remove_file(local.join(UNIT)).unwrap();
        fs::remove_file(packaged.join(UNIT)).unwrap();
        assert_eq!(command(), own);
    }
}
