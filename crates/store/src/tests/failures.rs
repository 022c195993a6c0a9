//! Tests of failures: locks, full disks, files that are damaged or foreign.

use super::*;

#[test]
fn a_failed_window_leaves_neither_rows_nor_cached_ids() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    writer.write(&window(100, vec![record(b"/before", "192.0.2.1", 443, 1, 0)])).unwrap();
    writer
        .connection
        .execute_batch(
            "CREATE TEMP TRIGGER fail BEFORE INSERT ON main.event BEGIN SELECT raise(ABORT, 'test'); END",
        )
        .unwrap();
    let lost = vec![Loss { kind: LossKind::Log, count: 1 }];
    let new = vec![record(b"/new", "198.51.100.1", 80, 2, 0)];
    let error = writer.write(&Window { losses: lost, ..window(110, new.clone()) }).unwrap_err();
    assert!(!error.is_transient(), "{error}");
    assert_eq!((total(&path).sent, count(&path, "context"), count(&path, "endpoint")), (1, 1, 1));
    writer.connection.execute_batch("DROP TRIGGER fail").unwrap();
    // Other rows get the ids of the transaction that was rolled back ...
    writer.write(&window(120, vec![record(b"/other", "203.0.113.1", 22, 4, 0)])).unwrap();
    // ... so those ids must not be in a cache.
    writer.write(&window(130, new)).unwrap();
    let found = rows(&path, &[Dimension::Executable, Dimension::Address], Vec::new());
    let seen: Vec<_> = found.iter().map(|row| (row.values[0].clone(), row.counters.sent)).collect();
    let name = |name: &[u8]| Value::Bytes(name.to_vec());
    assert_eq!(seen, [(name(b"/other"), 4), (name(b"/new"), 2), (name(b"/before"), 1)]);
    assert_eq!(found[1].values[1], Value::Address("198.51.100.1".parse().unwrap()));
}

#[test]
fn a_lock_is_transient_and_loses_nothing() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    writer.write(&window(90, vec![record(b"/a", "192.0.2.1", 443, 1, 0)])).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let next = window(100, vec![record(b"/b", "192.0.2.2", 443, 2, 0)]);
    let error = writer.write(&next).unwrap_err();
    assert!(error.is_transient(), "{error}");
    other.execute_batch("COMMIT").unwrap();
    writer.write(&next).unwrap();
    assert_eq!(total(&path).sent, 3);
    // Opening a log that another process locks exclusively fails for the moment, too, and changes nothing.
    drop((writer, other));
    let other = Connection::open(&path).unwrap();
    other.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
    let error = Writer::open(&path).err().unwrap();
    assert!(error.is_transient(), "{error}");
    drop(other);
    Writer::open(&path).unwrap();
    assert_eq!(total(&path).sent, 3);
}

#[test]
fn a_full_disk_is_transient_and_writing_resumes() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    let pages: i64 = writer.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    let set = |writer: &Writer, pages: i64| {
        let sql = format!("PRAGMA max_page_count = {pages}");
        writer.connection.query_row(&sql, [], |_| Ok(())).unwrap();
    };
    set(&writer, pages + 2);
    let many = |from: u32| {
        let one = |n| record(format!("/program/{n}").as_bytes(), "192.0.2.1", 443, 1, 0);
        (from..from + 500).map(one).collect::<Vec<_>>()
    };
    let error = writer.write(&window(100, many(0))).unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(count(&path, "record") + count(&path, "program"), 0);
    set(&writer, 1_000_000);
    writer.write(&window(110, many(400))).unwrap();
    writer.write(&window(120, many(0))).unwrap();
    let found = rows(&path, &[Dimension::Executable], Vec::new());
    assert_eq!((found.len(), total(&path).sent), (900, 1000));
    let check: String = writer.connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}

#[test]
fn a_foreign_file_is_refused_and_left_unchanged() {
    let (directory, path) = new_log();
    let refuse = |make: &dyn Fn(), expected: &str| {
        let _ = fs::remove_file(&path);
        make();
        let before = fs::read(&path).unwrap();
        let error = Writer::open(&path).err().unwrap();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!error.is_transient(), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before, "{expected}");
        assert!(Reader::open(&path).is_err(), "{expected}");
    };
    let sql = |sql: &str| Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    refuse(&|| sql("CREATE TABLE bookmarks (url TEXT)"), "bookmarks");
    refuse(&|| sql("PRAGMA application_id = 42; CREATE TABLE x (y)"), "0x2a");
    refuse(&|| sql("CREATE TABLE connections (a); PRAGMA user_version = 3"), "import");
    refuse(&|| sql("PRAGMA user_version = 7; CREATE TABLE x (y); DROP TABLE x"), "another program");
    let newer = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 99");
    refuse(&|| sql(&newer), "99");
    refuse(
        &|| fs::write(&path, "This is a text, and not a short one.\n".repeat(200)).unwrap(),
        "not a database",
    );
    let _ = fs::remove_file(&path);
    let target = directory.path().join("target");
    std::os::unix::fs::symlink(&target, &path).unwrap();
    assert!(matches!(Writer::open(&path), Err(StoreError::NotAFile(_))));
    assert!(!target.exists());
}

#[test]
fn a_damaged_log_is_reported_and_left_unchanged() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    let many = (0..2000).map(|n| record(format!("/{n}").as_bytes(), "192.0.2.1", 443, 1, 0)).collect();
    writer.write(&window(100, many)).unwrap();
    writer.checkpoint().unwrap();
    drop(writer);
    let mut bytes = fs::read(&path).unwrap();
    bytes[100..8192].fill(0xa5);
    fs::write(&path, &bytes).unwrap();
    let error = Writer::open(&path).err().unwrap();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(!error.is_transient());
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_missing_or_empty_log_is_an_error_of_its_own() {
    let (_directory, path) = new_log();
    let error = Reader::open(&path).err().unwrap();
    assert!(matches!(error, StoreError::Missing(_)) && error.to_string().contains("start"), "{error}");
    fs::write(&path, "").unwrap();
    assert!(matches!(Reader::open(&path), Err(StoreError::Empty(_))));
    // The writer makes a log of an empty file: the daemon may have died right after it created the file.
    Writer::open(&path).unwrap();
    assert_eq!(total(&path), Counters::default());
}
