//! What a running server may still do. Most of it needs root, which has something to give up.

use std::{
    fs,
    io::Read,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::{
    http,
    logs::{Log, TRAFFIC},
    server::{Dash, free_port},
};

/// Users that no machine has: of a log, and one who has the group of it only.
const OWNER: u32 = 4242;
const GROUP: u32 = 4243;
const MEMBER: u32 = 4244;
/// `nobody` (`overflowuid` of the kernel).
const NOBODY: u32 = 65_534;

fn log() -> Log {
    Log::new("Europe/Berlin", &[(1_700_000_000, TRAFFIC)])
}

/// A log as the daemon leaves it: its directory belongs to root and lets the group in.
fn log_of_the_owner() -> Log {
    let log = log();
    for name in ["snitch.db", "snitch.db-wal", "snitch.db-shm"] {
        let path = log.path().join(name);
        chown(&path, Some(OWNER), Some(GROUP)).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
    }
    chown(log.path(), Some(0), Some(GROUP)).unwrap();
    fs::set_permissions(log.path(), fs::Permissions::from_mode(0o1770)).unwrap();
    log
}

/// A field of `/proc/PID/status`, its values separated by spaces.
fn field(pid: u32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// Asserts that a server can gain nothing and make no forbidden system call, in any thread.
#[track_caller]
fn assert_confined(pid: u32) {
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let task = task.unwrap().file_name().to_str().unwrap().parse().unwrap();
        for (name, expected) in [("NoNewPrivs", "1"), ("Seccomp", "2"), ("CapEff", "0000000000000000")] {
            assert_eq!(field(task, name), expected, "{name} of {task}");
        }
        assert_eq!(field(task, "CapPrm"), "0000000000000000");
    }
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert!(core.split_ascii_whitespace().filter(|word| *word == "0").count() == 2, "{core}");
}

/// Every kind of question is answered.
#[track_caller]
fn assert_answers(dash: &Dash) {
    assert_eq!(
        dash.json("/api/v1/query?range=all&group_by=exe&group_by=uid&group_by=port")["total"]["sent"],
        1
    );
    assert_eq!(dash.json("/api/v1/series?range=all&group_by=exe")["groups"].as_array().unwrap().len(), 1);
    assert_eq!(
        dash.json("/api/v1/search?range=all&q=curl").as_object().map(|answer| answer.is_empty()),
        Some(false)
    );
    let health = dash.counted_health();
    assert_eq!((&health["log"]["records"], &health["dash"]["pid"]), (&1.into(), &dash.pid().into()));
    assert!(dash.get("/metrics").text().contains("picosnitch_process_cpu_seconds_total{process=\"dash\"}"));
    assert_eq!(dash.get("/").status, 200);
}

#[test]
fn a_server_only_reads() {
    let log = log();
    let before = fs::read(log.path().join("snitch.db")).unwrap();
    let dash = Dash::start(log.path(), &[]);
    assert_answers(&dash);
    assert_confined(dash.pid());
    assert_eq!(fs::read(log.path().join("snitch.db")).unwrap(), before);
}

/// Sorts more than SQLite keeps in its cache.
#[test]
fn large_answers_need_no_files() {
    let log = log();
    let names: Vec<String> =
        (0..20_000).map(|number| format!("host-{number}.{}.test", "x".repeat(100))).collect();
    log.write(names.chunks(1000).enumerate().map(|(at, names)| model::Window {
        time: 1_700_000_100 + at as i64,
        records: names.iter().map(|domain| crate::logs::Traffic { domain, ..TRAFFIC }.record()).collect(),
        ..model::Window::default()
    }));
    let dash = Dash::start(log.path(), &[]);
    let answer = dash.json("/api/v1/query?range=all&group_by=domain&limit=10");
    assert_eq!(answer["row_count"], 20_001);
    let rows =
        dash.get("/api/v1/export?range=all&group_by=domain&group_by=exe&group_by=time&format=csv").text();
    assert_eq!(rows.lines().count(), 20_002);
}

#[test]
#[ignore = "needs root"]
fn rights_of_root_become_those_of_a_reader() {
    let log = log_of_the_owner();
    let config = log.path().join("config.toml");
    fs::write(&config, "[log]\nretention_days = 7\n").unwrap();
    fs::set_permissions(config, fs::Permissions::from_mode(0o600)).unwrap();
    let dash = Dash::start(log.path(), &[]);
    assert_answers(&dash);
    assert_confined(dash.pid());
    // Which only root can read.
    assert_eq!(dash.json("/api/v1/health")["retention"]["days"], 7);
    let all = |id: u32| vec![id.to_string(); 4].join(" ");
    assert_eq!(field(dash.pid(), "Uid"), all(NOBODY));
    assert_eq!((field(dash.pid(), "Gid"), field(dash.pid(), "Groups")), (all(GROUP), String::new()));
    assert_eq!(field(dash.pid(), "CapBnd"), "0000000000000000");
    // The memory belongs to root, so that another program of nobody cannot read it.
    assert_eq!(
        std::os::unix::fs::MetadataExt::uid(&fs::metadata(format!("/proc/{}/mem", dash.pid())).unwrap()),
        0
    );
    // A log that takes the place of this one.
    for suffix in ["", "-wal", "-shm"] {
        fs::remove_file(log.path().join(format!("snitch.db{suffix}"))).unwrap();
    }
    let other = log_of_the_owner();
    for suffix in ["", "-wal", "-shm"] {
        let name = format!("snitch.db{suffix}");
        fs::copy(other.path().join(&name), log.path().join(&name)).unwrap();
        chown(log.path().join(&name), Some(OWNER), Some(GROUP)).unwrap();
    }
    assert_eq!(dash.json("/api/v1/query?range=all&group_by=domain")["total"]["sent"], 1);
}

#[test]
#[ignore = "needs root"]
fn rights_to_a_log_of_one_user_are_those_of_that_user() {
    let log = log();
    for name in ["", "snitch.db", "snitch.db-wal", "snitch.db-shm"] {
        chown(log.path().join(name), Some(OWNER), Some(GROUP)).unwrap();
    }
    fs::set_permissions(log.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let dash = Dash::start(log.path(), &[]);
    assert_answers(&dash);
    assert_confined(dash.pid());
    assert!(field(dash.pid(), "Uid").starts_with("4242 4242 "));
}

#[test]
#[ignore = "needs root"]
fn rights_of_a_root_that_must_stay_are_few() {
    let log = log();
    fs::set_permissions(log.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let dash = Dash::start(log.path(), &[]);
    assert_answers(&dash);
    assert_confined(dash.pid());
    assert_eq!((field(dash.pid(), "Uid"), field(dash.pid(), "CapBnd")), ("0 0 0 0".into(), "0".repeat(16)));
}

/// A copy of this binary that any user may execute.
fn binary(log: &Log) -> PathBuf {
    let path = log.path().join("picosnitch");
    fs::copy(env!("CARGO_BIN_EXE_picosnitch"), &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Starts a server as a member of the group of the log.
fn start_as_member(binary: &Path, base: &Path, port: u16) -> Child {
    let mut command = Command::new(binary);
    command.arg("--base-dir").arg(base).args(["dash", "--no-browser", "--no-auth"]);
    command.env("PICOSNITCH_PORT", port.to_string()).env_remove("RUNTIME_DIRECTORY");
    let mut child = command.uid(MEMBER).gid(GROUP).stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    child
}

#[test]
#[ignore = "needs root"]
fn rights_of_a_member_suffice() {
    let log = log_of_the_owner();
    let (binary, port) = (binary(&log), free_port());
    let ask =
        |what: &str| http::send(port, "GET", &format!("/api/v1/query?range=all&group_by={what}"), &[], b"");
    let mut child = start_as_member(&binary, log.path(), port);
    let answer = ask("exe").json();
    assert_confined(child.id());
    assert_eq!(field(child.id(), "Uid"), [MEMBER.to_string().as_str(); 4].join(" "));
    // A copy without the files beside it, which this server could make and may not.
    for suffix in ["-wal", "-shm"] {
        fs::remove_file(log.path().join(format!("snitch.db{suffix}"))).unwrap();
    }
    let path = log.path().join("snitch.db");
    let other = Log::new("Europe/Berlin", &[(1_700_000_000, TRAFFIC), (1_700_000_100, TRAFFIC)]);
    fs::remove_file(&path).unwrap();
    fs::copy(other.path().join("snitch.db"), &path).unwrap();
    chown(&path, Some(OWNER), Some(GROUP)).unwrap();
    let copy = ask("uid").json();
    let files = fs::read_dir(log.path()).unwrap().map(|file| file.unwrap().file_name()).collect::<Vec<_>>();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!((&answer["total"]["sent"], &copy["total"]["sent"]), (&1.into(), &2.into()));
    assert!(!files.iter().any(|name| name == "snitch.db-wal" || name == "snitch.db-shm"), "{files:?}");
}
