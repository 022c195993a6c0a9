//! A start that cannot work says why, exits with a code other than 0, and changes nothing.

use std::{fs, os::unix::fs::PermissionsExt, os::unix::process::CommandExt, path::Path, process::Command};

use rusqlite::Connection;
use store::Writer;

use super::{
    executables,
    harness::{base, configure, picosnitch, refused, root},
};

/// Starts a daemon with a log that cannot be used. Returns its standard error.
fn refuse_log(base: &Path) -> String {
    let database = base.join("snitch.db");
    let before = fs::read(&database).unwrap();
    let (code, text) = refused(picosnitch(base, &["start-no-daemon"]));
    assert_eq!(code, 1, "{text}");
    assert_eq!(text.lines().filter(|line| line.contains("snitch.db")).count(), 1, "{text}");
    assert_eq!(fs::read(&database).unwrap(), before, "the file was changed");
    text
}

#[test]
#[ignore = "needs root"]
fn a_database_of_another_program() {
    let _root = root();
    let base = base("");
    let foreign = Connection::open(base.path().join("snitch.db")).unwrap();
    foreign.execute_batch("CREATE TABLE recipe (name TEXT); INSERT INTO recipe VALUES ('soup')").unwrap();
    drop(foreign);
    let text = refuse_log(base.path());
    assert!(text.contains("is a database of another program"), "{text}");
}

#[test]
#[ignore = "needs root"]
fn a_log_of_a_later_version() {
    let _root = root();
    let base = base("");
    let database = base.path().join("snitch.db");
    drop(Writer::open(&database).unwrap());
    let later = Connection::open(&database).unwrap();
    later.execute_batch("PRAGMA user_version = 4711; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(later);
    let text = refuse_log(base.path());
    assert!(text.contains("has schema version 4711"), "{text}");
}

#[test]
#[ignore = "needs root"]
fn a_bad_configuration_starts_nothing() {
    let _root = root();
    let base = base("retention_days = 0\nno_such_key = 1\n");
    let (code, text) = refused(picosnitch(base.path(), &["start-no-daemon"]));
    assert_eq!(code, 78, "{text}");
    assert!(text.contains("log.retention_days") && text.contains("no_such_key"), "{text}");
    let left: Vec<_> = fs::read_dir(base.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["config.toml"]);
}

#[test]
#[ignore = "needs root"]
fn without_root_the_error_names_the_command() {
    let _root = root();
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // The user nobody may not have access to the build directory.
    let binary = place.path().join("picosnitch");
    executables::copy(env!("CARGO_BIN_EXE_picosnitch"), &binary);
    let base = place.path().join("base");
    fs::create_dir(&base).unwrap();
    fs::set_permissions(&base, fs::Permissions::from_mode(0o755)).unwrap();
    configure(&base, "");
    let as_nobody = |arguments: &[&str]| {
        let mut command = Command::new(&binary);
        command.arg("--base-dir").arg(&base).args(arguments).uid(65_534).gid(65_534);
        refused(command)
    };
    let (code, text) = as_nobody(&["start-no-daemon"]);
    assert!(code == 1 && text.contains("sudo picosnitch start-no-daemon"), "{code}: {text}");
    // An ordinary user learns what is visible, and what needs root.
    let mut doctor = Command::new(&binary);
    let doctor = doctor.arg("--base-dir").arg(&base).arg("doctor").uid(65_534).gid(65_534).output().unwrap();
    let text = String::from_utf8_lossy(&doctor.stdout);
    assert_eq!(doctor.status.code(), Some(3), "{text}");
    assert!(text.starts_with("Not recording: ") && text.contains("sudo picosnitch doctor"), "{text}");
}
