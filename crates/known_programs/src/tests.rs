//! Tests of the novelty of programs, of the file and its journal, and of the bounds.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant},
};

use serde_json::{Map, Value};

use super::{
    file::{MODE, replace},
    format::write_json,
    parse::parse,
    table::{MAX_BYTES, MAX_ENTRIES, MAX_VALUES},
    table_id::TableId,
    *,
};
use model::Sha256;

const DIGEST: Sha256 = Sha256([1; 32]);
const OTHER: Sha256 = Sha256([2; 32]);

fn to_json(known: KnownPrograms) -> (String, KnownPrograms) {
    let known = Mutex::new(known);
    let mut text = Vec::new();
    write_json(&known, &mut text).unwrap();
    (String::from_utf8(text).unwrap(), known.into_inner().unwrap())
}

fn from_json(text: impl AsRef<[u8]>) -> KnownPrograms {
    let mut known = KnownPrograms::default();
    parse(text.as_ref(), &mut known).unwrap();
    known
}

/// A path that takes six times its length in the file, as `\u0001`.
fn control_path(number: usize) -> Vec<u8> {
    [format!("/tmp/{number}").as_bytes(), &[1; 3800]].concat()
}

fn digest(number: usize) -> Sha256 {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&number.to_le_bytes());
    Sha256(digest)
}

#[test]
fn names_that_are_no_utf_8_are_read_as_the_original_writes_them() {
    // Raw bytes; the surrogates by which Python stands for them (PEP 383), and two that make one character.
    for (path, name) in [
        (&b"/bin/\xc3\xa4\xff"[..], &b"n\xc3"[..]),
        (br"/bin/\u00e4\udcff", br"n\udcc3"),
        (br"/bin/\udcc3\uDCA4\udcFF", br"n\\xc3"),
        (b"/bin/\xc3\xa4\\udcff", b"n\xc3"),
    ] {
        let parts =
            [b"{\"Executables\": {\"", path, b"\": [\"", name, b"\"]}, \"SHA256\": {\"", path, b"\": {\""];
        let digest = DIGEST.to_hex();
        let text = [&parts.concat()[..], digest.as_bytes(), b"\": \"\xfe\\udcfd\\ud800\"}}}"].concat();
        let mut known = from_json(text);
        let (path, name) = ("/bin/ä".as_bytes().iter().chain(b"\xff").copied().collect::<Vec<_>>(), b"n\xc3");
        assert_eq!(known.observe(Rank::Program, &path, name), Novelty::Nothing);
        assert!(!known.observe_digest(&path, DIGEST) && known.has_digest(DIGEST));
        let (text, _) = to_json(known);
        assert!(text.contains(r#""/bin/ä\\xff""#) && text.contains(r#""n\\xc3""#), "{text}");
        // A surrogate that stands for no byte stays as it is.
        assert!(text.contains(r"\\xfe\\xfd\\xed\\xa0\\x80"), "{text}");
    }
}

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
    let (text, known_again) = to_json(known);
    assert_eq!(serde_json::from_str::<Map<String, Value>>(&text).unwrap().len(), 7);
    known = known_again;
    for name in [&b"plain"[..], b"\xff\xfe", b"a\\x41", b"new\nline\0", "\u{202e}ä".as_bytes(), b""] {
        known.observe(Rank::Program, name, name);
        known.observe(Rank::Grandparent, name, b"x");
        known.observe_digest(name, DIGEST);
    }
    known.set_verdict(DIGEST, "clean");
    known.other_keys.insert("Another".into(), serde_json::json!({"a": ["\n", 1]}));
    let (text, _) = to_json(known);
    assert!(text.contains("\n  \"Executables\": {\n    \"\": [\n      \"\"\n"), "{text}");
    let tree: Map<String, Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string_pretty(&tree).unwrap() + "\n", text, "sorted, with indent 2");
    assert_eq!(tree.len(), 8);
    let mut again = from_json(&text);
    assert_eq!(again.observe(Rank::Program, b"\xff\xfe", b"\xff\xfe"), Novelty::Nothing);
    assert!(!again.observe_digest(b"a\\x41", DIGEST));
    assert!(!again.take_changed());
    assert_eq!(to_json(again).0, text);
}

