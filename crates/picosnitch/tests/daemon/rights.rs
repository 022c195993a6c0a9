//! The rights of the running processes, as /proc shows them. What each role must not be able to do is tried in `sandbox`.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use nix::{
    mount::{MsFlags, mount},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::harness::{
    Daemon, SmallDisk, assert_recorded, base, error_log, fresh_address, picosnitch, place, root,
    service_user, talk, wait_until,
};

/// The value of a line of /proc/PID/status.
fn status(pid: u32, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line =
        text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_else(|| panic!("no {key}: {text}"));
    line.trim_start_matches(':').trim().to_owned()
}

/// The child of a daemon in a role.
fn role(daemon: &Daemon, name: &str) -> Option<u32> {
    daemon.children().into_iter().find(|pid| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        arguments.split(|byte| *byte == 0).any(|argument| argument == name.as_bytes())
    })
}

fn network(pid: impl std::fmt::Display) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/ns/net")).unwrap()
}

/// Asserts the rights of a role that has entered.
fn assert_confined(pid: u32) {
    let user = service_user();
    let ids = |id: u32| [id; 4].map(|id| id.to_string()).join("\t");
    assert_eq!(status(pid, "Uid"), ids(user.uid.as_raw()));
    assert_eq!(status(pid, "Gid"), ids(user.gid.as_raw()));
    assert_eq!(status(pid, "Groups"), "");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status(pid, set), "0000000000000000", "{set}");
    }
    assert_eq!((&*status(pid, "NoNewPrivs"), &*status(pid, "Seccomp")), ("1", "2"));
    // Not dumpable: its files in /proc belong to root.
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(format!("/proc/{pid}/environ")).unwrap());
    assert_eq!(owner, 0);
    let environment = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    let allowed = ["", "TZ", "RUST_BACKTRACE", "PICOSNITCH_USER"];
    assert!(
        environment.split('\0').all(|entry| allowed.contains(&entry.split('=').next().unwrap())),
        "{environment}"
    );
}

/// Asserts that a process has open only sockets, files of the kernel, and these files.
fn assert_descriptors(pid: u32, may: impl Fn(&Path) -> bool) {
    for descriptor in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let Ok(target) = fs::read_link(descriptor.path()) else { continue };
        let is_kernels = ["socket:", "anon_inode:", "pipe:", "/dev/null"]
            .iter()
            .any(|prefix| target.to_string_lossy().starts_with(prefix));
        assert!(is_kernels || may(&target), "{}: {}", descriptor.path().display(), target.display());
    }
}

#[test]
#[ignore = "needs root"]
fn each_process_has_the_rights_that_it_needs_and_no_more() {
    let _root = root();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/api/v3", listener.local_addr().unwrap());
    let base =
        base(&format!("[virustotal]\napi_key = \"the-key\"\nurl = \"{url}\"\nrequest_limit_seconds = 0\n"));
    let daemon = Daemon::start(base.path());
    let monitor = daemon.monitor().as_raw().cast_unsigned();
    // The monitor has two filters, which all inherit; each role has two of its own.
    let entered = |name| role(&daemon, name).is_some_and(|pid| status(pid, "Seccomp_filters") == "4");
    wait_until("the roles", || entered("recorder") && entered("exporter"));
    let (recorder, exporter) = (role(&daemon, "recorder").unwrap(), role(&daemon, "exporter").unwrap());
    assert_confined(recorder);
    assert_confined(exporter);
    assert_ne!(network(recorder), network("self"), "the recorder has a network");
    assert_eq!(network(exporter), network("self"));
    // What the monitor has given up: CHOWN, DAC_*, FOWNER, KILL, SET*, SYS_PTRACE, SYS_ADMIN, SYS_RESOURCE, PERFMON and BPF are left.
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        let held = u64::from_str_radix(&status(monitor, set), 16).unwrap();
        assert_eq!(held & !0x0000_00c0_0128_01ef, 0, "{set}");
    }
    assert_eq!((&*status(monitor, "NoNewPrivs"), &*status(monitor, "Seccomp")), ("1", "2"));
    // Executables that are being hashed may be open in the recorder, only to read.
    assert_descriptors(exporter, |_| false);
    let own = base.path().to_owned();
    assert_descriptors(recorder, |target| {
        target.starts_with(&own) || target.is_file() || target.to_string_lossy().ends_with("(deleted)")
    });
    // It records all the same, and the exporter, which has the key, asks about this program.
    let address = fresh_address();
    talk(address, 1000, 200);
    let mut request = listener.accept().unwrap().0;
    request.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut text = [0; 1024];
    let read = std::io::Read::read(&mut request, &mut text).unwrap_or(0);
    assert!(String::from_utf8_lossy(&text[..read]).contains("the-key"));
    drop((listener, request));
    daemon.stop(Signal::SIGTERM);
    assert_recorded(base.path(), address, 1, 1000, 200);
}

