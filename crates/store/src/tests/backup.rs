//! Tests of backups: they are whole, a writer does not wait, and nothing half stays.

use std::{
    ffi::OsStr,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    time::{Duration, Instant},
};

use super::{
    checks::{compare, write_randomly},
    older_versions::rewrite_as_version,
    random::Random,
    *,
};

fn names(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn large_log(path: &Path) -> Writer {
    let mut writer = Writer::open(path).unwrap();
    for number in 0..400 {
        let records = (0..300).map(|n| record(b"/a", &format!("10.{}.{}.1", n % 7, number % 9), n, 1, 2));
        writer.write(&window(1_700_000_000 + number * 10, records.collect())).unwrap();
    }
    writer
}

#[test]
fn a_backup_is_a_whole_log_of_the_moment_it_began_and_the_writer_does_not_wait() {
    let (directory, path) = new_log();
    let mut writer = large_log(&path);
    let to = directory.path().join(OsStr::from_bytes(b"copy \xff.db"));
    let (mut steps, mut slowest) = (0, Duration::ZERO);
    let result = back_up(&path, &to, &mut |progress| {
        steps += 1;
        assert!(progress.copied <= progress.total && progress.total > 3_000_000, "{progress:?}");
        assert!(!to.exists());
        let begin = Instant::now();
        writer.write(&window(1_700_010_000 + steps, vec![record(b"/late", "192.0.2.1", 443, 5, 0)])).unwrap();
        writer.catch_up().unwrap();
        slowest = slowest.max(begin.elapsed());
        true
    });
    let result = result.unwrap();
    println!("{steps} steps, the longest {:?}; the slowest window {slowest:?}", result.longest_step);
    assert!(steps > 1 && result.longest_step < Duration::from_secs(1));
    assert_eq!((result.records, result.extent), (120_000, Some((1_700_000_000, 1_700_003_990))));
    assert_eq!(result.bytes, fs::metadata(&to).unwrap().len());
    assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(total(&to).sent, 120_000);
    assert_eq!(total(&path).sent, 120_000 + 5 * steps as u64);
    // It has no other files: a reader makes none either.
    let mut others = names(directory.path());
    others.retain(|name| name.contains("copy"));
    assert_eq!(others.len(), 1, "{others:?}");
    assert_eq!(fs::read(&to).unwrap()[18..20], [1, 1]);
    let check: String =
        Connection::open(&to).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    // It goes on as a log.
    let moved = directory.path().join("restored.db");
    fs::rename(&to, &moved).unwrap();
    let mut restored = Writer::open(&moved).unwrap();
    restored.write(&window(1_700_020_000, vec![record(b"/a", "192.0.2.1", 443, 7, 0)])).unwrap();
    assert_eq!(total(&moved).sent, 120_007);
}

#[test]
fn rollups_and_older_versions_are_copied() {
    let (directory, path) = new_log();
    let mut random = Random(31);
    let mut writer = Writer::open(&path).unwrap();
    write_randomly(&mut writer, &mut random, 1_700_000_000, 1000);
    while writer.catch_up().unwrap() {}
    let all = Reader::open(&path).unwrap().extent().unwrap();
    writer.cut_detail(writer.used_bytes().unwrap() / 2).unwrap();
    let copy = directory.path().join("copy.db");
    let result = back_up(&path, &copy, &mut |_| true).unwrap();
    assert!(result.extent.unwrap().0 <= all.unwrap().0 && result.records < 2500, "{result:?}");
    assert_eq!(total(&copy), total(&path));
    drop(writer);
    let (_other, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    write_randomly(&mut writer, &mut random, 1_700_000_000, 100);
    drop(writer);
    let records = count(&path, "record") as u64;
    rewrite_as_version(&path, 4);
    let copy = directory.path().join("old.db");
    assert_eq!(back_up(&path, &copy, &mut |_| true).unwrap().records, records);
    drop(Writer::open(&copy).unwrap());
    compare(&copy, &mut random, 20);
}

#[test]
fn nothing_is_replaced_and_nothing_half_stays() {
    let (directory, path) = new_log();
    drop(large_log(&path));
    let before = names(directory.path());
    let at = |name: &str| directory.path().join(name);
    let refused = |to: &Path| back_up(&path, to, &mut |_| true).unwrap_err();
    fs::write(at("there"), "precious").unwrap();
    std::os::unix::fs::symlink(at("nowhere"), at("link")).unwrap();
    for name in ["there", "link", "snitch.db", "."] {
        let error = refused(&at(name));
        assert!(matches!(error, BackupError::Exists(_)), "{name}: {error}");
        assert!(error.to_string().contains("exists; name a file"), "{error}");
    }
    for name in ["snitch.db-journal", "new/", ".."] {
        let error = refused(&at(name));
        assert!(matches!(error, BackupError::Name(_) | BackupError::Exists(_)), "{name}: {error}");
    }
    assert!(matches!(refused(&at("missing/copy")), BackupError::File { .. }));
    assert_eq!(fs::read(at("there")).unwrap(), b"precious");
    let mut steps = 0;
    let interrupted = back_up(&path, &at("copy"), &mut |_| {
        steps += 1;
        assert!(names(directory.path()).iter().any(|name| name.starts_with("copy.unfinished-")));
        steps < 2
    });
    assert!(matches!(interrupted, Err(BackupError::Interrupted(_))));
    // A file that comes to its name meanwhile stays.
    let beaten = back_up(&path, &at("copy"), &mut |_| fs::write(at("copy"), "faster").is_ok());
    assert!(matches!(beaten, Err(BackupError::Exists(_))), "{beaten:?}");
    assert_eq!(fs::read(at("copy")).unwrap(), b"faster");
    for name in ["there", "link", "copy"] {
        fs::remove_file(at(name)).unwrap();
    }
    assert_eq!(names(directory.path()), before);
    let missing = back_up(&at("none.db"), &at("copy"), &mut |_| true);
    assert!(matches!(missing, Err(BackupError::Log(StoreError::Missing(_)))), "{missing:?}");
    fs::write(at("odd.db"), [7; 9000]).unwrap();
    let damaged = back_up(&at("odd.db"), &at("copy"), &mut |_| true);
    assert!(matches!(damaged, Err(BackupError::Log(StoreError::Damaged { .. }))), "{damaged:?}");
    assert!(!at("copy").exists());
}

#[test]
fn a_full_disk_leaves_nothing() {
    let (directory, path) = new_log();
    drop(large_log(&path));
    // A limit of the size of files fails as a full disk does.
    let to = directory.path().join("copy.db");
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::backup::backup_with_little_room", "--ignored", "--nocapture"])
        .env("PICOSNITCH_TEST_BACKUP", &path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("cannot write") && text.contains("copy.db"), "{text}");
    assert!(
        !to.exists() && !names(directory.path()).iter().any(|name| name.contains("unfinished")),
        "{text}"
    );
}

#[test]
#[ignore = "the process that a_full_disk_leaves_nothing starts"]
fn backup_with_little_room() {
    use nix::sys::{
        resource::{Resource, setrlimit},
        signal::{SigHandler, Signal, signal},
    };
    let Some(path) = std::env::var_os("PICOSNITCH_TEST_BACKUP").map(PathBuf::from) else { return };
    // SAFETY: ignoring a signal runs no code.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn).unwrap() };
    setrlimit(Resource::RLIMIT_FSIZE, 1_000_000, 1_000_000).unwrap();
    let error = back_up(&path, &path.with_file_name("copy.db"), &mut |_| true).unwrap_err();
    println!("{error}: {:?}", std::error::Error::source(&error));
}