#[test]
fn a_file_of_the_original_is_read() {
    let text = format!(
        r#"{{"Executables": {{"/bin/a": ["a", "b"]}}, "Names": {{"a": ["/bin/a"], "b": ["/bin/a"]}},
        "Parent Executables": {{}}, "Parent Names": {{}},
        "SHA256": {{"/bin/a": {{"{}": "VT Pending", "!!! FILE READ ERROR": null}}, "/bin/b": {{}}}}}}"#,
        DIGEST.to_hex()
    );
    let mut known = from_json(&text);
    assert_eq!(known.observe(Rank::Program, b"/bin/a", b"b"), Novelty::Nothing);
    assert_eq!(known.verdicts(), [(DIGEST, "VT Pending")]);
}

#[test]
fn bytes_that_are_no_utf_8_stand_for_themselves() {
    let mut known = from_json(b"{\"Executables\": {\"/bin/\xff\": [\"\xfe\\u00e4\"]}, \"\xff\": 1}");
    assert_eq!(known.observe(Rank::Program, b"/bin/\xff", "\u{e4}".as_bytes()), Novelty::Name);
    assert_eq!(known.observe(Rank::Program, b"/bin/\xff", b"\xfe\xc3\xa4"), Novelty::Nothing);
}

#[test]
fn a_damaged_file_is_an_error_that_names_the_damage() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("record.json");
    assert_eq!(KnownPrograms::load(&path).unwrap().count(), 0);
    for damaged in
        ["", "{", "[]", "{\"Names\": []}", "{\"Names\": {\"a\": [1]}}", "{\"SHA256\": {\"a\": []}}", "{} x"]
    {
        fs::write(&path, damaged).unwrap();
        let error = KnownPrograms::load(&path).unwrap_err().to_string();
        assert!(error.contains("record.json is damaged ("), "{damaged}: {error}");
    }
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    assert!(matches!(KnownPrograms::load(&path).unwrap_err(), KnownProgramsError::Read { .. }));
}

/// The damaged files beside a record.json.
fn beside(path: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|name| name.to_str().unwrap().contains("record.json.")).collect()
}

#[test]
fn a_damaged_file_does_not_stop_recording_and_is_kept() {
    for (damaged, known_before) in [
        (&b""[..], 0),
        (b"{", 0),
        (b"[1]", 0),
        (b"\xff\xfe\0", 0),
        (b"{\"Executables\": 7}", 0),
        (b"{\"Executables\": {\"/bin/a\": [\"a\"], \"/bin/b\": [\"b\"]}, \"Names\": {\"a\": [\"/bi", 2),
        (b"{\"Executables\": {\"/bin/a\": [\"a\"]}, \"Names\": []}", 1),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record.json");
        fs::write(&path, damaged).unwrap();
        let (mut file, notes) = RecordFile::open(&path);
        assert_eq!(notes.len(), 1);
        assert!(
            notes[0].contains("record.json is damaged (") && notes[0].contains("announced as new"),
            "{notes:?}"
        );
        assert_eq!(fs::read(&beside(&path)[0]).unwrap(), damaged);
        assert!(notes[0].contains(beside(&path)[0].to_str().unwrap()), "{notes:?}");
        assert_eq!(file.known().lock().count(), known_before);
        if known_before > 0 {
            // The other table was torn off, but follows from this one.
            assert_eq!(file.known().lock().observe(Rank::Program, b"/bin/a", b"a"), Novelty::Nothing);
            assert_eq!(file.known().lock().observe(Rank::Program, b"/bin/c", b"a"), Novelty::Executable);
        }
        assert!(file.must_save());
        file.save(Instant::now()).result.unwrap();
        let (again, notes) = RecordFile::open(&path);
        assert!(notes.is_empty() && !again.must_save(), "{notes:?}");
        // A second damage in the same second does not replace the first one.
        fs::write(&path, "x").unwrap();
        RecordFile::open(&path);
        assert_eq!(beside(&path).len(), 2);
    }
}

