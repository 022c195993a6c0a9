//! `picosnitch doctor --salvage` as a user runs it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Output},
    sync::Arc,
};

use model::{Counters, FlowTuple, GeoInfo, ProcessContext, Program, Record, Window};
use serde_json::Value;
use store::Writer;

fn doctor(base: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_picosnitch"));
    command.arg("--base-dir").arg(base).arg("doctor").args(arguments);
    let Output { status, stdout, stderr } = command.env_remove("PICOSNITCH_BASE_DIR").output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn write(path: &Path, windows: i64) {
    let mut writer = Writer::open(path).unwrap();
    for number in 0..windows {
        let program = Program { path: format!("/bin/{}", number % 50).into(), ..Program::default() };
        let record = Record {
            context: Arc::new(ProcessContext { program, ..ProcessContext::default() }),
            tuple: FlowTuple { family: 2, protocol: 6, remote_port: 443, ..FlowTuple::default() },
            geo: GeoInfo::default(),
            counters: Counters { connections: 1, sent: 2, received: 3 },
            opened: false,
            folded: 0,
        };
        let time = 1_700_000_000 + number * 10;
        writer.write(&Window { time, records: vec![record], ..Window::default() }).unwrap();
    }
    writer.checkpoint().unwrap();
}

#[test]
fn what_is_readable_is_brought_over_once() {
    let base = tempfile::tempdir().unwrap();
    let damaged = base.path().join("snitch.db.damaged-2026-03-01-120000");
    write(&damaged, 2000);
    let file = damaged.to_str().unwrap();
    let (code, out, error) = doctor(base.path(), &["--salvage", file]);
    assert_eq!((code, error.as_str()), (Some(0), ""));
    assert_eq!(
        out,
        "Brought over: 2000 records in 2000 windows, 0 events.\nAll of the damaged log could be read.\n"
    );
    let (code, out, _) = doctor(base.path(), &["--salvage", file]);
    assert!(code == Some(0) && out.contains("Brought over: 0 records in 0 windows"), "{out}");
    assert!(out.contains("Already there: 2000 records"), "{out}");
    // The pages at its end are damaged.
    let mut bytes = fs::read(&damaged).unwrap();
    let end = bytes.len() / 4096 * 3 / 4 * 4096;
    bytes[end..].fill(0);
    fs::write(&damaged, &bytes).unwrap();
    let (code, out, _) =
        doctor(base.path(), &["--salvage", file, "--into", base.path().join("other.db").to_str().unwrap()]);
    assert!(code == Some(1) && out.contains("Not all of the damaged log could be read:\n  "), "{out}");
    let (code, out, _) = doctor(
        base.path(),
        &["--salvage", file, "--into", base.path().join("third.db").to_str().unwrap(), "--json"],
    );
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &answer["complete"]), (Some(1), &Value::from(false)));
    assert!(answer["records"].as_u64().unwrap() > 50, "{answer}");
}

#[test]
fn it_is_refused_where_it_would_do_harm() {
    let base = tempfile::tempdir().unwrap();
    let damaged = base.path().join("damaged");
    write(&damaged, 5);
    let file = damaged.to_str().unwrap();
    fs::create_dir(base.path().join("run")).unwrap();
    let lock = File::create(base.path().join("run/.picosnitch.lock")).unwrap();
    lock.lock().unwrap();
    let (code, out, error) = doctor(base.path(), &["--salvage", file]);
    assert!(
        code == Some(1) && out.is_empty() && error.contains("picosnitch is recording: stop it first"),
        "{error}"
    );
    let other = base.path().join("other.db");
    assert_eq!(doctor(base.path(), &["--salvage", file, "--into", other.to_str().unwrap()]).0, Some(0));
    drop(lock);
    let refused = |arguments: &[&str], expected: &str| {
        let (code, _, error) = doctor(base.path(), arguments);
        assert!(code != Some(0) && error.contains(expected), "{error}");
    };
    refused(&["--salvage", file, "--into", file], "is the log itself: move it away first");
    refused(&["--salvage", "/nowhere"], "No such file or directory");
    refused(&["--into", file], "--salvage");
    fs::write(base.path().join("letter"), "this is a letter, and no database at all".repeat(300)).unwrap();
    refused(&["--salvage", base.path().join("letter").to_str().unwrap()], "nothing of a log can be read of");
}
