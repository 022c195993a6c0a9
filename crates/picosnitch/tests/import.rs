//! `picosnitch import` as a user runs it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use model::text::time;
use original_samples::{Format, Options, Sums, write_conn_log, write_database, write_known_programs};
use serde_json::Value;
use tempfile::TempDir;

/// A base directory, and one with files of the original.
struct Place {
    directory: TempDir,
    base: PathBuf,
    original: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (base, original) = (directory.path().join("base"), directory.path().join("original"));
        fs::create_dir(&base).unwrap();
        fs::create_dir(&original).unwrap();
        Self { directory, base, original }
    }

    fn picosnitch(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_picosnitch"));
        command.arg("--base-dir").arg(&self.base).args(arguments).env_remove("PICOSNITCH_BASE_DIR");
        let Output { status, stdout, stderr } = command.output().unwrap();
        (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    }

    fn import(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let original = self.original.to_str().unwrap();
        self.picosnitch(&[&["import", original], arguments].concat())
    }

    fn import_json(&self, arguments: &[&str]) -> Value {
        let (code, out, error) = self.import(&[&["--json"], arguments].concat());
        assert_eq!(code, Some(0), "{out}{error}");
        serde_json::from_str(&out).unwrap()
    }

    /// Connections and bytes of the whole log.
    fn totals(&self) -> [u64; 3] {
        let (code, out, error) =
            self.picosnitch(&["query", "--since", "2000-01-01", "--group-by", "uid", "--json"]);
        assert_eq!(code, Some(0), "{error}");
        let answer: Value = serde_json::from_str(&out).unwrap();
        let rows = answer["rows"].as_array().unwrap();
        ["conns", "sent", "received"].map(|column| rows.iter().map(|row| row[column].as_u64().unwrap()).sum())
    }
}

fn sample(format: Format) -> Options {
    Options::new(format, 5000, 100, time::now() - 60)
}

fn totals(sums: Sums) -> [u64; 3] {
    [sums.connections, sums.sent, sums.received]
}

