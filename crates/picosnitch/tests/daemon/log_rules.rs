//! Ignored and blanked traffic (`log.ignore`, `log.addresses`, `log.commands`) is in no file: the raw bytes are searched.

use std::{
    fs,
    io::Write,
    net::{Ipv4Addr, TcpListener},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::Command,
};

use model::Counters;
use nix::sys::signal::Signal;
use serde_json::Value;
use store::Dimension;

use super::{
    harness::{
        Daemon, assert_recorded, base, configure, etc_with, fresh_address, recorded, root, talk, wait_until,
    },
    programs::{lines, program, record, run, run_to},
    top::Recording,
};

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

/// The contents of all files of the base directory.
fn logged(base: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    // Alerts about ignored programs are events all the same.
    let log = rusqlite::Connection::open(base.join("snitch.db")).unwrap();
    log.execute_batch("DELETE FROM event; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(log);
    let names = ["snitch.db", "snitch.db-wal", "snitch.db-shm", "conn.log"];
    let paths = names.iter().map(|name| base.join(name));
    paths.filter_map(|path| fs::read(&path).ok().map(|bytes| (path, bytes))).collect()
}

/// Makes a program that the daemon has not seen, with a digest of its own.
fn unique(base: &Path, name: &str) -> PathBuf {
    let path = program(base, name.as_bytes());
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(name.as_bytes()).unwrap();
    path
}

fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}

