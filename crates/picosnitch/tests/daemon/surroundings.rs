//! What the daemon is started with, and where: directories of others, inherited descriptors and limits, namespaces. A start
//! that cannot work says what and what to do; one that can work is not disturbed.

use std::{
    fs::{self, File},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::{
            ffi::OsStringExt,
            fs::{MetadataExt, PermissionsExt, chown, symlink},
            process::CommandExt,
        },
    },
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::{
        resource::{RLIM_INFINITY, Resource, setrlimit},
        signal::{SigHandler, Signal, kill, signal},
        stat::{Mode, umask},
    },
};
use store::Dimension;

use super::{
    executables,
    harness::{
        Daemon, assert_recorded, base, configure, fresh_address, picosnitch, picosnitch_elsewhere, place,
        recorded, refused, root, root_alone, service_user, talk, wait_until,
    },
};

fn start(base: &Path) -> Command {
    picosnitch(base, &["start-no-daemon"])
}

/// Starts a daemon that is expected to refuse with this exit code. Returns its standard error, which has no error numbers.
fn refuse(command: Command, code: i32) -> String {
    let (found, text) = refused(command);
    assert_eq!(found, code, "{text}");
    assert!(!text.contains("os error"), "{text}");
    text
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn owner_and_mode(path: &Path) -> (u32, u32, u32) {
    let found = fs::metadata(path).unwrap();
    (found.uid(), found.gid(), found.mode() & 0o7777)
}

#[test]
#[ignore = "needs root"]
fn a_second_daemon_is_refused_whatever_was_removed_and_by_whatever_path() {
    let _root = root();
    let base = base("");
    let around = place();
    let (link, bound) = (around.path().join("link"), around.path().join("bound"));
    symlink(base.path(), &link).unwrap();
    fs::create_dir(&bound).unwrap();
    let daemon = Daemon::start(base.path());
    mount(Some(base.path()), &bound, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    for path in [base.path(), &link, &bound] {
        fs::remove_dir_all(base.path().join("run")).unwrap();
        let text = refuse(start(path), 1);
        assert!(text.contains(&format!("running already (process {})", daemon.monitor())), "{text}");
    }
    umount2(&bound, MntFlags::MNT_DETACH).unwrap();
    let address = fresh_address();
    talk(address, 31, 13);
    daemon.stop(Signal::SIGTERM);
    assert_recorded(base.path(), address, 1, 31, 13);
}

#[test]
#[ignore = "needs root"]
fn a_lock_of_another_user_keeps_no_daemon_from_starting() {
    let _root = root();
    let base = base("");
    set_mode(base.path(), 0o1775);
    let group = service_user().gid.as_raw();
    let mut stranger = Command::new("flock")
        .arg("--no-fork")
        .stdout(Stdio::null())
        .arg(base.path())
        .args(["sleep", "60"])
        .uid(4242)
        .gid(group)
        .spawn()
        .unwrap();
    let locks = || fs::read_to_string("/proc/locks").unwrap();
    wait_until("the lock", || locks().contains(&format!(" {} ", stranger.id())));
    Daemon::start(base.path()).stop(Signal::SIGTERM);
    let _ = stranger.kill();
    let _ = stranger.wait();
}

#[test]
#[ignore = "needs root"]
fn a_directory_that_was_there_keeps_owner_and_mode() {
    let _root = root();
    let around = place();
    let base = around.path().join("base");
    fs::create_dir(&base).unwrap();
    for mode in [0o755, 0o700, 0o750] {
        set_mode(&base, mode);
        let text = refuse(start(&base), 1);
        assert!(text.contains("may not make files in the directory"), "{text}");
        assert!(text.contains(&format!("mode {mode:04o}")) && text.contains("chmod 1770"), "{text}");
        assert_eq!(owner_and_mode(&base), (0, 0, mode));
        assert_eq!(fs::read_dir(&base).unwrap().count(), 0, "something was made");
    }
    let group = service_user().gid.as_raw();
    chown(&base, None, Some(group)).unwrap();
    for mode in [0o1770, 0o1775] {
        set_mode(&base, mode);
        Daemon::start(&base).stop(Signal::SIGTERM);
        assert_eq!(owner_and_mode(&base), (0, group, mode));
    }
    // The directories of the daemon itself.
    let made = around.path().join("a/b");
    Daemon::start(&made).stop(Signal::SIGTERM);
    assert_eq!(owner_and_mode(&made), (0, group, 0o1770));
    assert_eq!(owner_and_mode(&made.join("run")), (0, 0, 0o755));
    chown(&made, Some(4242), None).unwrap();
    let text = refuse(start(&made), 78);
    assert!(text.contains("belongs to user 4242"), "{text}");
}

#[test]
#[ignore = "needs root"]
fn the_directory_that_stops_the_recorder_is_named() {
    let _root = root();
    let around = place();
    let closed = around.path().join("closed");
    fs::create_dir(&closed).unwrap();
    set_mode(&closed, 0o700);
    let text = refuse(start(&closed.join("x/base")), 1);
    let (user, _) = service_user().names();
    assert!(text.contains(&format!("the user {user}, who writes the log, may not pass")), "{text}");
    assert!(text.contains(&format!("chmod o+x '{}'", closed.display())), "{text}");
    assert_eq!(fs::read_dir(&closed).unwrap().count(), 0, "something was made");
    // A file of another user in the place of the log.
    let base = base("");
    let database = base.path().join("snitch.db");
    fs::write(&database, "").unwrap();
    chown(&database, Some(4242), None).unwrap();
    set_mode(&database, 0o600);
    let text = refuse(start(base.path()), 1);
    assert!(text.contains(&format!("may not write to {}", database.display())), "{text}");
}

#[test]
#[ignore = "needs root"]
fn paths_that_lead_nowhere_are_explained() {
    let _root = root();
    let around = place();
    let (file, link) = (around.path().join("file"), around.path().join("link"));
    fs::write(&file, "").unwrap();
    symlink("/nowhere", &link).unwrap();
    for (path, expected) in [
        (file.clone(), "a part of the path is a file"),
        (file.join("below"), "a part of the path is a file"),
        (link.clone(), "a symbolic link to a directory that does not exist"),
    ] {
        let text = refused(start(&path)).1;
        assert!(text.contains(expected) && text.contains("--base-dir"), "{text}");
    }
    let gone = around.path().join("gone");
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "mkdir \"$1\" && cd \"$1\" && rmdir \"$1\" && exec \"$0\" --base-dir x start-no-daemon",
    ]);
    command.arg(env!("CARGO_BIN_EXE_picosnitch")).arg(&gone);
    let text = refuse(command, 1);
    assert!(text.contains("the current directory does not exist"), "{text}");
    assert!(!Path::new("/x").exists());
    let read_only = "mount -t tmpfs -o ro none /mnt";
    let text = refused(picosnitch_elsewhere(read_only, Path::new("/mnt/base"), &["start-no-daemon"])).1;
    assert!(text.contains("read-only"), "{text}");
}

