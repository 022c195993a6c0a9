//! `picosnitch forget` and a daemon.

use std::{fs, os::unix::fs::PermissionsExt, process::Output};

use nix::sys::signal::Signal;
use rusqlite::Connection;

use super::{
    harness::{Daemon, base, fresh_address, picosnitch, query, root},
    programs::{lines, program, run},
};

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

#[test]
#[ignore = "needs root"]
fn it_waits_for_the_daemon_and_an_interrupted_one_is_ended_at_the_start() {
    let _root = root();
    let base = base("text = true\n");
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let secret = program(place.path(), b"secret-program");
    let kept = program(place.path(), b"kept-program");
    let daemon = Daemon::start(base.path());
    run(&secret, fresh_address());
    run(&kept, fresh_address());
    let what = format!("exe={}", secret.display());
    let forget =
        |arguments: &[&str]| picosnitch(base.path(), &[&["forget"], arguments].concat()).output().unwrap();
    let refused = forget(&[&what, "--yes"]);
    assert!(!refused.status.success() && text(&refused).contains("stop it"), "{}", text(&refused));
    daemon.stop(Signal::SIGTERM);

    // A reader keeps it from ending.
    let reader = Connection::open(base.path().join("snitch.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM log").unwrap();
    let interrupted = forget(&[&what, "--yes"]);
    assert!(text(&interrupted).contains("has not ended"), "{}", text(&interrupted));
    drop(reader);
    assert!(base.path().join("snitch.forget").exists());
    let daemon = Daemon::start(base.path());
    assert!(!base.path().join("snitch.forget").exists());
    run(&kept, fresh_address());
    let told = daemon.stop(Signal::SIGTERM);
    assert!(told.contains("it is ended first"), "{told}");

    let rows = query(base.path(), &["--range", "all", "--csv"].map(Into::into));
    let rows = String::from_utf8(rows).unwrap();
    assert!(rows.contains("kept-program") && !rows.contains("secret-program"), "{rows}");
    assert!(lines(base.path(), "exe.log").iter().any(|line| line.contains("kept-program")));
    for file in fs::read_dir(base.path()).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            let bytes = fs::read(&path).unwrap();
            let found = bytes.windows(14).any(|window| window == b"secret-program");
            assert!(!found, "{}", path.display());
        }
    }
}