#[test]
#[ignore = "needs root"]
fn ignored_traffic_is_in_no_log_but_is_notified() {
    let _root = root();
    let base = base("");
    let names = ["ignored-by-port", "ignored-by-network", "ignored-by-digest"];
    let [by_port, by_network, by_digest] = names.map(|name| unique(base.path(), name));
    let other = unique(base.path(), "not-ignored");
    let listener = TcpListener::bind((fresh_address(), 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let network = fresh_address();
    let ignore = format!("text = true\nignore = [{port}, \"{network}/32\", \"{}\"]\n", sha256(&by_digest));
    configure(base.path(), &ignore);
    let daemon = Daemon::start(base.path());
    let live = Recording::start(base.path());
    run_to(&by_port, &listener);
    run(&by_network, network);
    run(&by_digest, fresh_address());
    run(&other, fresh_address());
    // Both sides of a connection to an ignored port are ignored: for one of them it is the local port.
    let talked = fresh_address();
    talk(talked, 1000, 2000);
    wait_until("the records", || {
        let conn_log = lines(base.path(), "conn.log");
        conn_log.iter().any(|line| line.contains("not-ignored"))
            && conn_log.iter().any(|line| line.contains(&talked.to_string()))
    });
    let live_output = live.end();
    daemon.stop(Signal::SIGTERM);
    let live_output: Vec<Value> = live_output
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    let told = |event: &str, what: &dyn Fn(&Value) -> bool| {
        live_output.iter().any(|line| line["event"] == event && what(line))
    };
    for name in names {
        let ends_so = |line: &Value| line["path"].as_str().is_some_and(|path| path.ends_with(name));
        assert!(told("alert", &ends_so), "{name} is announced");
        assert!(!told("context", &ends_so), "{name} does not talk on the live socket");
    }
    assert!(told("context", &|line| line["name"] == "not-ignored"));
    assert!(told("connection", &|line| line["remote_address"] == talked.to_string()));
    for port_of in ["local_port", "remote_port"] {
        for event in ["connection", "listening"] {
            assert!(!told(event, &|line| line[port_of] == port), "the port is ignored");
        }
    }
    assert!(!told("connection", &|line| line["remote_address"] == network.to_string()));
    assert_recorded(base.path(), talked, 1, 1000, 2000);
    assert_eq!(recorded(base.path(), Dimension::Address, network), Counters::default());
    let mut found = false;
    for (path, bytes) in logged(base.path()) {
        assert!(!contains(&bytes, b"ignored-by-"), "{}", path.display());
        let own = listener.local_addr().unwrap().ip().to_string();
        assert!(!contains(&bytes, own.as_bytes()), "{}: {own}", path.display());
        // For the other side of that connection it is the local address, and only remote addresses are matched.
        let is_text = path.ends_with("conn.log");
        assert!(!(is_text && contains(&bytes, network.to_string().as_bytes())), "{network}");
        found |= contains(&bytes, b"not-ignored");
    }
    assert!(found, "what is not ignored is logged");
    let (exe_log, known) = (lines(base.path(), "exe.log").join("\n"), record(base.path()).to_string());
    for name in names {
        assert!(exe_log.contains(name) && known.contains(name), "{name}: {exe_log}");
    }
}

/// Runs a program that connects in vain to an address by a name that only its own hosts file has.
fn run_by_name(program: &Path, name: &str, address: Ipv4Addr) {
    let place = tempfile::tempdir().unwrap();
    let etc = etc_with(place.path(), "hosts", &format!("{address} {name}\n"));
    let script = "mount --bind \"$2\" /etc && exec \"$0\" -c \"exec 3<>/dev/tcp/$1/9\"";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .args([program.as_os_str(), name.as_ref(), etc.as_os_str()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("refused"), "{said}");
}

/// Waits until the daemon observes names: from then on a rule for this name ignores connections by it, and nothing else.
fn wait_for_names(base: &Path, name: &str) {
    let mut number = 0;
    wait_until("the names that programs ask for", || {
        number += 1;
        let [by_name, by_address] =
            ["by-name", "by-address"].map(|kind| unique(base, &format!("{kind}-{number}.")));
        run_by_name(&by_name, name, fresh_address());
        run(&by_address, fresh_address());
        let is_logged = |program: &Path| {
            let program = program.to_str().unwrap().to_owned();
            // Records of executed programs have port -1.
            lines(base, "conn.log").iter().any(|line| line.contains(&program) && !line.contains(",-1,"))
        };
        wait_until("the control", || is_logged(&by_address));
        !is_logged(&by_name)
    });
}

#[test]
#[ignore = "needs root"]
fn traffic_ignored_by_domain_is_in_no_log_but_is_notified() {
    let _root = root();
    let base = base("text = true\nignore = [\"ignored.example\"]\n");
    let daemon = Daemon::start(base.path());
    wait_for_names(base.path(), "www.ignored.example");
    let live = Recording::start(base.path());
    let [ignored, other] = ["banned-by-domain", "not-ignored"].map(|name| unique(base.path(), name));
    let [ignored_address, other_address] = [fresh_address(), fresh_address()];
    run_by_name(&ignored, "a.b.Ignored.example", ignored_address);
    run_by_name(&other, "notignored.example", other_address);
    wait_until("the record", || {
        lines(base.path(), "conn.log").iter().any(|line| line.contains("not-ignored"))
    });
    let live_output = live.end();
    daemon.stop(Signal::SIGTERM);
    let mut named = false;
    for line in
        String::from_utf8(live_output).unwrap().lines().filter(|line| !line.contains(r#""event":"alert""#))
    {
        for absent in ["banned-by-domain", "b.ignored.example", &ignored_address.to_string()] {
            assert!(!line.contains(absent), "the live socket: {line}");
        }
        named |= line.contains(r#""domain":"notignored.example","domain_source":"resolver""#);
    }
    assert!(named, "the live socket tells of domains");
    assert_eq!(recorded(base.path(), Dimension::Address, ignored_address), Counters::default());
    for (path, bytes) in logged(base.path()) {
        for absent in ["banned-by-domain", "b.ignored.example", &ignored_address.to_string()] {
            assert!(!contains(&bytes, absent.as_bytes()), "{}: {absent}", path.display());
        }
    }
    let conn_log = lines(base.path(), "conn.log").join("\n");
    assert!(conn_log.contains(&format!(",notignored.example,{other_address},")), "{conn_log}");
    let (exe_log, known) = (lines(base.path(), "exe.log").join("\n"), record(base.path()).to_string());
    assert!(exe_log.contains("banned-by-domain") && known.contains("banned-by-domain"), "{exe_log}");
}

#[test]
#[ignore = "needs root"]
fn blanked_fields_are_in_no_file_and_not_on_the_live_socket() {
    let _root = root();
    let more = "text = true\naddresses = false\ncommands = false\nignore = [\"ignored.example\"]\n[monitor]\nevery_exe = true\n";
    let base = base(more);
    let daemon = Daemon::start(base.path());
    // Rules see the fields that are blanked after them.
    wait_for_names(base.path(), "www.ignored.example");
    let live = Recording::start(base.path());
    let _listens = TcpListener::bind((fresh_address(), 0)).unwrap();
    let context = unique(base.path(), "context");
    let address = fresh_address();
    // Its command line contains the address as well.
    run(&context, address);
    run_by_name(&context, "unstored.example", address);
    let script = "exec 3<&0; : secret-word-of-a-command-line";
    assert!(Command::new(&context).args(["-c", script]).status().unwrap().success());
    wait_until("the record", || lines(base.path(), "conn.log").iter().any(|line| line.contains("context")));
    let live_output = live.end();
    let path = context.as_os_str().as_bytes();
    for expected in
        [&b"\"event\":\"connection\""[..], b"\"event\":\"listening\"", b"\"event\":\"alert\"", path]
    {
        assert!(contains(&live_output, expected), "the live socket reports the program and its connection");
    }
    daemon.stop(Signal::SIGTERM);
    let mut everything = vec![(PathBuf::from("the live socket"), live_output)];
    let told = ["exe.log", "error.log", "record.json"].map(|name| base.path().join(name));
    everything.extend(told.into_iter().filter_map(|path| fs::read(&path).ok().map(|bytes| (path, bytes))));
    everything.extend(logged(base.path()));
    for (path, bytes) in everything {
        let place = path.display();
        assert!(!contains(&bytes, b"secret-word"), "{place} has the command line");
        assert!(!contains(&bytes, b"/dev/tcp"), "{place} has the command line");
        assert!(!contains(&bytes, address.to_string().as_bytes()), "{place} has the address");
        assert!(!contains(&bytes, b"unstored.example"), "{place} has the domain");
        assert!(!contains(&bytes, b"loopback"), "{place} has where the address is");
        assert!(!contains(&bytes, &address.octets()), "{place} has the address in its bytes");
    }
}