#[test]
#[ignore = "needs root"]
fn a_configuration_that_root_did_not_write_is_refused() {
    let _root = root();
    let base = base("");
    let (toml, json) = (base.path().join("config.toml"), base.path().join("config.json"));
    fs::remove_file(&toml).unwrap();
    fs::write(&json, "{}").unwrap();
    let user = service_user().uid.as_raw();
    fs::write(&toml, "[log]\nignore = [443]\n").unwrap();
    chown(&toml, Some(user), None).unwrap();
    let text = refuse(start(base.path()), 78);
    assert!(
        text.contains(&format!("belongs to user {user}, not to root")) && text.contains("chown"),
        "{text}"
    );
    fs::remove_file(&toml).unwrap();
    chown(&json, None, Some(4242)).unwrap();
    for (mode, expected) in [(0o664, "its group"), (0o646, "every user")] {
        set_mode(&json, mode);
        let text = refuse(start(base.path()), 78);
        assert!(text.contains(expected) && text.contains("chmod go-w"), "{text}");
    }
    chown(&json, None, Some(0)).unwrap();
    set_mode(&json, 0o644);
    // A link of the service user to a file of root.
    symlink("/etc/hostname", &toml).unwrap();
    std::os::unix::fs::lchown(&toml, Some(user), None).unwrap();
    assert!(refuse(start(base.path()), 78).contains("the symbolic link of that name belongs"), "link");
    fs::remove_file(&toml).unwrap();
    set_mode(base.path(), 0o770);
    assert!(refuse(start(base.path()), 78).contains("could replace the file"), "directory");
    set_mode(base.path(), 0o1770);
    Daemon::start(base.path()).stop(Signal::SIGTERM);
}

