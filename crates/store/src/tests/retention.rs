//! Tests of the deletion of old records.

use std::time::{SystemTime, UNIX_EPOCH};

use super::*;

#[test]
fn a_purge_deletes_old_windows_and_the_rows_that_only_they_needed() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    for time in 0..30 {
        let records = (0..1000).map(|n| {
            let path = if time < 20 { format!("/old/{n}") } else { format!("/new/{n}") };
            record(path.as_bytes(), &format!("10.0.{}.{}", time, n % 250), 443, 1, 0)
        });
        let losses = vec![Loss { kind: LossKind::Log, count: 1 }];
        writer.write(&Window { losses, ..window(1000 + time, records.collect()) }).unwrap();
    }
    let purged = writer.purge(1020).unwrap();
    assert_eq!(purged.records, 20_000);
    assert_eq!((count(&path, "record"), count(&path, "loss")), (10_000, 10));
    assert_eq!((count(&path, "context"), count(&path, "program")), (1000, 1002));
    assert_eq!((count(&path, "endpoint"), count(&path, "address")), (2500, 2501));
    assert_eq!(writer.purge(1020).unwrap(), Purged::default());
    // SQLite assigns ids again; they must refer to the right rows.
    writer.write(&window(1030, vec![record(b"/old/1", "192.0.2.77", 443, 7, 0)])).unwrap();
    let filter = Filter::parse(Dimension::Executable, b"/old/1", false).unwrap();
    let found = rows(&path, &[Dimension::Address], vec![filter]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].values, [Value::Address("192.0.2.77".parse().unwrap())]);
    assert_eq!(total(&path).sent, 10_007);
}

#[test]
fn a_large_purge_gives_pages_back() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    for time in 0..40 {
        let records = (0..1000).map(|n| record(b"/a", "192.0.2.1", n, 1, 0));
        writer.write(&window(1000 + time, records.collect())).unwrap();
    }
    let mut bytes = || {
        writer.checkpoint().unwrap();
        fs::metadata(&path).unwrap().len()
    };
    let before = bytes();
    // After a small purge, new records use the free pages.
    Writer::open(&path).unwrap().purge(1002).unwrap();
    assert_eq!(bytes(), before);
    Writer::open(&path).unwrap().purge(1030).unwrap();
    assert!(bytes() < before / 2, "{} of {before}", bytes());
    let connection = Connection::open(&path).unwrap();
    let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    assert_eq!(total(&path).sent, 10_000);
}

#[test]
fn a_log_is_kept_below_a_size() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    for time in 0..100 {
        let records = (0..1000).map(|n| record(b"/a", "192.0.2.1", n, 1, 0));
        writer.write(&window(1000 + time, records.collect())).unwrap();
    }
    assert_eq!(writer.purge_to_size(1 << 30).unwrap(), Purged::default());
    assert_eq!(total(&path).sent, 100_000);
    let most = 1_000_000;
    let purged = writer.purge_to_size(most).unwrap();
    writer.checkpoint().unwrap();
    let bytes = fs::metadata(&path).unwrap().len();
    assert!(bytes <= most && bytes > most / 2, "{bytes}");
    assert_eq!(total(&path).sent, 100_000 - purged.records);
    let times = rows(&path, &[Dimension::Time], Vec::new());
    assert!(times.iter().any(|row| row.values == [Value::Integer(1099)]), "the newest stay");
    assert!(times.iter().all(|row| row.counters.sent == 1000), "windows are whole");
    // The last window stays even if it is larger than the limit.
    writer.purge_to_size(1000).unwrap();
    assert_eq!(total(&path).sent, 1000);
}

#[test]
fn a_purge_of_the_future_is_refused() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    writer.write(&window(100, vec![record(b"/a", "192.0.2.1", 443, 1, 0)])).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    assert!(matches!(writer.purge(now + 3600), Err(StoreError::CutoffInFuture { .. })));
    assert!(matches!(writer.purge(i64::MAX), Err(StoreError::CutoffInFuture { .. })));
    assert_eq!(total(&path).sent, 1);
}
