//! `picosnitch check-config` as a user runs it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{fs, process::Command};

use serde_json::{Value, json};

#[test]
fn the_configuration_is_checked() {
    let place = tempfile::tempdir().unwrap();
    let check = |arguments: &[&str]| {
        let mut picosnitch = Command::new(env!("CARGO_BIN_EXE_picosnitch"));
        picosnitch.arg("--base-dir").arg(place.path()).arg("check-config").args(arguments);
        let output = picosnitch.env_remove("PICOSNITCH_BASE_DIR").output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, out, _) = check(&[]);
    assert_eq!(code, Some(0));
    assert!(out.contains("there is no") && out.contains("log.retention_days = 365"), "{out}");
    let file = place.path().join("config.toml");
    fs::write(&file, "[log]\nretention_days = 7\n[virustotal]\napi_key = \"hidden\"\n").unwrap();
    let (code, out, _) = check(&["--json"]);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &answer["valid"], &answer["config"]["log"]["retention_days"]),
        (Some(0), &json!(true), &json!(7))
    );
    assert_eq!(answer["file"], json!(file.to_str().unwrap()));
    assert!(!out.contains("hidden"));
    fs::write(&file, "[log]\nretention_days = 0\n\"a\\u001b[31m\" = 1\nsqlite = 2\n").unwrap();
    let (code, out, message) = check(&[]);
    assert_eq!((code, out.as_str()), (Some(78), ""));
    assert_eq!(message.lines().count(), 3, "{message}");
    assert!(message.contains("config.toml:2: log.retention_days: the integer 0"), "{message}");
    assert!(!message.contains('\u{1b}'), "{message:?}");
    let (code, out, _) = check(&["--json"]);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &answer["valid"], answer["problems"].as_array().unwrap().len()),
        (Some(78), &json!(false), 3)
    );
}