#[test]
#[ignore = "needs root"]
fn nothing_of_the_starter_reaches_the_recorder() {
    let _root = root();
    let base = base("");
    let secret = tempfile::NamedTempFile::new().unwrap();
    let inherited = File::open(secret.path()).unwrap();
    let mut command = start(base.path());
    command
        .env("SECRET", "of root")
        .env_remove("RUST_BACKTRACE")
        .env("TZ", "Europe/Berlin")
        .current_dir("/var");
    let raw = inherited.as_raw_fd();
    // SAFETY: system calls only.
    unsafe {
        command.pre_exec(move || {
            let copy = OwnedFd::from_raw_fd(libc::dup2(raw, 77));
            std::mem::forget(copy);
            signal(Signal::SIGCHLD, SigHandler::SigIgn)?;
            signal(Signal::SIGTERM, SigHandler::SigIgn)?;
            umask(Mode::from_bits_truncate(0o777));
            setrlimit(Resource::RLIMIT_FSIZE, 8192, RLIM_INFINITY)?;
            Ok(())
        });
    }
    let daemon = Daemon::start_as(command);
    for pid in [daemon.monitor(), daemon.recorder()] {
        let process = format!("/proc/{pid}");
        let open = fs::read_dir(format!("{process}/fd")).unwrap();
        let open: Vec<_> = open.flatten().filter_map(|link| fs::read_link(link.path()).ok()).collect();
        assert!(!open.iter().any(|target| target == secret.path()), "{open:?}");
        assert_eq!(fs::read_link(format!("{process}/cwd")).unwrap(), Path::new("/"));
    }
    let environment = fs::read(format!("/proc/{}/environ", daemon.recorder())).unwrap();
    let environment = String::from_utf8_lossy(&environment);
    let (of_daemon, kept): (Vec<_>, Vec<_>) =
        environment.split_terminator('\0').partition(|variable| variable.starts_with("PICOSNITCH_USER="));
    assert!(of_daemon.len() == 1 && kept == ["TZ=Europe/Berlin"], "{environment}");
    let status = fs::read_to_string(format!("/proc/{}/stat", daemon.recorder())).unwrap();
    let terminal = status.rsplit_once(") ").unwrap().1.split(' ').nth(4).unwrap();
    assert_eq!(terminal, "0", "the recorder has a terminal");
    let address = fresh_address();
    talk(address, 5, 6);
    daemon.stop(Signal::SIGTERM);
    assert_recorded(base.path(), address, 1, 5, 6);
    // The umask left no rights.
    let mode = |file: &str| owner_and_mode(&base.path().join(file)).2;
    assert_eq!((mode("run"), mode("run/picosnitch.pid")), (0o755, 0o644));
    assert_eq!((mode("snitch.db"), mode("record.json") & 0o600), (0o640, 0o600));
}

#[test]
#[ignore = "needs root"]
fn a_pid_file_without_rights_gets_them() {
    let _root = root();
    let base = base("");
    let run = base.path().join("run");
    fs::create_dir(&run).unwrap();
    for file in [run.join("picosnitch.pid"), base.path().join("error.log"), base.path().join("exe.log")] {
        fs::write(&file, "").unwrap();
        set_mode(&file, 0);
    }
    Daemon::start(base.path()).stop(Signal::SIGTERM);
    assert_eq!(owner_and_mode(&run.join("picosnitch.pid")).2, 0o644);
    for file in ["error.log", "exe.log"] {
        assert_eq!(owner_and_mode(&base.path().join(file)).2, 0o640, "{file}");
    }
}

#[test]
#[ignore = "needs root"]
fn traffic_until_the_end_is_recorded() {
    // What other tests do would take the time that is measured here.
    let _root = root_alone();
    let base = base("");
    let daemon = Daemon::start(base.path());
    let address = fresh_address();
    let begun = Instant::now();
    let sender = thread::spawn(move || {
        let mut ends = Vec::new();
        while begun.elapsed() < Duration::from_secs(8) {
            talk(address, 1000, 0);
            ends.push(Instant::now());
            thread::sleep(Duration::from_millis(2));
        }
        ends
    });
    thread::sleep(Duration::from_secs(1));
    let monitor = daemon.monitor();
    kill(monitor, Signal::SIGTERM).unwrap();
    let (status, text) = daemon.end();
    let ended = Instant::now();
    assert_eq!(status.code(), Some(0), "{text}");
    let made: Vec<Instant> = sender.join().unwrap();
    let connections = recorded(base.path(), Dimension::Address, address).connections as usize;
    assert!(connections < made.len());
    let unrecorded = ended - made[connections.saturating_sub(1)];
    assert!(unrecorded < Duration::from_millis(500), "nothing was recorded in the last {unrecorded:?}");
}

