//! `picosnitch doctor` beside a daemon.

use nix::sys::signal::Signal;
use serde_json::Value;

use super::harness::{Daemon, base, picosnitch, root};

#[test]
#[ignore = "needs root"]
fn the_verdict_is_that_of_the_daemon_which_runs() {
    let _root = root();
    let base = base("");
    let doctor = |argument: &str| {
        let output = picosnitch(base.path(), &["doctor", argument]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = doctor("--json");
    let before: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (code, &before["verdict"], &before["records"]),
        (Some(3), &"not_recording".into(), &true.into())
    );
    let daemon = Daemon::start(base.path());
    let (code, text) = doctor("--json");
    let during: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(during["verdict"], "recording", "{text}");
    let that_matter = during["that_matter"].as_u64().unwrap();
    assert_eq!(code, Some(if that_matter == 0 { 0 } else { 5 }), "{text}");
    let checks = during["checks"].as_array().unwrap();
    let rating = |name: &str| {
        checks.iter().find(|check| check["name"] == name).map(|check| check["rating"].as_str().unwrap())
    };
    for name in
        ["kernel", "btf", "configuration", "log", "log_integrity", "capabilities", "version", "losses"]
    {
        assert_eq!(rating(name), Some("good"), "{name}: {text}");
    }
    let (_, report) = doctor("--report");
    let private = [base.path().to_str().unwrap(), "/"];
    assert!(
        report.contains("verdict: recording") && private.iter().all(|text| !report.contains(text)),
        "{report}"
    );
    daemon.stop(Signal::SIGTERM);
}
