//! Digests of programs that have ended, and whose files are deleted, before they are looked at.

use std::{
    collections::HashMap,
    fs,
    net::SocketAddrV4,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::Duration,
};

use model::{EventKind, Sha256};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::signal::{Signal, kill},
};
use store::Range;

use super::{
    executables,
    harness::{Daemon, base, error_log, fresh_address, reader, root},
    identity::{contexts, digest, program, run, server, wait_for_hashing, write_program},
};

/// Runs different programs that live for less than a millisecond and are deleted at once.
fn run_short_lived(directory: &Path, to: SocketAddrV4, count: u64) -> HashMap<PathBuf, Sha256> {
    let mut expected = HashMap::new();
    let mut running: Vec<Child> = Vec::new();
    for salt in 0..count {
        let path = directory.join(format!("program-{salt}"));
        // Written here, not by another process, which would start the programs too slowly to fill anything.
        fs::write(&path, program(to, salt)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        expected.insert(path.clone(), digest(&path));
        running.push(loop {
            match Command::new(&path).spawn() {
                // A child of another thread holds the file open for writing.
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => thread::yield_now(),
                spawned => break spawned.unwrap(),
            }
        });
        fs::remove_file(&path).unwrap();
        if running.len() > 64 {
            running.drain(..).for_each(|mut child| assert!(child.wait().unwrap().success()));
        }
    }
    running.drain(..).for_each(|mut child| assert!(child.wait().unwrap().success()));
    expected
}

fn assert_identified(base: &Path, to: SocketAddrV4, expected: &HashMap<PathBuf, Sha256>) {
    let found = contexts(base, *to.ip());
    let wrong: Vec<_> = expected
        .iter()
        .filter(|(path, sha256)| found.get(*path) != Some(&vec![(Some(**sha256), 1)]))
        .map(|(path, sha256)| (path, sha256.to_hex(), found.get(path)))
        .collect();
    let log = error_log(base);
    // A digest that is late is told, one that is never there has a reason.
    let late = reader(base).events_that(Range::default(), &[EventKind::LateDigest], u64::MAX, |event| {
        wrong.iter().any(|(path, ..)| path.as_os_str().as_bytes() == event.path)
    });
    assert!(
        wrong.is_empty(),
        "{} of {} wrong, {} of them late: {:?}\n{log}",
        wrong.len(),
        expected.len(),
        late.unwrap().len(),
        &wrong[..wrong.len().min(3)]
    );
}

#[test]
#[ignore = "needs root"]
fn a_program_that_runs_twice_and_is_deleted_before_it_is_looked_at_has_one_digest() {
    let _root = root();
    let base = base("");
    let daemon = Daemon::start(base.path());
    let to = server(fresh_address());
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    let path = place.path().join("twice");
    let digest = write_program(&path, to, 1);
    // Both executions wait until the file is old enough for the cache, and another one than executed by its change time.
    kill(daemon.monitor(), Signal::SIGSTOP).unwrap();
    run(&path);
    run(&path);
    thread::sleep(Duration::from_millis(50));
    fs::remove_file(&path).unwrap();
    wait_for_hashing();
    kill(daemon.monitor(), Signal::SIGCONT).unwrap();
    wait_for_hashing();
    daemon.stop(Signal::SIGTERM);
    let log = error_log(base.path());
    assert_eq!(contexts(base.path(), *to.ip())[&path], [(Some(digest), 2)], "{log}");
}

#[test]
#[ignore = "needs root"]
fn two_thousand_programs_that_are_gone_at_once_have_the_right_digests() {
    let _root = root();
    // They start faster than 3,000 a second: the default ring buffer is full when a virtual machine stands still for 0.1 s.
    let base = base("[monitor]\nring_buffer_pages = 512\n");
    let daemon = Daemon::start(base.path());
    let to = server(fresh_address());
    let disk = tempfile::tempdir_in("/var/tmp").unwrap();
    let expected = run_short_lived(disk.path(), to, 2000);
    daemon.stop(Signal::SIGTERM);
    assert_identified(base.path(), to, &expected);
}

/// Runs `work` in a mount namespace of its own, where `prepare` has mounted a file system at a new directory.
fn elsewhere<T: Send + 'static>(
    prepare: impl FnOnce(&Path) + Send + 'static,
    work: impl FnOnce(&Path) -> T + Send + 'static,
) -> T {
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    let directory = place.path().to_owned();
    let work = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        prepare(&directory);
        work(&directory)
    });
    work.join().unwrap()
}

fn mount_tmpfs(at: &Path) {
    mount(Some("programs"), at, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
}

fn mount_overlay(at: &Path) {
    // The layers are on a tmpfs: an overlay cannot be a layer of another one, and a container's disk may be an overlay.
    mount_tmpfs(at);
    for layer in ["lower", "upper", "work"] {
        fs::create_dir(at.join(layer)).unwrap();
    }
    let path = |layer| at.join(layer).display().to_string();
    let options = format!("lowerdir={},upperdir={},workdir={}", path("lower"), path("upper"), path("work"));
    mount(Some("overlay"), at, Some("overlay"), MsFlags::empty(), Some(options.as_str())).unwrap();
}

/// Mounts a btrfs sub-volume, whose device number in stat(2) differs from that of the kernel's super block.
fn mount_btrfs(at: &Path) {
    let script = "truncate -s 256M \"$1.image\" && mkfs.btrfs -q \"$1.image\" 2>/dev/null && mount -o loop \"$1.image\" \"$1\" &&
                  rm \"$1.image\" && btrfs -q subvolume create \"$1/volume\" && mount --bind \"$1/volume\" \"$1\"";
    assert!(Command::new("sh").args(["-c", script, "sh"]).arg(at).status().unwrap().success());
}

fn has_file_system(name: &str) -> bool {
    // Loads the module, if there is one.
    let _ = Command::new("modprobe").arg(name).stderr(std::process::Stdio::null()).status();
    fs::read_to_string("/proc/filesystems").unwrap().lines().any(|line| line.ends_with(&format!("\t{name}")))
}

/// Runs a first process that lives for a while, as a container has one.
fn run_init(directory: &Path) {
    let init = directory.join("init");
    executables::copy("/bin/sleep", &init);
    assert!(Command::new(&init).arg("1").status().unwrap().success());
}

#[test]
#[ignore = "needs root"]
fn programs_on_file_systems_that_only_a_container_sees_have_the_right_digests() {
    let _root = root();
    for (prepare, name) in
        [(mount_tmpfs as fn(&Path), "tmpfs"), (mount_overlay, "overlay"), (mount_btrfs, "btrfs")]
    {
        if !has_file_system(name) {
            eprintln!("skipped: this kernel has no {name}");
            continue;
        }
        let base = base("");
        let daemon = Daemon::start(base.path());
        let to = server(fresh_address());
        let expected = elsewhere(prepare, move |directory| {
            run_init(directory);
            run_short_lived(directory, to, 2000)
        });
        daemon.stop(Signal::SIGTERM);
        eprintln!("{name}");
        assert_identified(base.path(), to, &expected);
    }
}