#[test]
#[ignore = "needs root"]
fn a_machine_that_lacks_something_is_explained() {
    let _root = root();
    let base = base("");
    for (prepare, expected) in
        [("umount -l /proc", "/proc is not mounted"), ("umount -l /sys", "/sys is not mounted")]
    {
        let text = refuse(picosnitch_elsewhere(prepare, base.path(), &["start-no-daemon"]), 1);
        assert!(text.contains(expected) && text.contains("mount -t"), "{text}");
    }
    let wrapped = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).arg(env!("CARGO_BIN_EXE_picosnitch")).arg("--base-dir").arg(base.path());
        command.arg("start-no-daemon").env_remove("PICOSNITCH_BASE_DIR");
        command
    };
    let text = refuse(wrapped("unshare", &["--user", "--map-root-user"]), 1);
    assert!(text.contains("in a user namespace"), "{text}");
    let text = refuse(wrapped("setpriv", &["--bounding-set", "-sys_admin,-bpf", "--inh-caps", "-all"]), 1);
    assert!(text.contains("root lacks CAP_SYS_ADMIN") && text.contains("--privileged"), "{text}");
    assert!(!base.path().join("snitch.db").exists(), "half started");
}

#[test]
#[ignore = "needs root"]
fn a_limit_that_cannot_be_lifted_is_explained() {
    let _root = root();
    let base = base("");
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-sys_resource", "--inh-caps", "-all"]);
    command.arg(env!("CARGO_BIN_EXE_picosnitch")).arg("--base-dir").arg(base.path()).arg("start-no-daemon");
    // SAFETY: a system call only.
    unsafe {
        command.pre_exec(|| Ok(setrlimit(Resource::RLIMIT_FSIZE, 8192, 8192)?));
    }
    let text = refuse(command, 1);
    assert!(text.contains("8192 bytes") && text.contains("ulimit -f"), "{text}");
    assert!(!base.path().join("snitch.db").exists(), "half started");
}

#[test]
#[ignore = "needs root"]
fn a_base_directory_of_any_name_works() {
    let _root = root();
    let around = place();
    let base = around.path().join(std::ffi::OsString::from_vec(b"a \xff\n'b".to_vec()));
    let daemon = Daemon::start(&base);
    let address = fresh_address();
    talk(address, 9, 8);
    let output = picosnitch(&base, &["status", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    daemon.stop(Signal::SIGTERM);
    assert_recorded(&base, address, 1, 9, 8);
}

#[test]
#[ignore = "needs root"]
fn check_config_of_another_user_says_who_may_read_it() {
    let _root = root();
    let around = place();
    let binary = around.path().join("picosnitch");
    executables::copy(env!("CARGO_BIN_EXE_picosnitch"), &binary);
    let base = around.path().join("base");
    fs::create_dir(&base).unwrap();
    configure(&base, "");
    set_mode(&base.join("config.toml"), 0o640);
    let mut command = Command::new(&binary);
    command.arg("--base-dir").arg(&base).arg("check-config").uid(65_534).gid(65_534);
    let text = refuse(command, 77);
    assert!(text.contains("you have no right to read") && text.contains("sudo"), "{text}");
}

#[test]
#[ignore = "needs root"]
fn a_stopped_recorder_is_told_by_those_who_ask_and_writes_its_data_at_the_end() {
    // The window gets long: much traffic of other tests would be summed with that of this one, since it is of one program.
    let _root = root_alone();
    let base = base("");
    let daemon = Daemon::start(base.path());
    let recorder = daemon.recorder();
    kill(recorder, Signal::SIGSTOP).unwrap();
    let address = fresh_address();
    talk(address, 3, 2);
    for arguments in [&["status"][..], &["top", "--json"]] {
        let output = picosnitch(base.path(), arguments).output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(if arguments[0] == "status" { 4 } else { 1 }), "{text}");
        assert!(text.contains(&format!("process {}", daemon.monitor())), "{text}");
        assert!(text.contains("stopped") && !text.contains("os error"), "{text}");
    }
    daemon.stop(Signal::SIGTERM);
    assert_recorded(base.path(), address, 1, 3, 2);
}
