//! Whose digest is in the log: of programs that are gone at once, of files that are replaced, deleted, or never were.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Read,
    net::{Ipv4Addr, SocketAddrV4, TcpListener},
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::signal::Signal,
};
use picosnitch::{
    model::Sha256,
    record::digests,
    selftest::program::{Deed, elf},
    store::{Dimension, Filter, Query, Value},
};

use super::harness::{Daemon, base, error_log, fresh_address, reader, root};

/// A server that takes whatever the programs send, until the test ends.
fn server(address: Ipv4Addr) -> SocketAddrV4 {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut bytes = Vec::new();
            let _ = connection.unwrap().read_to_end(&mut bytes);
        }
    });
    SocketAddrV4::new(address, port)
}

/// Writes a program and returns its digest.
fn write_program(path: &Path, to: SocketAddrV4, salt: u64) -> Sha256 {
    fs::write(path, elf(Deed::Send { to, bytes: 4 }, salt).unwrap()).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    digest(path)
}

fn digest(path: &Path) -> Sha256 {
    digests::hash(&File::open(path).unwrap(), &mut [0; 4096]).unwrap()
}

/// Who talked to the address: path -> digests, with the connections of each.
fn talkers(base: &Path, address: Ipv4Addr) -> HashMap<PathBuf, Vec<(Option<Sha256>, u64)>> {
    let query = Query {
        group_by: vec![Dimension::Executable, Dimension::Sha256],
        filters: vec![Filter::equal(Dimension::Address, Value::Address(address.into()), false)],
        ..Query::default()
    };
    let mut talkers: HashMap<PathBuf, Vec<_>> = HashMap::new();
    for row in reader(base).query(&query).unwrap() {
        let [Value::Bytes(path), sha256] = row.values.as_slice() else { panic!("{row:?}") };
        let sha256 = match sha256 {
            Value::Sha256(digest) => Some(*digest),
            _ => None,
        };
        let path = Path::new(std::ffi::OsStr::from_bytes(path)).to_owned();
        talkers.entry(path).or_default().push((sha256, row.amounts.connections));
    }
    talkers
}

/// Another thread's child may hold the file open for writing, for a moment.
fn spawn(program: &Path) -> Child {
    loop {
        match Command::new(program).spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => thread::yield_now(),
            spawned => return spawned.unwrap(),
        }
    }
}

/// Different programs that live for less than a millisecond and are deleted at once.
fn run_short_lived(directory: &Path, to: SocketAddrV4, count: u64) -> HashMap<PathBuf, Sha256> {
    let mut expected = HashMap::new();
    let mut running: Vec<Child> = Vec::new();
    for salt in 0..count {
        let path = directory.join(format!("program-{salt}"));
        expected.insert(path.clone(), write_program(&path, to, salt));
        running.push(spawn(&path));
        fs::remove_file(&path).unwrap();
        if running.len() > 64 {
            running.drain(..).for_each(|mut child| assert!(child.wait().unwrap().success()));
        }
    }
    running.drain(..).for_each(|mut child| assert!(child.wait().unwrap().success()));
    expected
}

fn assert_identified(base: &Path, to: SocketAddrV4, expected: &HashMap<PathBuf, Sha256>) {
    let found = talkers(base, *to.ip());
    let wrong: Vec<_> = expected
        .iter()
        .filter(|(path, sha256)| found.get(*path) != Some(&vec![(Some(**sha256), 1)]))
        .map(|(path, sha256)| (path, sha256.to_hex(), found.get(path)))
        .collect();
    let log = error_log(base);
    assert!(
        wrong.is_empty(),
        "{} of {} wrong: {:?}\n{log}",
        wrong.len(),
        expected.len(),
        &wrong[..wrong.len().min(3)]
    );
}

#[test]
fn two_thousand_programs_that_are_gone_at_once_have_the_right_digests() {
    let Some(_root) = root() else { return };
    let base = base("");
    let daemon = Daemon::start(base.path());
    let to = server(fresh_address());
    let disk = tempfile::tempdir_in("/var/tmp").unwrap();
    let expected = run_short_lived(disk.path(), to, 2000);
    eprintln!("{}", daemon.stop(Signal::SIGTERM));
    assert_identified(base.path(), to, &expected);
}

/// Runs something in a mount namespace of its own, where `prepare` has mounted a file system at a new directory.
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
    // Layers on a tmpfs: an overlay cannot be a layer of another one, and the disk may be one in a container.
    mount_tmpfs(at);
    for layer in ["lower", "upper", "work"] {
        fs::create_dir(at.join(layer)).unwrap();
    }
    let path = |layer| at.join(layer).display().to_string();
    let options = format!("lowerdir={},upperdir={},workdir={}", path("lower"), path("upper"), path("work"));
    mount(Some("overlay"), at, Some("overlay"), MsFlags::empty(), Some(options.as_str())).unwrap();
}

/// What a container has: a first process that lives for a while.
fn run_init(directory: &Path) {
    let init = directory.join("init");
    fs::copy("/bin/sleep", &init).unwrap();
    assert!(Command::new(&init).arg("1").status().unwrap().success());
}

#[test]
fn so_have_those_on_file_systems_that_only_a_container_sees() {
    let Some(_root) = root() else { return };
    for (prepare, name) in [(mount_tmpfs as fn(&Path), "tmpfs"), (mount_overlay, "overlayfs")] {
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
