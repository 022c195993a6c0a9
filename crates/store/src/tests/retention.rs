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
    assert_eq!((count(&path, "record"), count(&path, "event")), (10_000, 10));
    assert_eq!((count(&path, "context"), count(&path, "program")), (1000, 1002));
    assert_eq!((count(&path, "endpoint"), count(&path, "address")), (2500, 2501));
    assert_eq!(writer.purge(1020).unwrap(), Purged::default());
    // SQLite assigns ids again; they must refer to the right rows.
    writer.write(&window(1030, vec![record(b"/old/1", "192.0.2.77", 443, 7, 0)])).unwrap();
    let filter = typed(Dimension::Executable, b"/old/1", false).remove(0);
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
fn a_purge_of_the_future_is_refused() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    writer.write(&window(100, vec![record(b"/a", "192.0.2.1", 443, 1, 0)])).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    assert!(matches!(writer.purge(now + 3600), Err(StoreError::CutoffInFuture { .. })));
    assert!(matches!(writer.purge(i64::MAX), Err(StoreError::CutoffInFuture { .. })));
    assert_eq!(total(&path).sent, 1);
}

#[test]
fn a_clock_that_is_wrong_deletes_nothing() {
    const DAY: i64 = 24 * 60 * 60;
    let (_directory, path) = new_log();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let start = now - 300 * DAY;
    let mut uptime = 1000;
    let mut write = |writer: &mut Writer, time: i64| {
        uptime += 10;
        let records = vec![record(b"/a", "192.0.2.1", 443, 1, 0)];
        writer.write(&Window { uptime, ..window(time, records) }).unwrap();
    };
    let mut writer = Writer::open(&path).unwrap();
    writer.set_boot("first").unwrap();
    for day in 0..40 {
        writer.clock.last.uptime = 1000 + day * DAY;
        write(&mut writer, start + day * DAY);
        writer.clock.last.uptime = 0;
    }
    let all = total(&path).sent;
    // A start with the clock 200 days ahead; back; ahead again; back, and right again.
    for (boot, days) in [("second", 240), ("third", 40), ("third", 240), ("fourth", -160), ("fifth", 41)] {
        drop(writer);
        writer = Writer::open(&path).unwrap();
        writer.set_boot(boot).unwrap();
        for second in 0..3 {
            write(&mut writer, start + days * DAY + second * 10);
            writer.purge_by_age(30).unwrap();
        }
        let kept = total(&path).sent;
        assert!(kept + 10 >= all, "{boot}: {kept} of {all}");
    }
    let events = Reader::open(&path).unwrap().events(Range::default(), &[EventKind::Clock], 100).unwrap();
    assert!(events.iter().any(|event| event.text.contains("days ahead")), "{events:?}");
}
