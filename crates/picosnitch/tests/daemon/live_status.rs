//! A running daemon as its user sees it: `status`, the live socket, and the daemon's end when its terminal closes.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, IsTerminal},
    os::unix::{
        fs::{OpenOptionsExt, PermissionsExt},
        net::UnixStream,
        process::CommandExt,
    },
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use nix::{
    fcntl::OFlag,
    pty::{grantpt, posix_openpt, ptsname_r, unlockpt},
    sys::signal::{Signal, kill},
};
use serde_json::Value;

use super::{
    executables,
    harness::{Daemon, base, error_log, fresh_address, picosnitch, root, wait_until},
    programs::{program, run},
};

/// A process that is killed when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "needs root"]
fn the_end_of_its_terminal_is_the_end_of_a_foreground_run() {
    let _root = root();
    let base = base("");
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let terminal = posix_openpt(flags).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    // A terminal that is not this process's own, which its end would kill.
    let path = ptsname_r(&terminal).unwrap();
    let slave = File::options().read(true).write(true).custom_flags(libc::O_NOCTTY).open(path).unwrap();
    let mut command = picosnitch(base.path(), &["start-no-daemon"]);
    let hung_up = slave.try_clone().unwrap();
    command.stdin(slave).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = Killed(command.spawn().unwrap());
    drop(command);
    wait_until("the start", || base.path().join("run/live.sock").exists());
    thread::sleep(Duration::from_secs(2));
    let daemon = nix::unistd::Pid::from_raw(child.0.id() as i32);
    kill(daemon, Signal::SIGHUP).unwrap();
    thread::sleep(Duration::from_millis(500));
    assert!(child.0.try_wait().unwrap().is_none(), "its terminal is there");
    drop(terminal);
    // A child of another test may have the terminal for an instant longer. The kernel sends the signal after the end.
    wait_until("the end of the terminal", || !hung_up.is_terminal());
    kill(daemon, Signal::SIGHUP).unwrap();
    let mut status = None;
    wait_until("the end", || {
        status = child.0.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(0));
}

#[test]
#[ignore = "needs root"]
fn status_and_the_live_socket_describe_the_running_daemon() {
    let _root = root();
    let base = base("");
    let status = |arguments: &[&str]| {
        let output = picosnitch(base.path(), &["status"]).args(arguments).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = status(&[]);
    assert!(code == 3 && text.starts_with("Not recording: picosnitch is not running."), "{text}");
    let daemon = Daemon::start(base.path());
    let socket = base.path().join("run/live.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    let mut live = BufReader::new(UnixStream::connect(&socket).unwrap());
    let mut event = || -> Value {
        let mut line = String::new();
        live.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    };
    let hello = event();
    assert_eq!((&hello["event"], &hello["monitor"]), (&"hello".into(), &daemon.monitor().as_raw().into()));
    let path = program(base.path(), b"lively");
    run(&path, fresh_address());
    loop {
        let event = event();
        if event["event"] == "alert" && event["path"] == path.to_str().unwrap() {
            assert_eq!((&event["tag"], &event["rank"]), (&"new name, exe".into(), &"program".into()));
            break;
        }
    }
    let (code, text) = status(&[]);
    assert!(code == 0 && text.contains(&format!("(process {})", daemon.monitor())), "{text}");
    assert!(text.contains("snitch.db") && text.starts_with("Recording. Nothing was missed since "), "{text}");
    let (code, text) = status(&["--json"]);
    let state: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &state["running"]), (0, &true.into()));
    assert!(state["programs"].as_u64().unwrap() >= 1, "{state:#}");
    // Without rights.
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(base.path(), fs::Permissions::from_mode(0o1771)).unwrap();
    let binary = place.path().join("picosnitch");
    executables::copy(env!("CARGO_BIN_EXE_picosnitch"), &binary);
    let mut command = Command::new(&binary);
    command.arg("--base-dir").arg(base.path()).arg("status").uid(65_534).gid(65_534);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stdout).contains("sudo picosnitch status"));
    kill(daemon.monitor(), Signal::SIGKILL).unwrap();
    daemon.end();
    assert_eq!(status(&[]).0, 3, "a socket that was left behind");
    assert!(error_log(base.path()).contains("unexpectedly"));
}