#[test]
fn a_directory_arrives_once_with_history_programs_and_configuration() {
    let place = Place::new();
    let options = sample(Format::Version3);
    let sums = write_database(&place.original.join("snitch.db"), &options).unwrap();
    write_known_programs(&place.original.join("record.json"), &options).unwrap();
    write_conn_log(&place.original.join("conn.log"), &options).unwrap();
    let config =
        r#"{"DB retention (days)": 400, "Log ignore": [53], "Dash theme": "x", "VT API key": "secret"}"#;
    fs::write(place.original.join("config.json"), config).unwrap();

    let (code, out, error) = place.import(&["--dry-run", "--zone", "CET"]);
    assert_eq!((code, error.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("5,000 records would be imported") && out.contains("Nothing was changed"), "{out}");
    assert_eq!(fs::read_dir(&place.base).unwrap().count(), 0, "a dry run makes no file");

    let first = place.import_json(&["--zone", "CET"]);
    assert_eq!(first["logs"][0]["imported"], 5000);
    assert_eq!(first["logs"][0]["odd"]["digest_text"], sums.error_texts);
    assert_eq!(first["configuration"]["written"], true);
    assert_eq!(first["left_out"].as_array().unwrap().len(), 1, "conn.log");
    assert!(!first.to_string().contains("secret"));
    assert_eq!(place.totals(), totals(sums));
    let written = fs::read_to_string(place.base.join("config.toml")).unwrap();
    assert!(written.contains("retention_days = 400") && written.contains("ignore = [53]"), "{written}");
    let (code, out, _) = place.picosnitch(&["check-config"]);
    assert_eq!(code, Some(0), "{out}");
    let known = fs::read_to_string(place.base.join("record.json")).unwrap();
    assert!(known.contains("/usr/bin/program-0\"") && known.contains("File not analyzed"));

    let second = place.import_json(&["--zone", "CET"]);
    assert_eq!(
        (second["logs"][0]["imported"].as_u64(), &second["logs"][0]["known"]),
        (Some(0), &true.into())
    );
    assert_eq!(second["configuration"]["written"], false);
    assert_eq!(second["known_programs"][0]["new"], 0);
    assert_eq!(place.totals(), totals(sums));
    assert_eq!(fs::read_to_string(place.base.join("config.toml")).unwrap(), written);
    let (_, out, _) = place.picosnitch(&["query", "--events", "--since", "1d", "--json"]);
    assert!(out.contains("5000 records of the original picosnitch were imported"), "{out}");
}

#[test]
fn one_history_in_two_formats_arrives_once() {
    let place = Place::new();
    // Of one history: each sample ends at the time at which it is made.
    let flat = Options { zone: calendar::TimeZone::UTC, ..sample(Format::Version3) };
    let interned = Options { format: Format::Version4, ..flat.clone() };
    let sums = write_database(&place.original.join("snitch.db"), &flat).unwrap();
    write_database(&place.original.join("picosnitch.db"), &interned).unwrap();
    let (_, out, _) = place.import(&["--dry-run", "--zone", "UTC"]);
    assert!(out.contains("have in common comes once"), "{out}");
    let (code, out, error) = place.import(&["--zone", "UTC"]);
    assert!(code == Some(0) && out.contains("5,000 rows are left out: the log has"), "{out}{error}");
    assert_eq!(place.totals(), totals(sums));
}

#[test]
fn without_a_record_json_the_programs_of_the_log_are_known() {
    let place = Place::new();
    let options = sample(Format::Version4);
    write_database(&place.original.join("picosnitch.db"), &options).unwrap();
    place.import_json(&[]);
    let known: Value = serde_json::from_slice(&fs::read(place.base.join("record.json")).unwrap()).unwrap();
    let programs: std::collections::BTreeSet<_> =
        original_samples::rows(&options).map(|row| row.program.exe.clone()).collect();
    assert_eq!(known["Executables"].as_object().unwrap().len(), programs.len());
    assert!(known["Grandparent Executables"].as_object().unwrap().len() == 1);
}

#[test]
fn a_configuration_that_is_there_stays_and_the_difference_is_said() {
    let place = Place::new();
    fs::write(place.base.join("config.toml"), "[log]\nretention_days = 30\n").unwrap();
    fs::write(place.original.join("config.json"), r#"{"DB retention (days)": 90, "DB text log": false}"#)
        .unwrap();
    let options = Options { days: 60, ..sample(Format::Version4) };
    let sums = write_database(&place.original.join("picosnitch.db"), &options).unwrap();
    let (code, out, _) = place.import(&[]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("DB retention (days): log.retention_days = 90, but it is 30 here"), "{out}");
    assert!(out.contains("rows are left out: they are older than 30 days"), "{out}");
    assert!(place.totals()[1] < sums.sent);
    fs::write(place.base.join("config.toml"), "[log]\nretention_days = 90\n").unwrap();
    place.import_json(&[]);
    assert_eq!(place.totals(), totals(sums));
}

#[test]
fn the_configuration_of_2_at_our_place_is_kept_under_another_name() {
    let place = Place::new();
    let config = "[database]\nretention_days = 77\n[monitoring]\nevery_exe = true\n";
    fs::write(place.base.join("config.toml"), config).unwrap();
    let (code, _, error) = place.picosnitch(&["check-config"]);
    assert!(code == Some(78) && error.contains("sudo picosnitch import"), "{error}");
    let base = place.base.to_str().unwrap();
    let (code, out, error) = place.picosnitch(&["import", base]);
    assert_eq!(code, Some(0), "{out}{error}");
    assert_eq!(fs::read_to_string(place.base.join("config.toml.original")).unwrap(), config);
    assert!(fs::read_to_string(place.base.join("config.toml")).unwrap().contains("retention_days = 77"));
    assert_eq!(place.picosnitch(&["check-config"]).0, Some(0));
}

#[test]
fn a_small_log_keeps_its_size() {
    let place = Place::new();
    fs::write(place.base.join("config.toml"), "[log]\nretention_megabytes = 10\n").unwrap();
    let options = Options { rows: 150_000, ..sample(Format::Version3) };
    write_database(&place.original.join("snitch.db"), &options).unwrap();
    let (code, out, error) = place.import(&["--zone", "CET"]);
    let size = fs::metadata(place.base.join("snitch.db")).unwrap().len();
    assert!(size < 16_000_000, "{size}");
    match code {
        Some(0) => assert!(out.contains("log.retention_megabytes"), "{out}{error}"),
        _ => assert!(out.contains("raise log.retention_megabytes"), "{out}{error}"),
    }
}

#[test]
fn what_cannot_be_imported_is_refused_with_the_reason() {
    let place = Place::new();
    let refuse = |arguments: &[&str], expected: &str, code: i32| {
        let (found, out, error) = place.picosnitch(arguments);
        assert!(found == Some(code) && (error.contains(expected) || out.contains(expected)), "{out}{error}");
    };
    let original = place.original.to_str().unwrap();
    refuse(&["import", original], "has no file of the original picosnitch", 1);
    refuse(&["import", "/nowhere/at/all"], "there is no file or directory", 1);
    refuse(&["import", original, "--zone", "Nowhere/Land"], "knows no time zone", 1);
    let text = place.original.join("notes.txt");
    fs::write(&text, "notes").unwrap();
    refuse(&["import", text.to_str().unwrap()], "no file of the original", 1);
    let own = place.directory.path().join("own.db");
    drop(store::Writer::open(&own).unwrap());
    refuse(&["import", own.to_str().unwrap()], "a log of this picosnitch", 1);
    fs::write(place.original.join("config.json"), "{").unwrap();
    refuse(&["import", original], "cannot be read", 1);
    fs::remove_file(place.original.join("config.json")).unwrap();
    write_database(&place.original.join("snitch.db"), &sample(Format::Version1)).unwrap();
    fs::write(place.base.join("config.toml"), "[log]\nnonsense = 1\n").unwrap();
    refuse(&["import", original], "nonsense", 78);
    fs::remove_file(place.base.join("config.toml")).unwrap();
    // The daemon holds this lock while it records.
    let lock = fs::File::create(place.base.join(".picosnitch.lock")).unwrap();
    lock.lock().unwrap();
    refuse(&["import", original], "sudo systemctl stop picosnitch", 1);
    drop(lock);
    // The original's own directory as ours.
    fs::copy(place.original.join("snitch.db"), place.base.join("snitch.db")).unwrap();
    refuse(&["import", original], "into a directory of their own", 1);
}

#[test]
fn a_killed_import_is_ended_by_the_next_one() {
    let place = Place::new();
    let options = Options { rows: 60_000, ..sample(Format::Version4) };
    let sums = write_database(&place.original.join("picosnitch.db"), &options).unwrap();
    let database = place.base.join("snitch.db");
    let mut kills = 0;
    for _ in 0..20 {
        let mut import = Command::new(env!("CARGO_BIN_EXE_picosnitch"));
        import.arg("--base-dir").arg(&place.base).arg("import").arg(&place.original);
        let mut import = import.stdout(std::process::Stdio::null()).spawn().unwrap();
        let before = records(&database);
        while records(&database) == before && import.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        if import.try_wait().unwrap().is_some() {
            break;
        }
        import.kill().unwrap();
        import.wait().unwrap();
        kills += 1;
    }
    assert!(kills > 0);
    place.import_json(&[]);
    assert_eq!((place.totals(), records(&database)), (totals(sums), sums.rows));
}

/// Records of a log that may not be there yet.
fn records(database: &Path) -> u64 {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let count = || -> rusqlite::Result<i64> {
        let log = rusqlite::Connection::open_with_flags(database, flags)?;
        log.query_row("SELECT count(*) FROM record", [], |row| row.get(0))
    };
    count().unwrap_or(0).cast_unsigned()
}