#[test]
#[ignore = "needs root"]
fn an_exporter_that_dies_is_told_and_started_again() {
    let _root = root();
    let base = base("[names]\nreverse_dns = true\n");
    let daemon = Daemon::start(base.path());
    wait_until("the exporter", || role(&daemon, "exporter").is_some());
    let first = role(&daemon, "exporter").unwrap();
    kill(Pid::from_raw(first.cast_signed()), Signal::SIGKILL).unwrap();
    wait_until("another one", || role(&daemon, "exporter").is_some_and(|pid| pid != first));
    wait_until("the error", || error_log(base.path()).contains("The exporter has ended"));
    daemon.stop(Signal::SIGTERM);
}

#[test]
#[ignore = "needs root"]
fn without_an_exporter_of_its_own_the_daemon_starts_none() {
    let _root = root();
    let base = base("[names]\nreverse_dns = true\n");
    let daemon = Daemon::start_as(picosnitch(base.path(), &["start-no-daemon", "--no-exporter"]));
    thread::sleep(Duration::from_secs(2));
    assert_eq!(role(&daemon, "exporter"), None);
    assert!(base.path().join("run/exporter.sock").exists());
    daemon.stop(Signal::SIGTERM);
    assert!(!base.path().join("run/exporter.sock").exists());
}

/// A unit has a mount namespace that is a slave of the machine's.
#[test]
#[ignore = "needs root"]
fn programs_on_file_systems_that_are_mounted_later_are_seen_from_a_slave_namespace() {
    let _root = root();
    let (base, place) = (base("[monitor]\nevery_exe = true\n"), place());
    // Mounts beneath it propagate into slave namespaces, as those of a machine with systemd do everywhere.
    let outer = SmallDisk::mount(place.path(), "1m");
    mount(None::<&str>, place.path(), None::<&str>, MsFlags::MS_SHARED, None::<&str>).unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let inner = place.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "slave"]).arg(env!("CARGO_BIN_EXE_picosnitch"));
    command.arg("--base-dir").arg(base.path()).arg("start-no-daemon").env_remove("PICOSNITCH_BASE_DIR");
    let daemon = Daemon::start_as(command);
    let disk = SmallDisk::mount(&inner, "16m");
    let seen = fs::read_to_string(format!("/proc/{}/mountinfo", daemon.monitor())).unwrap();
    assert!(seen.contains(inner.to_str().unwrap()), "the mount has not propagated");
    let program = inner.join("later");
    fs::copy("/bin/true", &program).unwrap();
    let recorded = || {
        assert!(Command::new(&program).status().unwrap().success());
        let text = fs::read_to_string(base.path().join("record.json")).unwrap_or_default();
        let record: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        record["SHA256"][program.to_str().unwrap()].as_object().is_some_and(|digests| !digests.is_empty())
    };
    wait_until("its digest", recorded);
    daemon.stop(Signal::SIGTERM);
    drop((disk, outer));
}
