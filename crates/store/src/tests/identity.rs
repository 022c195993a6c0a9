//! Tests of what the log remembers of itself: removed, replaced and restored files.

use super::*;

fn write(path: &Path, windows: i64) -> Vec<String> {
    let mut writer = Writer::open(path).unwrap();
    let notices = writer.take_notices();
    let time = writer.identity.last_window * 10;
    for number in 1..=windows {
        writer.write(&window(time + number * 10, vec![record(b"/a", "192.0.2.1", 443, 1, 0)])).unwrap();
    }
    writer.checkpoint().unwrap();
    notices
}

fn identity(path: &Path) -> (String, i64) {
    let sql = "SELECT hex(uuid), epoch FROM log";
    Connection::open(path).unwrap().query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
}

fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{suffix}", path.display()));
    }
}

#[test]
fn a_log_that_is_removed_or_restored_begins_an_epoch() {
    let (directory, path) = new_log();
    assert!(write(&path, 3).is_empty());
    let (uuid, epoch) = identity(&path);
    assert_eq!(epoch, 1);
    assert!(write(&path, 3).is_empty(), "a restart is nothing new");
    assert_eq!(identity(&path), (uuid.clone(), 1));
    let copy = directory.path().join("copy.db");
    fs::copy(&path, &copy).unwrap();
    assert!(write(&path, 2).is_empty());
    // An older copy.
    remove(&path);
    fs::copy(&copy, &path).unwrap();
    let notices = write(&path, 1);
    assert!(notices.iter().any(|notice| notice.contains("ends 2 windows before")), "{notices:?}");
    assert_eq!(identity(&path), (uuid.clone(), 2));
    assert!(write(&path, 1).is_empty(), "it is told once");
    // Removed.
    remove(&path);
    let notices = write(&path, 1);
    assert!(notices.iter().any(|notice| notice.contains("new log was begun")), "{notices:?}");
    assert_eq!(identity(&path), (uuid.clone(), 3));
    // The old copy again: its epoch is an old one.
    remove(&path);
    fs::copy(&copy, &path).unwrap();
    write(&path, 1);
    assert_eq!(identity(&path), (uuid, 4));
}

#[test]
fn a_reader_tells_another_file_and_another_log() {
    let (directory, path) = new_log();
    write(&path, 3);
    let reader = Reader::open(&path).unwrap();
    let before = reader.identity().unwrap();
    write(&path, 1);
    assert!(reader.is_current());
    assert_eq!(reader.identity().unwrap(), before);
    // The same log in another file.
    let moved = directory.path().join("moved.db");
    fs::rename(&path, &moved).unwrap();
    assert!(!reader.is_current());
    fs::copy(&moved, &path).unwrap();
    assert!(!reader.is_current());
    let reader = Reader::open(&path).unwrap();
    assert!(reader.is_current());
    assert_eq!(reader.identity().unwrap(), before);
    // Another log.
    remove(&path);
    write(&path, 1);
    assert!(!reader.is_current());
    assert_ne!(Reader::open(&path).unwrap().identity().unwrap(), before);
}

#[test]
fn without_what_is_remembered_the_log_is_believed() {
    let (directory, path) = new_log();
    write(&path, 3);
    let before = identity(&path);
    let file = directory.path().join("snitch.identity");
    for content in [None, Some("garbage"), Some("")] {
        match content {
            Some(content) => fs::write(&file, content).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        assert!(write(&path, 1).is_empty(), "{content:?}");
        assert_eq!(identity(&path), before);
    }
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let notices = write(&path, 1);
    assert!(notices.iter().any(|notice| notice.contains("snitch.identity")), "{notices:?}");
}

#[test]
fn another_log_at_the_same_place_is_told() {
    let (directory, path) = new_log();
    write(&path, 3);
    let other = directory.path().join("other.db");
    write(&other, 1);
    remove(&path);
    fs::rename(&other, &path).unwrap();
    let notices = write(&path, 1);
    assert!(notices.iter().any(|notice| notice.contains("another one")), "{notices:?}");
}

#[test]
fn what_another_program_of_sqlite_does_is_no_replacement() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    let check = |writer: &mut Writer, time| {
        // The first look may find the file still changing.
        let mut state = writer.check_file();
        if matches!(state, Err(StoreError::Changing(_))) {
            state = writer.check_file();
        }
        state.unwrap();
        writer.write(&window(time, vec![record(b"/a", "192.0.2.1", 443, 1, 0)])).unwrap();
    };
    for time in 0..30 {
        check(&mut writer, 100 + time);
        let other = Connection::open(&path).unwrap();
        match time % 3 {
            0 => other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap(),
            1 => drop(other.execute("UPDATE domain SET name = name", []).unwrap()),
            _ => other.execute_batch("VACUUM").unwrap(),
        }
    }
    check(&mut writer, 200);
    assert_eq!(total(&path).sent, 31);
    assert_eq!(identity(&path).1, 1);
    assert!(writer.take_notices().is_empty());
}
