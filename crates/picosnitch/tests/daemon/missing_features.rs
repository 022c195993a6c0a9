//! Machines without BTF or without a version 2 cgroup hierarchy.

use nix::sys::signal::Signal;

use super::harness::{
    Daemon, assert_recorded, base, fresh_address, losses, picosnitch_elsewhere, refused, root, talk,
};

const NO_BTF: &str = "mount -t tmpfs none /sys/kernel/btf";
const NO_CGROUP2: &str = "umount --all --lazy --types cgroup2";

#[test]
#[ignore = "needs root"]
fn without_btf_nothing_starts_and_the_error_says_why() {
    let _root = root();
    let base = base("");
    let (code, text) = refused(picosnitch_elsewhere(NO_BTF, base.path(), &["start-no-daemon"]));
    assert!(code == 1 && text.contains("this kernel has no BTF"), "{text}");
    let doctor = picosnitch_elsewhere(NO_BTF, base.path(), &["doctor"]).output().unwrap();
    let text = String::from_utf8_lossy(&doctor.stdout);
    assert_eq!(doctor.status.code(), Some(3), "{text}");
    assert!(text.starts_with("Not recording: this kernel has no BTF"), "{text}");
}

#[test]
#[ignore = "needs root"]
fn without_cgroup2_bytes_are_exact_and_the_doctor_names_what_is_unseen() {
    let _root = root();
    let base = base("");
    let daemon = Daemon::start_as(picosnitch_elsewhere(NO_CGROUP2, base.path(), &["start-no-daemon"]));
    assert!(daemon.text().contains("that matter: see sudo picosnitch doctor"), "{}", daemon.text());
    let address = fresh_address();
    for _ in 0..5 {
        talk(address, 4001, 70_003);
    }
    daemon.stop(Signal::SIGTERM);
    assert_recorded(base.path(), address, 5, 20_005, 350_015);
    assert_eq!(losses(base.path()), []);

    let output = picosnitch_elsewhere(NO_CGROUP2, base.path(), &["doctor", "--json"]).output().unwrap();
    // Nothing records now.
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answer["records"], &answer["cgroup2"]), (&true.into(), &serde_json::Value::Null));
    let unseen = answer["unseen_here"].as_array().unwrap();
    let because = |spot: &&serde_json::Value| spot["why"].as_str().unwrap().contains("cgroup");
    assert!(unseen.iter().filter(because).count() >= 4, "{answer:#}");
}
