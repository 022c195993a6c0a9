//! Unit, container, application and country of traffic, from cgroups made by hand and addresses in a network namespace of the
//! test.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::sys::signal::Signal;
use store::{Dimension, Filter, Query, Value};

use super::{
    harness::{Daemon, base, error_log, picosnitch_elsewhere, reader, root_alone, wait_until},
    programs::{lines, program},
};

const CONTAINER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// An address of RIPE's in the Netherlands.
const ADDRESS: &str = "193.0.6.139";

/// A cgroup, removed when dropped.
struct Cgroup {
    path: PathBuf,
    made: PathBuf,
}

impl Cgroup {
    fn make(below: &str) -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mount = mounts.lines().find(|line| line.contains(" - cgroup2 ")).expect("no cgroup2 hierarchy");
        let made = Path::new(mount.split(' ').nth(4).unwrap()).join(format!(
            "picosnitch-test-{}-{}",
            std::process::id(),
            below.len()
        ));
        let path = made.join(below);
        fs::create_dir_all(&path).unwrap();
        Self { path, made }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let mut directory = self.path.clone();
        while directory.starts_with(&self.made) {
            let _ = fs::remove_dir(&directory);
            directory.pop();
        }
    }
}

/// Runs a program in a cgroup that connects in vain to [`ADDRESS`] in a network namespace of its own.
fn connect_from(cgroup: &Path, program: &Path) {
    let script = format!(
        "echo 0 > {}/cgroup.procs && ip link set lo up && ip address add {ADDRESS}/32 dev lo && \
         exec {} -c 'exec 3<>/dev/tcp/{ADDRESS}/9'",
        cgroup.display(),
        program.display()
    );
    let output =
        Command::new("unshare").args(["--net", "sh", "-c", &script]).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("refused"), "{said}");
}

fn only(base: &Path, program: &Path, dimension: Dimension) -> Value {
    let path = Value::Bytes(program.to_str().unwrap().into());
    let filters = vec![Filter::equal(Dimension::Executable, path, false)];
    let rows = reader(base).query(&Query { group_by: vec![dimension], filters, ..Query::default() }).unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows[0].values[0].clone()
}

#[test]
#[ignore = "needs root"]
fn units_containers_applications_and_countries_are_in_the_log() {
    // Alone: another test may run short programs while this daemon starts, which are errors in its log.
    let _alone = root_alone();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let countries = root.join("assets/country.mmdb");
    let base = base(&format!("text = true\n[names]\ncountry_file = \"{}\"\n", countries.display()));
    // Files of docker, which only this daemon sees.
    let docker = format!("/var/lib/docker/containers/{CONTAINER}");
    let prepare = format!(
        "mkdir -p /var/lib && mount -t tmpfs picosnitch-test /var/lib && mkdir -p {docker} && \
         echo '{{\"Name\": \"/web-1\"}}' > {docker}/config.v2.json"
    );
    let daemon = Daemon::start_as(picosnitch_elsewhere(&prepare, base.path(), &["start-no-daemon"]));
    let places = [
        ("system.slice/nginx.service", ["nginx.service", "", ""]),
        (
            &format!("system.slice/docker-{CONTAINER}.scope"),
            [&format!("docker-{CONTAINER}.scope"), "docker web-1", ""],
        ),
        (
            "app.slice/app-flatpak-org.mozilla.firefox-123.scope",
            ["app-flatpak-org.mozilla.firefox-123.scope", "", "Flatpak org.mozilla.firefox"],
        ),
        (
            "app.slice/snap.firefox.firefox-0a1b.scope",
            ["snap.firefox.firefox-0a1b.scope", "", "Snap firefox"],
        ),
    ];
    let programs: Vec<PathBuf> =
        (0..places.len()).map(|number| program(base.path(), format!("place-{number}").as_bytes())).collect();
    for ((cgroup, _), program) in places.iter().zip(&programs) {
        connect_from(&Cgroup::make(cgroup).path, program);
    }
    wait_until("all records", || {
        let conn_log = lines(base.path(), "conn.log");
        programs.iter().all(|program| conn_log.iter().any(|line| line.contains(program.to_str().unwrap())))
    });
    daemon.stop(Signal::SIGTERM);
    for ((cgroup, [unit, container, app]), program) in places.iter().zip(&programs) {
        let found = [Dimension::Unit, Dimension::Container, Dimension::App, Dimension::Country]
            .map(|dimension| only(base.path(), program, dimension));
        let expected = [unit, container, app, "NL"].map(|text| Value::Bytes(text.into()));
        assert_eq!(found, expected, "{cgroup}");
    }
    assert_eq!(error_log(base.path()), "");
}
