//! Digests of programs, and of files that are replaced, hidden or only in memory.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Read,
    net::{Ipv4Addr, SocketAddrV4, TcpListener},
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use identity::digests;
use model::Sha256;
use nix::sys::signal::Signal;
use selftest::program::{Action, elf};
use store::{Dimension, Filter, Query, Value};

use super::{
    executables,
    harness::{Daemon, base, error_log, fresh_address, reader, root},
};

/// Starts a server that accepts and reads connections until the test ends.
pub fn server(address: Ipv4Addr) -> SocketAddrV4 {
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

/// A program that sends four bytes and ends.
pub fn program(to: SocketAddrV4, salt: u64) -> Vec<u8> {
    elf(Action::Send { to, bytes: 4, linger: 0 }, salt).unwrap()
}

/// Writes a program and returns its digest.
pub fn write_program(path: &Path, to: SocketAddrV4, salt: u64) -> Sha256 {
    executables::write(path, &program(to, salt));
    digest(path)
}

pub fn digest(path: &Path) -> Sha256 {
    digests::hash(&File::open(path).unwrap(), &mut [0; 4096]).unwrap()
}

/// The programs that connected to the address: path -> digests, with the connections of each.
pub fn contexts(base: &Path, address: Ipv4Addr) -> HashMap<PathBuf, Vec<(Option<Sha256>, u64)>> {
    let query = Query {
        group_by: vec![Dimension::Executable, Dimension::Sha256],
        filters: vec![Filter::equal(Dimension::Address, Value::Address(address.into()), false)],
        ..Query::default()
    };
    let mut contexts: HashMap<PathBuf, Vec<_>> = HashMap::new();
    for row in reader(base).query(&query).unwrap() {
        let [Value::Bytes(path), sha256] = row.values.as_slice() else { panic!("{row:?}") };
        let sha256 = match sha256 {
            Value::Sha256(digest) => Some(*digest),
            _ => None,
        };
        let path = Path::new(std::ffi::OsStr::from_bytes(path)).to_owned();
        contexts.entry(path).or_default().push((sha256, row.counters.connections));
    }
    contexts
}

/// The outcome of a case: digests of the connecting programs, exe.log, and error.log.
struct Case {
    contexts: HashMap<PathBuf, Vec<(Option<Sha256>, u64)>>,
    alerts: Vec<String>,
    errors: String,
}

/// Runs a case in a directory of its own, under a daemon.
fn case(work: impl FnOnce(&Path, SocketAddrV4)) -> Case {
    let base = base("");
    let daemon = Daemon::start(base.path());
    let to = server(fresh_address());
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    work(place.path(), to);
    daemon.stop(Signal::SIGTERM);
    let directory = place.path().display().to_string();
    let alerts = fs::read_to_string(base.path().join("exe.log")).unwrap();
    let alerts = alerts.lines().filter(|line| line.contains(&directory) || line.contains("memfd"));
    // Time and directory are removed, because they differ each time.
    let alerts = alerts.map(|line| line[20..].replace(&format!("{directory}/"), "")).collect();
    let contexts = contexts(base.path(), *to.ip());
    let contexts = contexts
        .into_iter()
        .map(|(path, digests)| (path.strip_prefix(place.path()).map(Path::to_owned).unwrap_or(path), digests))
        .collect();
    Case { contexts, alerts, errors: error_log(base.path()) }
}

impl Case {
    /// Asserts the digests under which a path connected, in any order.
    #[track_caller]
    fn assert_digests(&self, path: &str, expected: &[Sha256]) {
        let found: Vec<_> =
            self.contexts.get(Path::new(path)).into_iter().flatten().map(|(sha256, _)| *sha256).collect();
        let all_there = expected.iter().all(|digest| found.contains(&Some(*digest)));
        assert!(
            all_there && found.len() == expected.len(),
            "{path}: {found:?} instead of {expected:?}\n{}",
            self.errors
        );
    }
}

pub fn run(program: &Path) {
    assert!(Command::new(program).status().unwrap().success());
}

/// Waits until the executed file was hashed; a modification before that would make it impossible.
pub fn wait_for_hashing() {
    thread::sleep(Duration::from_millis(700));
}

fn digits(digest: Sha256) -> String {
    digest.to_hex()[..16].to_owned()
}

#[test]
#[ignore = "needs root"]
fn a_file_that_is_modified_in_place_or_replaced_is_another_program_under_the_same_path() {
    let _root = root();
    for by_rename in [false, true] {
        let mut digests = Vec::new();
        let case = case(|place, to| {
            // No program of another test has this name: the daemon sees those as well.
            let path = place.join("changing");
            digests.push(write_program(&path, to, 1));
            run(&path);
            run(&path);
            wait_for_hashing();
            if by_rename {
                digests.push(write_program(&place.join("new"), to, 2));
                fs::rename(place.join("new"), &path).unwrap();
            } else {
                digests.push(write_program(&path, to, 2));
            }
            run(&path);
            wait_for_hashing();
        });
        case.assert_digests("changing", &digests);
        let changed = format!("{} changing (new hash), ", digits(digests[1]));
        assert_eq!(case.alerts.len(), 2, "{:?}", case.alerts);
        assert_eq!(case.alerts[0], "changing         changing (new name, exe)");
        let words = case.alerts[1].strip_prefix(&changed).expect("another alert");
        let expected =
            if by_rename { "replaced by another file, not known who wrote it" } else { "changed by /" };
        assert!(words.starts_with(expected), "{words}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_modification_that_hides_its_time_is_noticed() {
    let _root = root();
    let mut digests = Vec::new();
    let case = case(|place, to| {
        let path = place.join("program");
        digests.push(write_program(&path, to, 1));
        // Old enough for its digest to be cached.
        wait_for_hashing();
        run(&path);
        wait_for_hashing();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        digests.push(write_program(&path, to, 2));
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        wait_for_hashing();
        run(&path);
        wait_for_hashing();
    });
    case.assert_digests("program", &digests);
}

#[test]
#[ignore = "needs root"]
fn a_program_that_is_mounted_over_another_one_has_its_path_and_its_own_digest() {
    let _root = root();
    // Mounted for all processes, and then only in a mount namespace: a path means what its namespace says.
    for private in [false, true] {
        let mut digests = Vec::new();
        let case = case(|place, to| {
            let (path, other) = (place.join("program"), place.join("other"));
            digests.push(write_program(&path, to, 1));
            digests.push(write_program(&other, to, 2));
            run(&path);
            wait_for_hashing();
            let bind = format!("mount --bind '{}' '{}'", other.display(), path.display());
            let script = match private {
                // Its file is hashed right after its start and is in use until then.
                false => format!(
                    "{bind} && '{0}' && for attempt in $(seq 100); do umount '{0}' && exit; sleep 0.1; done; exit 1",
                    path.display()
                ),
                true => format!("unshare --mount sh -c \"{bind} && '{}'\"", path.display()),
            };
            assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
            wait_for_hashing();
        });
        case.assert_digests("program", &digests);
        assert!(
            case.alerts
                .iter()
                .any(|alert| alert.starts_with(&format!("{} program (new hash), ", digits(digests[1])))),
            "{:?}",
            case.alerts
        );
    }
}

#[test]
#[ignore = "needs root"]
fn parents_have_digests_too() {
    let _root = root();
    let base = base("");
    let daemon = Daemon::start(base.path());
    let to = server(fresh_address());
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    let path = |name| place.path().join(name);
    write_program(&path("program"), to, 1);
    // Two shells that differ, and end at once like the program itself.
    for name in ["outer", "inner"] {
        let shell = [fs::read("/bin/sh").unwrap(), name.into()].concat();
        executables::write(&path(name), &shell);
    }
    let inner = format!("'{}' -c \"'{}'; :\"; :", path("inner").display(), path("program").display());
    assert!(Command::new(path("outer")).args(["-c", &inner]).status().unwrap().success());
    daemon.stop(Signal::SIGTERM);
    let query = Query {
        group_by: vec![Dimension::Sha256, Dimension::ParentSha256, Dimension::GrandparentSha256],
        filters: vec![Filter::equal(Dimension::Address, Value::Address((*to.ip()).into()), false)],
        ..Query::default()
    };
    let rows = reader(base.path()).query(&query).unwrap();
    let expected = ["program", "inner", "outer"].map(|name| Value::Sha256(digest(&path(name))));
    assert_eq!(rows.iter().map(|row| row.values.as_slice()).collect::<Vec<_>>(), [expected.as_slice()]);
}

#[test]
#[ignore = "needs root"]
fn names_do_not_make_a_program() {
    let _root = root();
    let mut digest = None;
    let case = case(|place, to| {
        // No program of another test has this name: the daemon sees those as well.
        let path = place.join("original");
        digest = Some(write_program(&path, to, 1));
        run(&path);
        // The pause makes the order of the alerts independent of the order within one drain.
        wait_for_hashing();
        // A copy with the same name in another directory.
        fs::create_dir(place.join("elsewhere")).unwrap();
        executables::copy(&path, place.join("elsewhere/original"));
        run(&place.join("elsewhere/original"));
        // Two hard links of one file, as for a multi-call binary.
        fs::hard_link(&path, place.join("link")).unwrap();
        run(&place.join("link"));
        // A symbolic link is not the path of the file, but its name becomes that of the process.
        std::os::unix::fs::symlink(&path, place.join("symbolic")).unwrap();
        run(&place.join("symbolic"));
        // The caller chooses argv.
        use std::os::unix::process::CommandExt;
        assert!(Command::new(&path).arg0("/usr/sbin/sshd").arg("-D").status().unwrap().success());
        wait_for_hashing();
    });
    let digest = digest.unwrap();
    for path in ["original", "elsewhere/original", "link"] {
        case.assert_digests(path, &[digest]);
    }
    let mut alerts = case.alerts.clone();
    alerts.sort();
    assert_eq!(
        alerts,
        [
            "link             link (new name, exe)",
            "original         elsewhere/original (new exe)",
            "original         original (new name, exe)",
            "symbolic         original (new name)",
        ]
    );
}

#[test]
#[ignore = "needs root"]
fn unreadable_executables_have_a_digest_and_giants_an_error() {
    let _root = root();
    let mut digest = None;
    let case = case(|place, to| {
        fs::set_permissions(place, fs::Permissions::from_mode(0o755)).unwrap();
        let path = place.join("unreadable");
        digest = Some(write_program(&path, to, 1));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o111)).unwrap();
        use std::os::unix::process::CommandExt;
        assert!(Command::new(&path).uid(65_534).gid(65_534).status().unwrap().success());
        let giant = place.join("giant");
        write_program(&giant, to, 2);
        assert!(Command::new("truncate").args(["--size", "200G"]).arg(&giant).status().unwrap().success());
        run(&giant);
        wait_for_hashing();
    });
    case.assert_digests("unreadable", &[digest.unwrap()]);
    assert_eq!(case.contexts[Path::new("giant")], [(None, 1)]);
    assert!(case.errors.contains("giant") && case.errors.contains("16 GiB"), "{}", case.errors);
}

#[test]
#[ignore = "needs root"]
fn every_executed_program_is_a_record_with_every_exe() {
    let _root = root();
    let base = base("[monitor]\nevery_exe = true\n");
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    let path = place.path().join("silent");
    executables::write(&path, &elf(Action::Exit, 7).unwrap());
    let daemon = Daemon::start(base.path());
    run(&path);
    wait_for_hashing();
    daemon.stop(Signal::SIGTERM);
    let query = Query {
        group_by: vec![Dimension::Executable, Dimension::Sha256],
        filters: vec![Filter::equal(Dimension::Port, Value::Integer(-1), false)],
        ..Query::default()
    };
    let rows = reader(base.path()).query(&query).unwrap();
    let found = |path: &Path| {
        let wanted = Value::Bytes(path.as_os_str().as_bytes().to_vec());
        rows.iter().find(|row| row.values[0] == wanted).map(|row| row.values[1].clone())
    };
    assert_eq!(found(&path), Some(Value::Sha256(digest(&path))));
    // So are the processes that ran at the start.
    let own = std::env::current_exe().unwrap();
    assert!(found(&own).is_some(), "{rows:?}");
}
