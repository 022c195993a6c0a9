//! Tests of rollups: the answer to every query equals that of the records, also after changes of the log.

use super::{
    checks::{check_quarters, check_totals, compare, rollup_counts, write_randomly},
    random::Random,
    *,
};
use crate::rollup::{LEVELS, PackedFields};

/// Some hours that differ from time to time.
fn random_step(time: i64) -> i64 {
    time % 9001
}

#[test]
fn rollups_equal_the_records_for_a_thousand_queries() {
    let (_directory, path) = new_log();
    let mut random = Random(0x1234_5678_9abc_def1);
    // Of their own, so that other queries do not make other records.
    let mut queries = Random(0x1234_5678_9abc_def2);
    let mut writer = Writer::open(&path).unwrap();
    // March 2025: the windows cross the change to summer time in Europe.
    let mut time = write_randomly(&mut writer, &mut random, 1_742_000_000, 2500);
    check_totals(&path);
    compare(&path, &mut queries, 250);
    // Restarts, also right after the clock was set back.
    for _ in 0..20 {
        drop(writer);
        writer = Writer::open(&path).unwrap();
        time = write_randomly(&mut writer, &mut random, time - random_step(time), 60);
    }
    check_totals(&path);
    compare(&path, &mut queries, 250);
    // Retention, at any second.
    let (first, last) = Reader::open(&path).unwrap().extent().unwrap().unwrap();
    writer.purge(first + (last - first) / 3 + 777).unwrap();
    check_totals(&path);
    compare(&path, &mut queries, 250);
    // A restart makes the missing rollups, and new ones follow.
    drop(writer);
    let mut writer = Writer::open(&path).unwrap();
    while writer.catch_up().unwrap() {}
    let time = write_randomly(&mut writer, &mut random, time, 500);
    // A day that is not over has rollups of its quarters.
    let day = (time / 86_400 + 5) * 86_400;
    for quarter in 0..4 {
        writer.write(&window(day + quarter * 900, vec![random.record()])).unwrap();
    }
    check_quarters(&path);
    assert!(check_totals(&path) > 100);
    assert!(rollup_counts(&path).iter().all(|count| *count > 0), "{:?}", rollup_counts(&path));
    compare(&path, &mut queries, 250);
}

/// Makes all missing rollups. A restart finds none that are still missing.
fn assert_catches_up(mut writer: Writer, path: &Path) -> Writer {
    while writer.catch_up().unwrap() {}
    let made = rollup_counts(path);
    drop(writer);
    let mut writer = Writer::open(path).unwrap();
    while writer.catch_up().unwrap() {}
    assert_eq!(rollup_counts(path), made);
    writer
}

#[test]
fn missing_rollups_are_made_without_a_restart() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    write_randomly(&mut writer, &mut Random(9), 1_700_000_000, 600);
    let mut writer = assert_catches_up(writer, &path);
    // In the middle of a quarter of an hour that has records before and after it.
    let sql = "SELECT max(time) FROM record WHERE time < (SELECT max(time) FROM record) - 86400 * 3 GROUP BY time / 900 \
               HAVING min(time) < max(time) LIMIT 1 OFFSET 50";
    let time: i64 = writer.connection.query_row(sql, [], |row| row.get(0)).unwrap();
    writer.purge(time).unwrap();
    let cut = rollup_counts(&path);
    let writer = assert_catches_up(writer, &path);
    assert!(rollup_counts(&path).iter().sum::<i64>() > cut.iter().sum(), "the purge has cut buckets");
    // A rollup that cannot be written is made later.
    writer.connection.execute_batch("DELETE FROM rollup_day").unwrap();
    drop(writer);
    let mut writer = Writer::open(&path).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    for _ in 0..3 {
        assert!(writer.catch_up().unwrap_err().is_transient());
    }
    other.execute_batch("COMMIT").unwrap();
    assert_catches_up(writer, &path);
    check_totals(&path);
}

#[test]
fn a_bucket_with_too_many_rows_gets_no_local_ports_or_no_rollup() {
    let (_directory, path) = new_log();
    let mut random = Random(31);
    let mut writer = Writer::open(&path).unwrap();
    writer.max_rollup_rows = 30;
    for hour in 0..24 * 40 {
        let record = record(b"/a", "192.0.2.1", 443, 5, hour as u64);
        let on = |port| {
            let tuple = FlowTuple { local_port: 40_000 + i64::from(port), ..record.tuple.clone() };
            Record { tuple, ..record.clone() }
        };
        // By day: few rows; too many local ports for a day; too many for a quarter; too many rows without local ports.
        let records = match hour / 24 % 4 {
            0 => vec![record.clone()],
            1 => (0..2).map(on).collect(),
            2 => (0..40).map(on).collect(),
            _ => (0..40).map(|_| random.record()).collect(),
        };
        writer.write(&window(1_700_006_400 + hour * 3600, records)).unwrap();
    }
    let with_local_ports = |level: usize| {
        let connection = Connection::open(&path).unwrap();
        let sql = format!("SELECT packed_rows FROM {}", LEVELS[level].table);
        let mut statement = connection.prepare(&sql).unwrap();
        let rollups = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
        let rollups: Vec<bool> =
            rollups.map(|bytes| PackedFields::of(&bytes.unwrap()).unwrap().local_port).collect();
        (rollups.iter().filter(|local_port| **local_port).count(), rollups.len())
    };
    // Quarters keep their rollups if that of their day has no local ports.
    assert_eq!((with_local_ports(0), with_local_ports(1)), ((10 * 24, 2 * 10 * 24), (10, 30)));
    check_totals(&path);
    compare(&path, &mut random, 200);
    drop(writer);
    let mut writer = Writer::open(&path).unwrap();
    while writer.catch_up().unwrap() {}
    compare(&path, &mut random, 50);
}

#[test]
fn a_failed_window_leaves_the_rollups_as_they_were() {
    let (_directory, path) = new_log();
    let mut random = Random(5);
    let mut writer = Writer::open(&path).unwrap();
    let time = write_randomly(&mut writer, &mut random, 1_700_000_000, 300);
    let before = rollup_counts(&path);
    writer
        .connection
        .execute_batch(
            "CREATE TEMP TRIGGER fail BEFORE INSERT ON main.record BEGIN SELECT raise(ABORT, 'test'); END",
        )
        .unwrap();
    // One window would close a bucket, the other one is in a bucket with a rollup.
    for time in [time + 90_000, time - 90_000] {
        writer.write(&window(time, vec![random.record()])).unwrap_err();
    }
    assert_eq!(rollup_counts(&path), before);
    writer.connection.execute_batch("DROP TRIGGER fail").unwrap();
    writer.write(&window(time + 90_000, vec![random.record()])).unwrap();
    assert!(rollup_counts(&path)[1] > before[1]);
    check_totals(&path);
}

#[test]
fn a_damaged_rollup_is_an_error_not_a_wrong_answer() {
    let (_directory, path) = new_log();
    let mut writer = Writer::open(&path).unwrap();
    write_randomly(&mut writer, &mut Random(5), 1_700_000_000, 300);
    writer
        .connection
        .execute_batch("UPDATE rollup_day SET packed_rows = x'1705ff'; UPDATE rollup_day_by_context SET packed_rows = x'0105ff'")
        .unwrap();
    for group_by in [vec![Dimension::Executable], vec![Dimension::Executable, Dimension::Port]] {
        let query = Query { group_by, ..Query::default() };
        let error = Reader::open(&path).unwrap().query(&query).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }
}
