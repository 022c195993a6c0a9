//! AppImages: programs in a file system that their one file mounts, at another place at each start.

use std::{
    fs::{self, File},
    io::Read,
    net::{Ipv4Addr, SocketAddrV4, TcpListener},
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use identity::digests;
use nix::sys::signal::Signal;
use selftest::{
    fuse::{FuseMount, PROGRAM},
    program::{Action, elf},
};
use store::{Dimension, Filter, Query, Value};

use super::harness::{Daemon, base, fresh_address, place, reader, root, wait_until};

/// The marks of a type 2 AppImage in the padding of the ELF identification.
const MARKS: &[u8] = b"AI\x02";

/// Starts a server that accepts and reads connections until the test ends.
fn server(address: Ipv4Addr) -> SocketAddrV4 {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let _ = connection.unwrap().read_to_end(&mut Vec::new());
        }
    });
    SocketAddrV4::new(address, port)
}

/// An AppImage: a shell with the marks, which executes what it is told, as the runtime of a real one does.
fn image(directory: &Path) -> PathBuf {
    let path = directory.join("Tool-1.2.AppImage");
    let mut bytes = fs::read(fs::canonicalize("/bin/sh").unwrap()).unwrap();
    bytes[8..11].copy_from_slice(MARKS);
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// A program that sends some bytes and stays for a second.
fn program(to: SocketAddrV4, salt: u64) -> Vec<u8> {
    elf(Action::Send { to, bytes: 4, linger: 1 }, salt).unwrap()
}

fn mount_point(directory: &Path, number: usize) -> PathBuf {
    let point = directory.join(format!(".mount_Tool-1{number}"));
    fs::create_dir(&point).unwrap();
    point
}

/// The rows of the traffic to an address: path, digest, application, connections.
fn rows(base: &Path, address: Ipv4Addr) -> Vec<(PathBuf, String, String, u64)> {
    let query = Query {
        group_by: vec![Dimension::Executable, Dimension::Sha256, Dimension::App],
        filters: vec![Filter::equal(Dimension::Address, Value::Address(address.into()), false)],
        ..Query::default()
    };
    let text = |value: &Value| match value {
        Value::Bytes(bytes) => String::from_utf8(bytes.clone()).unwrap(),
        Value::Sha256(digest) => digest.to_hex(),
        _ => String::new(),
    };
    let rows = reader(base).query(&query).unwrap();
    rows.iter()
        .map(|row| {
            let [path, sha256, app] = [0, 1, 2].map(|at| text(&row.values[at]));
            (path.into(), sha256, app, row.counters.connections)
        })
        .collect()
}

/// The row of the image, with so many connections.
fn expected(image: &Path, connections: u64) -> Vec<(PathBuf, String, String, u64)> {
    let digest = digests::hash(&File::open(image).unwrap(), &mut [0; 4096]).unwrap();
    vec![(image.to_owned(), digest.to_hex(), "AppImage Tool-1.2".to_owned(), connections)]
}

#[test]
#[ignore = "needs root"]
fn an_app_image_is_one_program_however_often_it_starts() {
    let _root = root();
    let base = base("");
    let programs = place();
    let image = image(programs.path());
    let address = fresh_address();
    let to = server(address);
    let daemon = Daemon::start(base.path());
    for number in 0..3 {
        let point = mount_point(programs.path(), number);
        let _mount = FuseMount::mount(&point, "Tool-1.2.AppImage", program(to, number as u64), 0, 0).unwrap();
        let inner = point.join(PROGRAM);
        // The runtime executes the program itself, or AppRun is a script that does.
        for script in ["exec \"$0\"", "exec sh -c 'exec \"$0\"' \"$0\""] {
            assert!(Command::new(&image).arg("-c").arg(script).arg(&inner).status().unwrap().success());
        }
    }
    daemon.stop(Signal::SIGTERM);
    assert_eq!(rows(base.path(), address), expected(&image, 6));
    let alerts = fs::read_to_string(base.path().join("exe.log")).unwrap();
    let path = image.to_str().unwrap();
    let is_new = |line: &&str| {
        line.contains(path) && (line.ends_with("(new exe)") || line.ends_with("(new name, exe)"))
    };
    assert_eq!(alerts.lines().filter(is_new).count(), 1, "{alerts}");
    let mounts = programs.path().join(".mount_");
    assert!(!alerts.contains(mounts.to_str().unwrap()), "{alerts}");
}

#[test]
#[ignore = "needs root"]
fn programs_that_an_app_image_starts_in_its_mount_belong_to_it() {
    let _root = root();
    let base = base("");
    let programs = place();
    let image = image(programs.path());
    let address = fresh_address();
    let to = server(address);
    let point = mount_point(programs.path(), 0);
    let shell = fs::read(fs::canonicalize("/bin/bash").unwrap()).unwrap();
    let _mount = FuseMount::mount(&point, "Tool-1.2.AppImage", shell, 0, 0).unwrap();
    let connect = format!("exec 3<>/dev/tcp/{}/{}; sleep 1", to.ip(), to.port());
    let daemon = Daemon::start(base.path());
    // A shell in the mount starts another one there, and both connect.
    let started = Command::new(&image)
        .args(["-c", "exec \"$0\" -c '(\"$0\" -c \"$1\"); eval \"$1\"' \"$0\" \"$1\""])
        .arg(point.join(PROGRAM))
        .arg(connect)
        .status();
    assert!(started.unwrap().success());
    daemon.stop(Signal::SIGTERM);
    assert_eq!(rows(base.path(), address), expected(&image, 2));
}

#[test]
#[ignore = "needs root"]
fn an_app_image_that_ran_before_the_start_is_found_by_its_server() {
    let _root = root();
    let base = base("");
    let programs = place();
    let image = image(programs.path());
    let address = fresh_address();
    let to = server(address);
    let point = mount_point(programs.path(), 0);
    // A shell in the mount waits for its word, and connects then.
    let shell = fs::read(fs::canonicalize("/bin/bash").unwrap()).unwrap();
    let _mount = FuseMount::mount(&point, "Tool-1.2.AppImage", shell, 0, 0).unwrap();
    let inner = format!("read go; exec 3<>/dev/tcp/{}/{}; sleep 1", to.ip(), to.port());
    let mut running = Command::new(&image)
        .args(["-c", "\"$0\" -c \"$1\"; true"])
        .arg(point.join(PROGRAM))
        .arg(inner)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("the program in the mount", || {
        fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .any(|process| fs::read_link(process.path().join("exe")).is_ok_and(|exe| exe.starts_with(&point)))
    });
    let daemon = Daemon::start(base.path());
    drop(running.stdin.take());
    running.wait().unwrap();
    daemon.stop(Signal::SIGTERM);
    assert_eq!(rows(base.path(), address), expected(&image, 1));
}

#[test]
#[ignore = "needs root"]
fn a_name_alone_makes_no_app_image() {
    let _root = root();
    let base = base("");
    let programs = place();
    let image = image(programs.path());
    let address = fresh_address();
    let to = server(address);
    let daemon = Daemon::start(base.path());
    // An ordinary directory that an AppImage starts; mounts of its name that another program starts, with the AppImage as
    // a child, and that the AppImage starts in another process; a mount of another name that it starts itself.
    let ordinary = mount_point(programs.path(), 0);
    fs::write(ordinary.join(PROGRAM), program(to, 0)).unwrap();
    fs::set_permissions(ordinary.join(PROGRAM), fs::Permissions::from_mode(0o755)).unwrap();
    let mounted = [1, 2, 3].map(|number| mount_point(programs.path(), number));
    let names = ["Tool-1.2.AppImage", "Tool-1.2.AppImage", "another"];
    let mount = |at: usize| FuseMount::mount(&mounted[at], names[at], program(to, at as u64), 0, 0).unwrap();
    let _mounts = [0, 1, 2].map(mount);
    let with_child = "\"$1\" -c 'sleep 3; true' & sleep 1; exec \"$0\"";
    let started = [
        (image.as_path(), "exec \"$0\"", &ordinary),
        (Path::new("/bin/sh"), with_child, &mounted[0]),
        (&image, "sh -c '\"$0\"; true' \"$0\"; true", &mounted[1]),
        (&image, "exec \"$0\"", &mounted[2]),
    ];
    for (starter, script, point) in started {
        let inner = point.join(PROGRAM);
        assert!(
            Command::new(starter).args(["-c", script]).arg(inner).arg(&image).status().unwrap().success()
        );
    }
    daemon.stop(Signal::SIGTERM);
    let mut found: Vec<(PathBuf, String)> =
        rows(base.path(), address).into_iter().map(|(path, _, app, _)| (path, app)).collect();
    found.sort();
    let mut expected: Vec<_> = started.map(|(.., point)| (point.join(PROGRAM), String::new())).into();
    expected.sort();
    assert_eq!(found, expected);
    assert!(found.iter().all(|(path, _)| path.as_os_str().as_bytes().ends_with(PROGRAM.as_bytes())));
}
