//! Tests of the novelty of programs, of the file, and of the bounds.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::{Map, Value};

use super::{
    file::MODE,
    table::{MAX_ENTRIES, MAX_VALUES},
    *,
};
use model::Sha256;

const DIGEST: Sha256 = Sha256([1; 32]);
const OTHER: Sha256 = Sha256([2; 32]);

#[test]
fn a_program_is_new_once() {
    let mut known = KnownPrograms::default();
    assert_eq!(known.observe(Rank::Program, b"/bin/a", b"a"), Novelty::Both);
    assert_eq!(known.observe(Rank::Program, b"/bin/a", b"a"), Novelty::Nothing);
    assert_eq!(known.observe(Rank::Program, b"/bin/a", b"b"), Novelty::Name);
    assert_eq!(known.observe(Rank::Program, b"/bin/c", b"a"), Novelty::Executable);
    assert_eq!(known.observe(Rank::Parent, b"/bin/a", b"a"), Novelty::Both);
    // The executable and the name are known, but not together.
    assert_eq!(known.observe(Rank::Program, b"/bin/c", b"b"), Novelty::Name);
    assert_eq!(known.count(), 2);
}

#[test]
fn the_first_digest_of_a_path_is_not_new() {
    let mut known = KnownPrograms::default();
    assert!(!known.observe_digest(b"/bin/a", DIGEST));
    assert!(!known.observe_digest(b"/bin/a", DIGEST));
    assert!(known.observe_digest(b"/bin/a", OTHER));
    assert!(!known.observe_digest(b"/bin/b", OTHER));
    assert_eq!(known.set_verdict(OTHER, "clean").len(), 2);
    assert!(known.set_verdict(OTHER, "clean").is_empty());
}

#[test]
fn the_file_is_read_as_it_was_written() {
    let mut known = KnownPrograms::default();
    for name in [&b"plain"[..], b"\xff\xfe", b"a\\x41", b"new\nline\0", "\u{202e}ä".as_bytes(), b""] {
        known.observe(Rank::Program, name, name);
        known.observe(Rank::Grandparent, name, b"x");
        known.observe_digest(name, DIGEST);
    }
    known.set_verdict(DIGEST, "clean");
    known.other_keys.insert("Another".into(), 1.into());
    let text = known.to_json();
    assert!(text.contains("\n  \"Executables\": {\n    \"\": [\n      \"\"\n"), "{text}");
    let mut again = KnownPrograms::parse(&text).unwrap();
    assert_eq!(again.to_json(), text);
    assert_eq!(again.observe(Rank::Program, b"\xff\xfe", b"\xff\xfe"), Novelty::Nothing);
    assert!(!again.observe_digest(b"a\\x41", DIGEST));
    assert!(!again.take_changed());
    let keys: Vec<_> = serde_json::from_str::<Map<String, Value>>(&text).unwrap().keys().cloned().collect();
    assert!(keys.is_sorted() && keys.len() == 8, "{keys:?}");
}

#[test]
fn a_file_of_the_original_is_read() {
    let text = format!(
        r#"{{"Executables": {{"/bin/a": ["a", "b"]}}, "Names": {{"a": ["/bin/a"], "b": ["/bin/a"]}},
        "Parent Executables": {{}}, "Parent Names": {{}},
        "SHA256": {{"/bin/a": {{"{}": "VT Pending", "!!! FILE READ ERROR": ""}}, "/bin/b": {{}}}}}}"#,
        DIGEST.to_hex()
    );
    let mut known = KnownPrograms::parse(&text).unwrap();
    assert_eq!(known.observe(Rank::Program, b"/bin/a", b"b"), Novelty::Nothing);
    assert_eq!(known.verdicts(), [(DIGEST, "VT Pending")]);
}

#[test]
fn a_damaged_file_is_an_error_that_names_the_damage() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("record.json");
    assert_eq!(KnownPrograms::load(&path).unwrap().count(), 0);
    for damaged in
        ["", "{", "[]", "{\"Names\": []}", "{\"Names\": {\"a\": [1]}}", "{\"SHA256\": {\"a\": []}}"]
    {
        fs::write(&path, damaged).unwrap();
        let error = KnownPrograms::load(&path).unwrap_err().to_string();
        assert!(error.contains("record.json is damaged ("), "{damaged}: {error}");
    }
    fs::write(&path, b"{\"\xff\": 1}").unwrap();
    assert!(KnownPrograms::load(&path).unwrap_err().to_string().contains("UTF-8"));
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    assert!(matches!(KnownPrograms::load(&path).unwrap_err(), KnownProgramsError::Read { .. }));
}

#[test]
fn every_table_is_bounded() {
    let mut known = KnownPrograms::default();
    for number in 0..=MAX_VALUES {
        let new = known.observe(Rank::Program, b"/bin/a", number.to_string().as_bytes());
        assert_eq!(new == Novelty::Nothing, number == MAX_VALUES, "{number}");
        known.observe_digest(b"/bin/a", Sha256([number as u8; 32]));
    }
    assert_eq!(known.verdicts().len(), MAX_VALUES);
    assert_eq!(known.take_reached_bounds().len(), 2);
    for number in 0..MAX_ENTRIES + 5 {
        known.observe(Rank::Parent, number.to_string().as_bytes(), b"x");
    }
    assert_eq!(known.executables[1].len(), MAX_ENTRIES);
    assert_eq!(known.take_reached_bounds().len(), 2);
    assert!(known.take_reached_bounds().is_empty());
    assert_eq!(known.observe(Rank::Parent, b"0", b"x"), Novelty::Executable, "the oldest was removed");
}

#[test]
fn the_file_is_replaced_and_never_the_target_of_a_link() {
    let directory = tempfile::tempdir().unwrap();
    let (path, target) = (directory.path().join("record.json"), directory.path().join("target"));
    fs::write(&target, "precious").unwrap();
    std::os::unix::fs::symlink(&target, directory.path().join("record.json.new")).unwrap();
    replace(&path, "one").unwrap();
    replace(&path, "two").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "two");
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
}