#[test]
fn a_file_that_cannot_be_kept_beside_is_left_alone_and_recording_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("record.json");
    fs::create_dir(&path).unwrap();
    let (mut file, notes) = RecordFile::open(&path);
    assert!(notes[0].contains("cannot be read") && notes[0].contains("It cannot be kept"), "{notes:?}");
    file.known().lock().observe(Rank::Program, b"/bin/a", b"a");
    let now = Instant::now();
    assert!(file.save(now).result.is_err());
    assert!(path.is_dir());
    fs::remove_dir(&path).unwrap();
    file.save(now + Duration::from_secs(60)).result.unwrap();
    assert_eq!(KnownPrograms::load(&path).unwrap().count(), 1);
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
    assert_eq!(known.tables.len(TableId::ParentExecutables), MAX_ENTRIES);
    assert_eq!(known.take_reached_bounds().len(), 2);
    assert!(known.take_reached_bounds().is_empty());
    assert_eq!(known.observe(Rank::Parent, b"0", b"x"), Novelty::Executable, "the oldest was removed");
}

#[test]
fn very_long_paths_are_bounded_in_bytes_and_leave_the_others_alone() {
    let mut known = KnownPrograms::default();
    known.observe(Rank::Program, b"/bin/usual", b"usual");
    for number in 0..1500 {
        let path = control_path(number);
        for rank in Rank::ALL {
            known.observe(rank, &path, number.to_string().as_bytes());
        }
        known.observe_digest(&path, digest(number));
    }
    assert!(known.take_reached_bounds()[0].contains("very long paths"));
    assert_eq!(known.observe(Rank::Program, b"/bin/usual", b"usual"), Novelty::Nothing);
    let last = control_path(1499);
    assert_eq!(known.observe(Rank::Program, &last, b"1499"), Novelty::Nothing, "the newest is kept");
    let counted = known.tables.bytes();
    assert!(counted <= MAX_BYTES.iter().sum());
    let (text, known) = to_json(known);
    assert!(text.len() <= counted + 1024, "{} of {counted}", text.len());
    assert!(text.len() + 64 * 1024 > counted, "{} of {counted}", text.len());
    drop(known);
    // What is written is read without any loss.
    let mut again = from_json(&text);
    assert_eq!(to_json(std::mem::take(&mut again)).0, text);
}

#[test]
fn a_file_of_an_older_version_above_the_bounds_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("record.json");
    let long = |number| String::from_utf8(control_path(number)).unwrap();
    let table = |usual: Value| {
        let lists = (0..700).map(|number| (long(number), serde_json::json!(["x"])));
        Value::Object(lists.chain([("/usual".to_owned(), usual)]).collect())
    };
    let usual = serde_json::json!(["/usual"]);
    let tables = serde_json::json!({"Executables": table(usual.clone()), "Names": table(usual)});
    fs::write(&path, serde_json::to_string_pretty(&tables).unwrap()).unwrap();
    assert!(fs::metadata(&path).unwrap().len() > MAX_BYTES.iter().sum::<usize>() as u64);
    let (mut file, notes) = RecordFile::open(&path);
    assert!(notes.is_empty(), "{notes:?}");
    let known = file.known();
    assert_eq!(known.lock().take_reached_bounds().len(), 1);
    assert_eq!(known.lock().observe(Rank::Program, b"/usual", b"/usual"), Novelty::Nothing);
    // Both tables are reduced in the same way.
    let [paths, names] = [TableId::Executables, TableId::Names].map(|table| known.lock().tables.len(table));
    assert!(paths > 50 && paths.abs_diff(names) < 3, "{paths}, {names}");
    known.lock().observe(Rank::Program, b"/bin/new", b"new");
    file.finish().result.unwrap();
    assert!(fs::metadata(&path).unwrap().len() <= MAX_BYTES.iter().sum::<usize>() as u64);
}

