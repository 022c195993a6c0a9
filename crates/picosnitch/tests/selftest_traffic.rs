//! Runs the selftest's traffic without a recorder; each actor must move the bytes that it reports.
//!
//! Network namespaces need root.

use std::{collections::BTreeMap, fs, process::Command};

/// Scenarios in which no byte moves.
const WITHOUT_BYTES: [&str; 4] =
    ["tcp-refused-loopback-ipv4", "tcp-refused-loopback-ipv6", "tcp-unreachable", "tcp-no-bytes"];
/// Scenarios in which less is received than sent (or the other way round): headers count on one side only, a
/// receive buffer may overflow, the other end does not read or cannot count.
const UNEQUAL: [&str; 5] =
    ["icmp-raw-ipv4", "ip-253-ipv4", "udp-30000-per-second", "failing-calls", "packet-rx-ring"];

#[test]
#[ignore = "needs root"]
fn every_scenario_moves_what_it_says_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_picosnitch"))
        .args(["selftest", "--no-recorder", "--json", "--directory"])
        .arg(directory.path())
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut counters: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for line in report["scenarios"].as_array().unwrap() {
        let (id, direction) = (line["id"].as_str().unwrap(), line["direction"].as_str().unwrap());
        assert_eq!(line["verdict"], "skipped", "{line}");
        if direction == "all" {
            eprintln!("not run: {line}");
            continue;
        }
        let expected = line["expected"].as_u64().unwrap();
        counters.entry(id.to_owned()).or_default().insert(direction.to_owned(), expected);
    }
    assert!(counters.len() > 40, "only {} scenarios ran", counters.len());
    for (id, counters) in &counters {
        let id = id.as_str();
        let (sent, received) = (counters["sent"], counters["received"]);
        assert_eq!(sent == 0, WITHOUT_BYTES.contains(&id), "{id} sent {sent}");
        if !UNEQUAL.contains(&id) {
            assert_eq!(sent, received, "{id}");
        }
        assert_eq!(counters["connections"] == 0, id == "tcp-open-before", "{id}");
    }
    assert!(output.status.success());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn list_names_every_scenario_without_root() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_picosnitch")).args(["selftest", "--list"]).output().unwrap();
    let names = String::from_utf8(output.stdout).unwrap();
    assert!(names.lines().any(|name| name == "tcp-up-ipv4"));
    assert!(names.lines().count() > 60);
}
