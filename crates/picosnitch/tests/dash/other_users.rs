//! Other users of this machine, who have everything but the right to read. Needs root, to become one.

use std::{
    fs,
    io::Read,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::{Command, Stdio},
};

use crate::{
    logs::{Log, TRAFFIC},
    server::Dash,
};

/// The user nobody.
const NOBODY: u32 = 65534;

fn log() -> Log {
    Log::new("Europe/Berlin", &[(1_700_000_000, TRAFFIC)])
}

/// What curl gets as another user.
fn as_nobody(arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["-s", "--max-time", "20"])
        .args(arguments)
        .uid(NOBODY)
        .gid(NOBODY)
        .output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

#[test]
#[ignore = "needs root"]
fn the_token_is_of_no_use_to_another_user() {
    let log = log();
    let dash = Dash::start(log.path(), &[]);
    for host in ["127.0.0.1", "[::1]"] {
        let url = format!("http://{host}:{}/api/v1/query?range=all&group_by=exe", dash.port);
        let bearer = format!("Authorization: Bearer {}", dash.token);
        let answer = as_nobody(&["-H", &bearer, &url]);
        assert!(answer.contains("\"forbidden\"") && answer.contains("another user"), "{answer}");
        assert!(!answer.contains("curl"), "{answer}");
    }
    assert_eq!(dash.json("/api/v1/query?range=all")["total"]["sent"], 1);
}

#[test]
#[ignore = "needs root"]
fn who_may_not_read_the_log_sees_nothing() {
    let log = log();
    fs::set_permissions(log.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(log.path().join("snitch.db"), fs::Permissions::from_mode(0o640)).unwrap();
    let port = crate::server::free_port();
    let mut command = Command::new(env!("CARGO_BIN_EXE_picosnitch"));
    command.arg("--base-dir").arg(log.path()).args(["dash", "--no-browser", "--no-auth"]);
    command.env("PICOSNITCH_PORT", port.to_string()).uid(NOBODY).gid(NOBODY).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut byte = [0];
    child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
    let answer = as_nobody(&[&format!("http://localhost:{port}/api/v1/query?range=all")]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(answer.contains("\"no_rights\"") && answer.contains("group picosnitch"), "{answer}");
}

#[test]
#[ignore = "needs root"]
fn the_port_of_another_user_is_named() {
    let log = log();
    let port = crate::server::free_port();
    let script = format!(
        "import socket, sys; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); \
         s.bind(('127.0.0.1', {port})); s.listen(); print('.', flush=True); sys.stdin.read()"
    );
    let mut other = Command::new("python3");
    other.args(["-c", &script]).uid(NOBODY).gid(NOBODY).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut other = other.spawn().unwrap();
    other.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let error = Dash::try_start(log.path(), &[], port).err().unwrap();
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(error.contains("is taken by a program of the user nobody"), "{error}");
}