#[test]
fn removing_the_oldest_entry_is_cheap() {
    let mut known = KnownPrograms::default();
    // With a scan of the table for each this would be 2 * 10^9 steps.
    for number in 0..5 * MAX_ENTRIES {
        known.observe(Rank::Program, format!("/{number}").as_bytes(), b"x");
        known.take_changes();
    }
    assert_eq!(known.count(), MAX_ENTRIES);
}

#[test]
fn the_file_is_replaced_and_never_the_target_of_a_link() {
    let directory = tempfile::tempdir().unwrap();
    let (path, target) = (directory.path().join("record.json"), directory.path().join("target"));
    fs::write(&target, "precious").unwrap();
    std::os::unix::fs::symlink(&target, directory.path().join("record.json.new")).unwrap();
    for text in ["one", "two"] {
        replace(&path, |out| out.write_all(text.as_bytes())).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
}

/// A record.json with `/bin/a`, and a journal that adds `/bin/b` with a digest and its verdict. As after a kill.
fn killed(directory: &Path) -> PathBuf {
    let path = directory.join("record.json");
    let (mut file, _) = RecordFile::open(&path);
    let known = file.known();
    let now = Instant::now();
    known.lock().observe(Rank::Program, b"/bin/a", b"a");
    assert!(file.save(now).result.is_ok());
    known.lock().observe(Rank::Program, b"/bin/b\n\xff", b"b");
    known.lock().observe_digest(b"/bin/b\n\xff", DIGEST);
    known.lock().set_verdict(DIGEST, "clean");
    let saved = file.save(now);
    saved.result.unwrap();
    assert!(saved.due > now);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("/bin/a") && !text.contains("/bin/b"), "{text}");
    path
}

#[test]
fn changes_are_in_the_journal_until_the_file_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = killed(directory.path());
    let journal = path.with_extension("journal");
    assert_eq!(fs::metadata(&journal).unwrap().permissions().mode() & 0o777, MODE);
    let known = KnownPrograms::load(&path).unwrap();
    assert_eq!((known.count(), known.verdicts()), (2, vec![(DIGEST, "clean")]));
    // A torn last line is ignored.
    let text = fs::read(&journal).unwrap();
    fs::write(&journal, &text[..text.len() - 3]).unwrap();
    let (mut file, notes) = RecordFile::open(&path);
    assert!(notes.is_empty() && file.must_save());
    assert_eq!(file.known().lock().verdicts(), [(DIGEST, "")]);
    assert!(file.save(Instant::now()).result.is_ok());
    assert!(!journal.exists());
    let mut again = KnownPrograms::load(&path).unwrap();
    assert_eq!(again.observe(Rank::Program, b"/bin/b\n\xff", b"b"), Novelty::Nothing);
}

#[test]
fn a_journal_of_another_record_is_ignored() {
    let directory = tempfile::tempdir().unwrap();
    let path = killed(directory.path());
    // A copy of both is the same record.
    let other = tempfile::tempdir().unwrap();
    for name in ["record.json", "record.journal"] {
        fs::copy(directory.path().join(name), other.path().join(name)).unwrap();
    }
    assert_eq!(KnownPrograms::load(&other.path().join("record.json")).unwrap().count(), 2);
    fs::write(&path, "{}").unwrap();
    assert_eq!(KnownPrograms::load(&path).unwrap().count(), 0);
    fs::remove_file(&path).unwrap();
    let (mut file, _) = RecordFile::open(&path);
    assert_eq!(file.known().lock().count(), 0);
    file.known().lock().observe(Rank::Program, b"/bin/c", b"c");
    file.finish().result.unwrap();
    assert_eq!(KnownPrograms::load(&path).unwrap().count(), 1);
    // After a damage it is better than nothing.
    let another = tempfile::tempdir().unwrap();
    let path = killed(another.path());
    fs::write(&path, "{\"Executables\": {\"/bin/c\": [\"c\"]").unwrap();
    let (file, _) = RecordFile::open(&path);
    assert_eq!(file.known().lock().observe(Rank::Program, b"/bin/b\n\xff", b"b"), Novelty::Nothing);
    assert_eq!(file.known().lock().count(), 2);
}

