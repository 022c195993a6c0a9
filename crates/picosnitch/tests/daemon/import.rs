//! The switch from an original picosnitch: what it knew causes no alert, and its files and its daemon are mentioned.

use std::{os::unix::ffi::OsStrExt, path::Path};

use model::text::time;
use nix::sys::signal::Signal;
use rusqlite::Connection;

use super::{
    harness::{Daemon, base, fresh_address, picosnitch, picosnitch_elsewhere, root},
    programs::{lines, program, run},
};

/// Writes a log of the original 2.x with one row, about this program.
fn write_original(path: &Path, executable: &Path, name: &str) {
    let log = Connection::open(path).unwrap();
    log.execute_batch(
        "CREATE TABLE executables (id INTEGER PRIMARY KEY, exe TEXT, name TEXT, cmdline TEXT, sha256 TEXT); \
         CREATE TABLE domains (id INTEGER PRIMARY KEY, domain TEXT); INSERT INTO domains VALUES (0, ''); \
         CREATE TABLE addresses (id INTEGER PRIMARY KEY, addr TEXT); INSERT INTO addresses VALUES (0, ''); \
         CREATE TABLE connections (contime INTEGER, send INTEGER, recv INTEGER, events INTEGER, exe_id INTEGER, \
         pexe_id INTEGER, gpexe_id INTEGER, uid INTEGER, family INTEGER, protocol INTEGER, lport INTEGER, rport INTEGER, \
         laddr_id INTEGER, raddr_id INTEGER, domain_id INTEGER, netns INTEGER); PRAGMA user_version = 4",
    )
    .unwrap();
    let executable = executable.as_os_str().as_bytes();
    log.execute("INSERT INTO executables VALUES (1, CAST(?1 AS TEXT), ?2, '', '')", (executable, name))
        .unwrap();
    let row = "INSERT INTO connections VALUES (?1, 7, 9, 1, 1, 0, 0, 0, 2, 6, 1, 2, 0, 0, 0, 0)";
    log.execute(row, [time::now() - 86_400]).unwrap();
}

#[test]
#[ignore = "needs root"]
fn a_program_that_the_original_knew_causes_no_alert() {
    let _root = root();
    let base = base("");
    // The first start makes the directory as it is on a machine that switches.
    Daemon::start(base.path()).stop(Signal::SIGTERM);
    let known = program(base.path(), b"known");
    let new = program(base.path(), b"stranger");
    let original = tempfile::tempdir().unwrap();
    let log = original.path().join("picosnitch.db");
    write_original(&log, &known, "known");
    let running = Daemon::start(base.path());
    let refused = picosnitch(base.path(), &["import", log.to_str().unwrap()]).output().unwrap();
    assert!(!refused.status.success());
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("picosnitch is recording (process "),
        "{refused:?}"
    );
    running.stop(Signal::SIGTERM);

    let imported = picosnitch(base.path(), &["import", log.to_str().unwrap()]).output().unwrap();
    assert!(imported.status.success(), "{imported:?}");
    let daemon = Daemon::start(base.path());
    run(&known, fresh_address());
    run(&new, fresh_address());
    daemon.stop(Signal::SIGTERM);
    let alerts = |name: &str| {
        lines(base.path(), "exe.log")
            .into_iter()
            .filter(|line| line.contains(name) && !line.contains("parent)"))
            .count()
    };
    assert_eq!((alerts("/known "), alerts("/stranger ")), (0, 1), "{:?}", lines(base.path(), "exe.log"));
    let log = Connection::open(base.path().join("snitch.db")).unwrap();
    let kept = "SELECT sum(sent), sum(received) FROM record WHERE time < unixepoch() - 80000";
    let kept: (i64, i64) = log.query_row(kept, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(kept, (7, 9));
}

#[test]
#[ignore = "needs root"]
fn the_first_start_says_that_there_is_something_to_import() {
    let _root = root();
    let base = base("");
    let original = tempfile::tempdir().unwrap();
    let log = original.path().join("picosnitch.db");
    write_original(&log, Path::new("/bin/true"), "true");
    let prepare = format!(
        "mount -t tmpfs none /var/lib && mkdir /var/lib/picosnitch && cp '{}' /var/lib/picosnitch/",
        log.display()
    );
    for expected in [true, false] {
        let daemon = Daemon::start_as(picosnitch_elsewhere(&prepare, base.path(), &["start-no-daemon"]));
        let is_said = daemon.text().contains(
            "/var/lib/picosnitch. To keep its history, stop picosnitch and run: sudo picosnitch import",
        );
        assert_eq!(is_said, expected, "{}", daemon.text());
        daemon.stop(Signal::SIGTERM);
    }
}