#[test]
fn a_removal_is_in_the_journal_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("record.json");
    let (mut file, _) = RecordFile::open(&path);
    let (known, now) = (file.known(), Instant::now());
    for number in 0..MAX_ENTRIES {
        known.lock().observe(Rank::Program, format!("/{number}").as_bytes(), b"x");
    }
    file.save(now).result.unwrap();
    // The one that would be removed first after a restart is in use.
    known.lock().observe(Rank::Program, b"/0", b"x");
    known.lock().observe(Rank::Program, b"/new", b"x");
    file.save(now).result.unwrap();
    let mut again = KnownPrograms::load(&path).unwrap();
    assert_eq!(again.count(), MAX_ENTRIES);
    assert_eq!(again.observe(Rank::Program, b"/0", b"x"), Novelty::Nothing);
    assert_eq!(again.observe(Rank::Program, b"/1", b"x"), Novelty::Executable);
}

#[test]
fn the_journal_and_the_changes_in_memory_are_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("record.json");
    let (mut file, _) = RecordFile::open(&path);
    let (known, now) = (file.known(), Instant::now());
    known.lock().observe(Rank::Program, b"/bin/a", b"a");
    file.save(now).result.unwrap();
    for number in 0..2000 {
        known.lock().observe(Rank::Program, &control_path(number), b"x");
        if number % 20 == 0 {
            file.save(now).result.unwrap();
        }
    }
    let bytes = fs::metadata(path.with_extension("journal")).unwrap().len();
    assert!((1 << 20..=16 << 20).contains(&bytes), "{bytes}");
    let saved = file.save(now + Duration::from_secs(12));
    saved.result.unwrap();
    assert!(!path.with_extension("journal").exists());
    let mut again = KnownPrograms::load(&path).unwrap();
    assert_eq!(again.observe(Rank::Program, &control_path(1999), b"x"), Novelty::Nothing);
}

#[test]
fn a_file_that_is_removed_or_replaced_while_picosnitch_runs_is_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("record.json");
    let (mut file, _) = RecordFile::open(&path);
    let mut now = Instant::now();
    file.known().lock().observe(Rank::Program, b"/bin/a", b"a");
    assert!(file.save(now).notes.is_empty());
    fs::remove_file(&path).unwrap();
    now += Duration::from_secs(60);
    let saved = file.save(now);
    assert!(saved.notes[0].contains("was removed while picosnitch runs"), "{saved:?}");
    assert_eq!(KnownPrograms::load(&path).unwrap().count(), 1);
    fs::write(directory.path().join("other"), "{}").unwrap();
    fs::rename(directory.path().join("other"), &path).unwrap();
    now += Duration::from_secs(60);
    let saved = file.save(now);
    assert!(saved.notes[0].contains("was replaced while picosnitch runs"), "{saved:?}");
    assert_eq!(fs::read_to_string(&beside(&path)[0]).unwrap(), "{}");
    assert_eq!(KnownPrograms::load(&path).unwrap().count(), 1);
    assert!(file.save(now).notes.is_empty());
    // A copy onto it keeps its inode. At the end it is noticed, too.
    fs::write(&path, "{\"Names\": {}}").unwrap();
    let finished = file.finish();
    assert!(finished.result.is_ok() && finished.notes[0].contains("was replaced"), "{finished:?}");
    assert_eq!((beside(&path).len(), KnownPrograms::load(&path).unwrap().count()), (2, 1));
}

#[test]
fn a_program_whose_digests_found_no_room_is_new_again() {
    let mut known = KnownPrograms::default();
    known.observe(Rank::Program, b"/bin/a", b"a");
    known.observe_digest(b"/bin/a", DIGEST);
    for number in 0..MAX_ENTRIES {
        known.observe_digest(format!("/{number}").as_bytes(), DIGEST);
    }
    assert!(known.tables.get(TableId::Digests, "/bin/a").is_none());
    assert_eq!(known.observe(Rank::Program, b"/bin/a", b"a"), Novelty::Executable);
}
